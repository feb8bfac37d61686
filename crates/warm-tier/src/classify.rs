//! Assigns a retention class to each row of a segment, by the rules in force.

use std::collections::{BTreeMap, BTreeSet};

use duckdb::{Connection, params};
use retention::{Class, RuleSet, Subject, SubjectLabels};

use crate::error::Result;

/// The columns that rules match: (tenant, conversation, type, metadata). The metadata is present
/// only when the rules use labels.
type SubjectColumns = (String, String, String, Option<String>);

/// Reads the distinct subjects in `events`, a qualified table.
pub(crate) fn distinct_subjects(
    connection: &Connection,
    events: &str,
    uses_labels: bool,
) -> Result<Vec<SubjectColumns>> {
    let metadata = if uses_labels {
        "metadata"
    } else {
        "NULL::VARCHAR"
    };
    let sql =
        format!("SELECT DISTINCT tenant, conversation_id, type::VARCHAR, {metadata} FROM {events}");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Calls `read` with the effective rules of the rows of `subject`.
pub(crate) fn with_effective<T>(
    rules: &RuleSet,
    subject: &SubjectColumns,
    read: impl FnOnce(&retention::Effective<'_>) -> T,
) -> T {
    let (tenant, conversation, event_type, metadata) = subject;
    let text = metadata.as_deref().unwrap_or_default();
    let labels: &dyn SubjectLabels = if text.is_empty() { &() } else { &text };
    read(&rules.effective(&Subject {
        tenant,
        conversation,
        event_type,
        labels,
    }))
}

/// Splits the rows of `events` by class: for each class a source to select from. The sources live
/// as long as `connection`.
pub(crate) fn by_class(
    connection: &Connection,
    events: &str,
    rules: &RuleSet,
) -> Result<BTreeMap<Class, String>> {
    let uses_labels = rules.uses_labels();
    let subjects = distinct_subjects(connection, events, uses_labels)?;
    let classes: Vec<Class> = subjects
        .iter()
        .map(|subject| with_effective(rules, subject, |effective| effective.class()))
        .collect();
    let distinct: BTreeSet<Class> = classes.iter().copied().collect();
    if let (Some(class), 1) = (distinct.first(), distinct.len()) {
        return Ok(BTreeMap::from([(*class, events.to_owned())]));
    }
    store_classes(connection, &subjects, &classes)?;
    let metadata = if uses_labels {
        " AND e.metadata IS NOT DISTINCT FROM c.metadata"
    } else {
        ""
    };
    let source = |class: &Class| {
        format!(
            "(SELECT e.* FROM {events} e JOIN temp.classes c ON e.tenant = c.tenant \
             AND e.conversation_id = c.conversation_id AND e.type::VARCHAR = c.type{metadata} \
             WHERE c.class = '{class}')"
        )
    };
    Ok(distinct
        .iter()
        .map(|class| (*class, source(class)))
        .collect())
}

/// Writes the class of every subject into the temporary table `classes` of this connection.
fn store_classes(
    connection: &Connection,
    subjects: &[SubjectColumns],
    classes: &[Class],
) -> Result<()> {
    connection.execute_batch(
        "CREATE OR REPLACE TEMP TABLE classes (tenant VARCHAR, conversation_id VARCHAR, \
         type VARCHAR, metadata VARCHAR, class VARCHAR)",
    )?;
    let mut appender = connection.appender_to_catalog_and_db("classes", "temp", "main")?;
    for ((tenant, conversation, event_type, metadata), class) in subjects.iter().zip(classes) {
        let class = class.to_string();
        appender.append_row(params![tenant, conversation, event_type, metadata, class])?;
    }
    Ok(appender.flush()?)
}
