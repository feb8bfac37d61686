//! Statements that read sealed slices where they lie.

use std::{io::Write, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use event::SeqRange;
use retention::RuleSet;
use warm_tier::sql::{
    EncodeError, Limits, Sandbox, SliceRef, SqlError, Table, TableSources, slices_in_place,
};

use crate::world::{PARTITION, World, frames, sealed_ranges};

const LIMITS: Limits = Limits {
    memory_bytes: 256 << 20,
    threads: 1,
    timeout: Duration::from_secs(30),
    max_rows: 1000,
    max_bytes: 1 << 20,
};

fn text(
    _: &str,
    _: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> Result<(), EncodeError> {
    for batch in batches {
        let shown = arrow::util::display::array_value_to_string(batch.column(0), 0)?;
        write!(out, "{shown}").expect("memory");
    }
    Ok(())
}

fn refs(world: &World) -> Vec<SliceRef> {
    let coverage = world.tier.scanner().unwrap().coverage();
    let slices = &coverage.partition(PARTITION).unwrap().slices;
    slices.iter().map(SliceRef::whole).collect()
}

fn sources(world: &World, tenant: &str, wanted: &[SliceRef]) -> Result<TableSources, SqlError> {
    let slices = slices_in_place(&world.options().data, PARTITION, wanted)?;
    let columns = ["tenant", "conversation_id", "seq", "content_len"];
    Ok(TableSources {
        table: Table::Events,
        columns: columns.map(str::to_owned).to_vec(),
        tenant: tenant.to_owned(),
        slices,
    })
}

fn sandbox(world: &World) -> Sandbox {
    Sandbox::open(LIMITS.memory_bytes, 1, Some(&world.options().data)).unwrap()
}

fn ask(sandbox: &mut Sandbox, sql: &str, sources: &TableSources) -> Result<String, SqlError> {
    let select = sandbox.parse(sql)?;
    let session = sandbox.begin(LIMITS, [sources])?;
    let answer = session
        .create(sources)
        .and_then(|()| session.run(&select, "", &text));
    session.end()?;
    Ok(String::from_utf8(answer?).unwrap())
}

const COUNT: &str = "SELECT count(*) FROM events";

#[test]
fn a_statement_counts_the_rows_of_its_tenant_and_of_the_ranges_that_it_is_given() {
    let world = World::new();
    sealed_ranges(&mut world.partition(), 3, &RuleSet::default());
    let mut sandbox = sandbox(&world);
    let mut all = refs(&world);

    let whole = sources(&world, "default", &all).unwrap();
    assert_eq!(ask(&mut sandbox, COUNT, &whole).unwrap(), "300");
    let other = sources(&world, "other", &all).unwrap();
    assert_eq!(ask(&mut sandbox, COUNT, &other).unwrap(), "0");
    all[1].ranges = vec![SeqRange { lo: 12, hi: 13 }, SeqRange { lo: 20, hi: 99 }];
    let part = sources(&world, "default", &all).unwrap();
    assert_eq!(ask(&mut sandbox, COUNT, &part).unwrap(), "230");
}

#[test]
fn slices_that_are_sealed_or_merged_later_are_found_and_the_old_ones_are_stale() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 2, &RuleSet::default());
    let mut sandbox = sandbox(&world);
    let old = refs(&world);
    let planned = sources(&world, "default", &old).unwrap();
    assert_eq!(ask(&mut sandbox, COUNT, &planned).unwrap(), "200");

    for file in &planned.slices {
        std::fs::rename(&file.path, file.path.with_extension("away")).unwrap();
    }
    let stale = ask(&mut sandbox, COUNT, &planned).unwrap_err();
    assert!(matches!(stale, SqlError::Stale), "{stale:?}");
    for file in &planned.slices {
        std::fs::rename(file.path.with_extension("away"), &file.path).unwrap();
    }
    partition.append(frames(21, 30)).unwrap();
    partition.seal(&RuleSet::default()).unwrap().unwrap();
    let now = sources(&world, "default", &refs(&world)).unwrap();
    assert_eq!(ask(&mut sandbox, COUNT, &now).unwrap(), "300");

    let gone = SliceRef {
        hi: 19,
        ..old[0].clone()
    };
    let stale = sources(&world, "default", &[gone]).unwrap_err();
    assert!(matches!(stale, SqlError::Stale), "{stale:?}");
}
