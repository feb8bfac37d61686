//! Which rows of a slice the cold tier need not have: those that the rules have removed there.

use std::{sync::Arc, time::Duration};

use duckdb::{Connection, params};
use event::{RangeSet, Timestamp};
use retention::RuleSet;

use crate::{classify, error::Result};

/// What may have been removed from the cold tier although a slice has it. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct Removals {
    /// The rules in force: rows that are past their age by them may be absent.
    pub rules: Arc<RuleSet>,
    /// The time to which ages are counted.
    pub now: Timestamp,
    /// The files that have fewer rows than they were made of.
    pub thinned: Vec<Thinned>,
}

/// A cold file from which rules have removed rows. All its rows are of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thinned {
    /// The tenant of every row.
    pub tenant: String,
    /// The UTC day on which every row was received, `2026-11-20`; `None` when that is not known.
    pub received_on: Option<String>,
    /// The sequences that the file was made of.
    pub ranges: RangeSet,
    /// How many rows were removed; `None` when that is not known.
    pub removed: Option<u64>,
}

/// The rows of a slice that cold has not and should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsMissing {
    pub rows: u64,
    /// The time from which on all of them may be absent, because of their age; `None` is never.
    pub until: Option<Timestamp>,
}

/// The longest age, so that sums of times stay in 64 bits: 36,000 years.
const MAX_AGE_MICROS: i64 = 1 << 60;

/// Subtracts what `removals` allow from the rows in the temporary table `missing`.
pub(super) fn subtract(connection: &Connection, removals: &Removals) -> Result<RowsMissing> {
    if count(connection, "temp.missing")? == 0 {
        return Ok(RowsMissing::default());
    }
    let with_age = store_ages(connection, &removals.rules)?;
    let end = "epoch_us(m.received_at) + a.value::BIGINT";
    connection.execute(
        &format!(
            "DELETE FROM temp.missing AS m USING temp.ages AS a WHERE {with_age} AND {end} < ?"
        ),
        [removals.now.as_micros()],
    )?;
    let removed = subtract_thinned(connection, &removals.thinned)?;
    let rows = count(connection, "temp.missing")?.saturating_sub(removed);
    let sql = format!(
        "SELECT CASE WHEN count(*) = count(a.value) THEN max({end}) END \
         FROM temp.missing AS m JOIN temp.ages AS a ON {with_age}"
    );
    let until: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    let until = until.map(Timestamp::from_micros);
    Ok(RowsMissing { rows, until })
}

/// Writes the age at which each subject of `missing` expires into the temporary table `ages`, in microseconds
/// and null for never; returns the condition that its row `a` is of the row `m`.
fn store_ages(connection: &Connection, rules: &RuleSet) -> Result<String> {
    let uses_labels = rules.uses_labels();
    let subjects = classify::distinct_subjects(connection, "temp.missing", uses_labels)?;
    let ages = subjects.iter().map(|subject| {
        let age = classify::with_effective(rules, subject, |effective| effective.ends_after());
        age.map(|age| micros(age).to_string())
    });
    let ages: Vec<_> = ages.collect();
    classify::store_values(connection, "ages", &subjects, ages)?;
    Ok(classify::is_subject("m", "a", uses_labels))
}

fn micros(age: Duration) -> i64 {
    let micros = i64::try_from(age.as_micros()).unwrap_or(MAX_AGE_MICROS);
    micros.min(MAX_AGE_MICROS)
}

/// Deletes the rows of `missing` that `thinned` files may have had, if these say that so many were removed.
/// Otherwise returns how many of them were.
fn subtract_thinned(connection: &Connection, thinned: &[Thinned]) -> Result<u64> {
    connection.execute_batch(
        "CREATE OR REPLACE TEMP TABLE thinned (tenant VARCHAR, received_on VARCHAR, lo BIGINT, hi BIGINT)",
    )?;
    let mut appender = connection.appender_to_catalog_and_db("thinned", "temp", "main")?;
    for file in thinned {
        for range in file.ranges.ranges() {
            let (tenant, day) = (&file.tenant, &file.received_on);
            appender.append_row(params![tenant, day, range.lo, range.hi])?;
        }
    }
    appender.flush()?;
    drop(appender);
    let is_thinned = "EXISTS (SELECT 1 FROM temp.thinned AS t WHERE t.tenant = m.tenant \
         AND coalesce(t.received_on = strftime(m.received_at, '%Y-%m-%d'), true) \
         AND m.seq BETWEEN t.lo AND t.hi)";
    let found = count(connection, &format!("temp.missing AS m WHERE {is_thinned}"))?;
    // Unknown if it is unknown of one.
    let removed: Option<u64> = thinned.iter().map(|file| file.removed).sum();
    match removed {
        Some(removed) if removed < found => Ok(removed),
        _ => {
            let sql = format!("DELETE FROM temp.missing AS m WHERE {is_thinned}");
            connection.execute_batch(&sql)?;
            Ok(0)
        }
    }
}

fn count(connection: &Connection, rows: &str) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {rows}");
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}
