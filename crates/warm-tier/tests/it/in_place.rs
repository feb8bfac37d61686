//! Statements that read slices, and runs of what is not sealed, where they lie.

use std::{io::Write, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use event::SeqRange;
use retention::RuleSet;
use warm_tier::{
    remote::{Filter, RunFiles, Scan},
    sql::{
        EncodeError, Limits, RunRows, Sandbox, SliceRef, SqlError, Table, TableSources,
        slices_in_place,
    },
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
        runs: Vec::new(),
    })
}

/// The runs of what is not sealed of `range`, and the rows that are in none.
fn unsealed(world: &World, range: SeqRange) -> (TableSources, Vec<RecordBatch>) {
    let columns = ["conversation_id", "content_len", "content"].map(str::to_owned);
    let scan = Scan {
        columns: Some(columns.to_vec()),
        filter: Filter {
            tenant: Some("default".to_owned()),
            ..Filter::default()
        },
        beside_files: true,
        ..Scan::new(Table::Events, PARTITION, vec![range])
    };
    let (mut files, mut rows) = (Vec::new(), Vec::new());
    let scanner = world.tier.scanner().unwrap();
    let scanned = scanner.scan_beside_files(
        &scan,
        |own| files = own,
        |batch| {
            rows.push(batch);
            true
        },
    );
    scanned.unwrap();
    let data = &world.options().data;
    let runs = RunRows {
        folders: files.iter().map(|run| run.folder(data)).collect(),
        rows: files.iter().map(RunFiles::rows).sum(),
        ranges: scan.ranges,
    };
    let sources = TableSources {
        table: Table::Events,
        columns: columns.to_vec(),
        tenant: "default".to_owned(),
        slices: Vec::new(),
        runs: vec![runs],
    };
    (sources, rows)
}

fn sandbox(world: &World) -> Sandbox {
    Sandbox::open(LIMITS.memory_bytes, 1, Some(&world.options().data)).unwrap()
}

fn ask(sandbox: &mut Sandbox, sql: &str, sources: &TableSources) -> Result<String, SqlError> {
    ask_with(sandbox, sql, sources, &[])
}

fn ask_with(
    sandbox: &mut Sandbox,
    sql: &str,
    sources: &TableSources,
    rows: &[RecordBatch],
) -> Result<String, SqlError> {
    let select = sandbox.parse(sql)?;
    let mut session = sandbox.begin(LIMITS, [sources])?;
    let mut created = session.create(sources);
    for batch in rows {
        created = created.and_then(|()| session.load(Table::Events, batch.clone()));
    }
    let answer = created.and_then(|()| session.run(&select, "", &text));
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

/// Frames whose events make a run.
const MANY: u64 = 3500;

#[test]
fn what_is_not_sealed_is_read_from_files_and_the_newest_of_it_as_rows() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, MANY)).unwrap();
    partition.append(frames(MANY + 1, MANY + 3)).unwrap();
    let mut sandbox = sandbox(&world);
    let all = SeqRange {
        lo: 1,
        hi: MANY + 3,
    };
    let (sources, rows) = unsealed(&world, all);
    let in_files = sources.runs[0].rows;
    let loaded: usize = rows.iter().map(RecordBatch::num_rows).sum();
    assert!(in_files > 30_000 && loaded > 0, "{in_files}, {loaded}");
    let mut ask = |sql: &str, sources: &TableSources, rows: &[RecordBatch]| {
        ask_with(&mut sandbox, sql, sources, rows).unwrap()
    };

    assert_eq!(ask(COUNT, &sources, &rows), "35030");
    let by_conversation = "SELECT string_agg(n, ' ') FROM (SELECT count(*)::VARCHAR AS n FROM events \
        WHERE content LIKE 'chunk %lorem%' AND content_len > 0 GROUP BY conversation_id)";
    assert_eq!(
        ask(by_conversation, &sources, &rows),
        ["3503"; 10].join(" ")
    );
    let other = TableSources {
        tenant: "other".to_owned(),
        ..sources.clone()
    };
    assert_eq!(ask(COUNT, &other, &[]), "0");
    let (part, rows) = unsealed(&world, SeqRange { lo: 11, hi: 30 });
    assert_eq!(ask(COUNT, &part, &rows), "200");

    partition.append(frames(MANY + 4, MANY + 5)).unwrap();
    let (later, rows) = unsealed(
        &world,
        SeqRange {
            lo: 1,
            hi: MANY + 5,
        },
    );
    assert_eq!(later.runs[0].folders, sources.runs[0].folders);
    assert_eq!(ask(COUNT, &later, &rows), "35050");
}

#[test]
fn a_run_that_was_sealed_is_stale_but_for_a_statement_that_has_opened_it() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, MANY)).unwrap();
    let (sources, rows) = unsealed(&world, SeqRange { lo: 1, hi: MANY });
    let mut sandbox = sandbox(&world);
    let select = sandbox.parse(COUNT).unwrap();
    let mut session = sandbox.begin(LIMITS, []).unwrap();
    session.create(&sources).unwrap();
    partition.seal(&RuleSet::default()).unwrap().unwrap();
    let answer = session.run(&select, "", &text).unwrap();
    session.end().unwrap();
    let in_files = sources.runs[0].rows.to_string();
    assert_eq!(String::from_utf8(answer).unwrap(), in_files);

    let stale = ask_with(&mut sandbox, COUNT, &sources, &rows).unwrap_err();
    assert!(matches!(stale, SqlError::Stale), "{stale:?}");
    let open = world.options().data.join("open");
    assert_eq!(std::fs::read_dir(open).unwrap().count(), 0);
}
