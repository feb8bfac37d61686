//! Refill: writes lost slices again from the events that the log still has.

use duckdb::Connection;
use event::{RangeSet, Seq, SeqRange, StoredEvent};
use retention::{Class, RuleSet};

use crate::{
    classify, disk,
    engine::{self, Engine},
    error::{Error, Result},
    layout,
    manifest::{LostSlice, Slice},
    schema,
    sealed_partition::SealedPartition,
    slice_file::{self, SliceId, Sums},
};

/// The slices that were lost here, of which the cold tier, which has everything up to `cold`, does not have
/// all, and the log, from `log_first` on, has. Those whose ranges overlap are one group, because together
/// they have the rows that no other slice has. A group whose ids are lost too waits until they are recovered:
/// before that it is not known which events of the log were duplicates.
#[must_use]
pub fn to_refill(sealed: &SealedPartition, cold: Seq, log_first: Seq) -> Vec<Vec<LostSlice>> {
    let manifest = sealed.manifest();
    let missing = manifest.missing_ids();
    groups(manifest.gaps, &missing, cold, log_first)
}

fn groups(
    mut gaps: Vec<LostSlice>,
    missing_ids: &RangeSet,
    cold: Seq,
    log_first: Seq,
) -> Vec<Vec<LostSlice>> {
    let lacks_ids = |gap: &LostSlice| {
        SeqRange::new(gap.lo, gap.hi).is_some_and(|range| !missing_ids.intersect(range).is_empty())
    };
    gaps.retain(|gap| gap.slice.is_some() && gap.lo >= log_first);
    gaps.sort_by_key(|gap| gap.lo);
    let (mut groups, mut end): (Vec<Vec<LostSlice>>, _) = (Vec::new(), 0);
    for gap in gaps {
        let hi = gap.hi;
        match groups.last_mut() {
            Some(group) if gap.lo <= end => group.push(gap),
            _ => groups.push(vec![gap]),
        }
        end = end.max(hi);
    }
    groups.retain(|group| group.iter().any(|gap| gap.hi > cold) && !group.iter().any(lacks_ids));
    groups
}

/// Events of the log, from which slices are refilled. DuckDB has them, and spills them to the disk.
#[derive(Debug)]
pub struct RefillRows {
    connection: Connection,
}

impl RefillRows {
    /// Begins without events.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database): try again later.
    pub fn begin(engine: &Engine) -> Result<Self> {
        let connection = engine.connect()?;
        let columns = schema::event_columns("VARCHAR", "");
        connection.execute_batch(&format!("CREATE TEMP TABLE refill {columns}"))?;
        Ok(Self { connection })
    }

    /// Adds events of the log, stored or not.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when they do not fit on the disk: begin again.
    pub fn add(&self, events: &[StoredEvent]) -> Result<()> {
        engine::append(&self.connection, "refill", segment::encode(events))
    }
}

/// The result of a refill.
#[derive(Clone, Debug)]
pub struct RefillOutcome {
    pub slices: Vec<Slice>,
    /// Those of which the log has other rows than they had: a retry fails too, by the same rules.
    pub refused: Vec<LostSlice>,
}

/// One lost slice and what becomes of it: the source of its rows and their sums, if it has any.
struct Part<'a> {
    lost: &'a LostSlice,
    old: &'a Slice,
    rows: Option<(String, Sums)>,
}

/// Writes the slices `lost`, a group of [`to_refill`], again from `rows`, the events that the log has for
/// their range, and publishes them at once. The rows must have the same count and sums as those that were
/// lost, together or slice by slice. Rows to which `rules` give a class that none of the slices had go into
/// the one that is kept longest.
///
/// # Errors
/// [`Error::Invalid`] when a gap was never a slice: a retry fails too. [`Error::Database`] or
/// [`Error::File`] when a file fails, [`Error::Damaged`] when one that was written is wrong: try again later.
/// The manifest is unchanged.
pub fn refill(
    engine: &Engine,
    sealed: &SealedPartition,
    lost: &[LostSlice],
    rules: &RuleSet,
    rows: &RefillRows,
) -> Result<RefillOutcome> {
    let connection = &rows.connection;
    let never = || Error::Invalid("the gap was never a slice".to_owned());
    let old = lost.iter().map(|lost| lost.slice.clone().ok_or_else(never));
    let old: Vec<Slice> = old.collect::<Result<_>>()?;
    remove_other_rows(connection, sealed, &old)?;
    assign(connection, &old, rules)?;
    let mut ready = parts(connection, lost, &old, "true")?;
    let found = Sums::total(ready.iter().filter_map(Part::sums));
    if found != Sums::total(old.iter().map(Slice::sums)) {
        // Rows that have left warm since are there too.
        ready = parts(connection, lost, &old, "t.is_own")?;
        ready.retain(|part| part.sums() == Some(part.old.sums()));
    }
    let is_refused = |lost: &&LostSlice| !ready.iter().any(|part| part.lost == *lost);
    Ok(RefillOutcome {
        slices: publish(engine, connection, sealed, &ready)?,
        refused: lost.iter().filter(is_refused).cloned().collect(),
    })
}

/// What becomes of each of the `lost` slices, which `old` are, by the rows of the table `targets` that meet
/// `condition`.
fn parts<'a>(
    connection: &Connection,
    lost: &'a [LostSlice],
    old: &'a [Slice],
    condition: &str,
) -> Result<Vec<Part<'a>>> {
    let numbered = lost.iter().zip(old).enumerate();
    let parts = numbered.map(|(number, (lost, old))| {
        let source = format!(
            "(SELECT r.* FROM temp.main.refill r JOIN temp.main.targets t ON r.seq = t.seq \
             AND r.idx = t.idx WHERE t.target = {number} AND {condition})"
        );
        let sums = slice_file::sums(connection, &source)?;
        let rows = sums.map(|sums| (source, sums));
        Ok(Part { lost, old, rows })
    });
    parts.collect()
}

impl Part<'_> {
    fn sums(&self) -> Option<Sums> {
        self.rows.as_ref().map(|(_, sums)| *sums)
    }

    /// A new name: a reader may still hold the old file, which is unlinked when it is released.
    fn file(&self) -> String {
        self.old.file.replace(".duckdb", "-r.duckdb")
    }

    fn id(&self, sealed: &SealedPartition) -> SliceId {
        SliceId {
            partition: sealed.partition,
            range: self.old.range(),
            class: self.old.class,
            level: self.old.level,
        }
    }

    fn entry(&self, sealed: &SealedPartition) -> Option<Slice> {
        let sums = self.sums()?;
        Some(slice_file::entry(&self.id(sealed), self.file(), &sums))
    }
}

fn publish(
    engine: &Engine,
    connection: &Connection,
    sealed: &SealedPartition,
    parts: &[Part<'_>],
) -> Result<Vec<Slice>> {
    for part in parts {
        if let Some((source, sums)) = &part.rows {
            let staged = layout::staged(&sealed.dir.join(part.file()));
            slice_file::write(connection, &staged, &part.id(sealed), |alias| {
                slice_file::insert_selected(connection, alias, source)
            })?;
            slice_file::verify(engine, &staged, sums)?;
        }
    }
    for part in parts.iter().filter(|part| part.rows.is_some()) {
        let path = sealed.dir.join(part.file());
        disk::rename(&layout::staged(&path), &path)?;
    }
    disk::sync_dir(&sealed.dir)?;
    sealed.update_manifest(|manifest| {
        for part in parts {
            manifest.refill(part.lost, part.entry(sealed));
        }
        !parts.is_empty()
    })?;
    Ok(parts.iter().filter_map(|part| part.entry(sealed)).collect())
}

/// Removes from the table `refill` the rows that were never stored (duplicates) and those that a live
/// slice has. Of ranges without ids it is not known which events were duplicates: the sums decide.
fn remove_other_rows(
    connection: &Connection,
    sealed: &SealedPartition,
    lost: &[Slice],
) -> Result<()> {
    let (manifest, files) = sealed.snapshot();
    let overlaps = |range: SeqRange| {
        lost.iter()
            .any(|lost| lost.range().intersect(&range).is_some())
    };
    for ids in &manifest.ids {
        let range = SeqRange {
            lo: ids.lo,
            hi: ids.hi,
        };
        if overlaps(range) {
            let SeqRange { lo, hi } = range;
            let other = format!("seq BETWEEN {lo} AND {hi} AND (seq, idx) NOT IN");
            let path = sealed.dir.join(&ids.file);
            slice_file::with_attached(connection, &path, |alias| {
                remove(connection, &other, &format!("{alias}.ids"))
            })?;
        }
    }
    for file in files.iter().filter(|file| overlaps(file.slice.range())) {
        slice_file::with_attached(connection, &file.path, |alias| {
            remove(connection, "(seq, idx) IN", &format!("{alias}.events"))
        })?;
    }
    Ok(())
}

fn remove(connection: &Connection, condition: &str, source: &str) -> Result<()> {
    Ok(connection.execute_batch(&format!(
        "DELETE FROM temp.main.refill WHERE {condition} (SELECT seq, idx FROM {source})"
    ))?)
}

/// Writes the table `targets`: for each row of `refill` the number of the slice of `lost` that gets it, and
/// whether it is of that class by `rules`.
fn assign(connection: &Connection, lost: &[Slice], rules: &RuleSet) -> Result<()> {
    connection.execute_batch(
        "CREATE TEMP TABLE targets (seq BIGINT, idx INTEGER, target INTEGER, is_own BOOLEAN)",
    )?;
    for (class, source) in classify::by_class(connection, "temp.main.refill", rules)? {
        let (target, is_own) = (target(lost, class), own(lost, class));
        connection.execute_batch(&format!(
            "INSERT INTO temp.main.targets SELECT seq, idx, {target}, {is_own} FROM {source}"
        ))?;
    }
    Ok(())
}

/// The expression for the number of the slice of `lost` that gets a row of `class`: one of this class that
/// has its sequence, else the one that is kept longest.
fn target(lost: &[Slice], class: Class) -> String {
    let mut slices: Vec<_> = lost.iter().enumerate().collect();
    slices.sort_by_key(|(_, own)| {
        let cold = own.class.cold_max_age();
        // Never is longest.
        let kept = (cold.is_none(), cold, own.class.warm_max_age());
        (own.class == class, kept)
    });
    let cases = slices.iter().rev().map(|(number, own)| {
        let (lo, hi) = (own.lo, own.hi);
        format!("WHEN seq BETWEEN {lo} AND {hi} THEN {number}")
    });
    format!("CASE {} END", cases.collect::<Vec<_>>().join(" "))
}

/// The condition that a slice of `lost` of `class` has the sequence of a row.
fn own(lost: &[Slice], class: Class) -> String {
    let of_class = lost.iter().filter(|own| own.class == class);
    let ranges = of_class.map(|own| format!("seq BETWEEN {} AND {}", own.lo, own.hi));
    let ranges: Vec<_> = ranges.chain(["false".to_owned()]).collect();
    ranges.join(" OR ")
}

#[cfg(test)]
mod tests;
