//! Which retention class each row of a segment has, by the rules in force.

use std::collections::{BTreeMap, BTreeSet};

use duckdb::{Connection, params};
use retention::{Class, RuleSet, Subject, SubjectLabels};

use crate::error::Result;

/// What the rules look at: (tenant, conversation, type, metadata). The metadata is there only when
/// the rules use labels.
type Kind = (String, String, String, Option<String>);

/// The distinct kinds of rows in `events`, a qualified table.
pub(crate) fn kinds(connection: &Connection, events: &str, labels: bool) -> Result<Vec<Kind>> {
    let metadata = if labels { "metadata" } else { "NULL::VARCHAR" };
    let sql =
        format!("SELECT DISTINCT tenant, conversation_id, type::VARCHAR, {metadata} FROM {events}");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the rules say of rows of `kind`.
pub(crate) fn with_effective<T>(
    rules: &RuleSet,
    kind: &Kind,
    of: impl FnOnce(&retention::Effective<'_>) -> T,
) -> T {
    let (tenant, conversation, event_type, metadata) = kind;
    let text = metadata.as_deref().unwrap_or_default();
    let labels: &dyn SubjectLabels = if text.is_empty() { &() } else { &text };
    of(&rules.effective(&Subject {
        tenant,
        conversation,
        event_type,
        labels,
    }))
}

/// The rows of `events` by class: for each class a source to select from. The sources live as long
/// as `connection`.
pub(crate) fn by_class(
    connection: &Connection,
    events: &str,
    rules: &RuleSet,
) -> Result<BTreeMap<Class, String>> {
    let labels = rules.uses_labels();
    let kinds = kinds(connection, events, labels)?;
    let classes: Vec<Class> = kinds
        .iter()
        .map(|kind| with_effective(rules, kind, |effective| effective.class()))
        .collect();
    let distinct: BTreeSet<Class> = classes.iter().copied().collect();
    if let (Some(class), 1) = (distinct.first(), distinct.len()) {
        return Ok(BTreeMap::from([(*class, events.to_owned())]));
    }
    remember(connection, &kinds, &classes)?;
    let metadata = if labels {
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

/// Puts the class of every kind into a table of this connection.
fn remember(connection: &Connection, kinds: &[Kind], classes: &[Class]) -> Result<()> {
    connection.execute_batch(
        "CREATE OR REPLACE TEMP TABLE classes (tenant VARCHAR, conversation_id VARCHAR, \
         type VARCHAR, metadata VARCHAR, class VARCHAR)",
    )?;
    let mut appender = connection.appender_to_catalog_and_db("classes", "temp", "main")?;
    for ((tenant, conversation, event_type, metadata), class) in kinds.iter().zip(classes) {
        let class = class.to_string();
        appender.append_row(params![tenant, conversation, event_type, metadata, class])?;
    }
    Ok(appender.flush()?)
}
