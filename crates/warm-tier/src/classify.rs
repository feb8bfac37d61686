//! Assigns to each row of a segment what the rules in force say of it: its retention class, or another value.

use std::collections::{BTreeMap, BTreeSet};

use ahash::HashMap;
use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use duckdb::{Connection, params};
use retention::{Class, RuleSet, Subject, SubjectLabels};

use crate::error::{Error, Result};

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
    let values = classes.iter().map(|class| Some(class.to_string()));
    store_values(connection, "classes", &subjects, values)?;
    let is_subject = is_subject("e", "c", uses_labels);
    let source = |class: &Class| {
        format!(
            "(SELECT e.* FROM {events} e JOIN temp.classes c ON {is_subject} WHERE c.value = '{class}')"
        )
    };
    Ok(distinct
        .iter()
        .map(|class| (*class, source(class)))
        .collect())
}

/// The condition that the row `events` has the subject of the row `values` of a table by [`store_values`].
pub(crate) fn is_subject(events: &str, values: &str, uses_labels: bool) -> String {
    let metadata = match uses_labels {
        true => format!(" AND {events}.metadata IS NOT DISTINCT FROM {values}.metadata"),
        false => String::new(),
    };
    format!(
        "{events}.tenant = {values}.tenant AND {events}.conversation_id = {values}.conversation_id \
         AND {events}.type::VARCHAR = {values}.type{metadata}"
    )
}

/// Writes a value for every subject into the column `value` of the temporary table `table` of this connection.
pub(crate) fn store_values(
    connection: &Connection,
    table: &str,
    subjects: &[SubjectColumns],
    values: impl IntoIterator<Item = Option<String>>,
) -> Result<()> {
    connection.execute_batch(&format!(
        "CREATE OR REPLACE TEMP TABLE {table} (tenant VARCHAR, conversation_id VARCHAR, \
         type VARCHAR, metadata VARCHAR, value VARCHAR)"
    ))?;
    let mut appender = connection.appender_to_catalog_and_db(table, "temp", "main")?;
    for ((tenant, conversation, event_type, metadata), value) in subjects.iter().zip(values) {
        appender.append_row(params![tenant, conversation, event_type, metadata, value])?;
    }
    Ok(appender.flush()?)
}

/// The rows of one class of an open part, ordered by tenant, conversation and position.
pub(crate) type RowsByClass = BTreeMap<Class, Vec<RowRef>>;

/// Splits the rows of `batches`, which are in log order, by class.
pub(crate) fn rows_by_class(batches: &[RecordBatch], rules: &RuleSet) -> Result<RowsByClass> {
    let columns = batches.iter().map(SubjectArrays::of);
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let uses_labels = rules.uses_labels();
    let mut class_of: HashMap<(&str, &str, &str, &str), Class> = HashMap::default();
    // Ordered by class, tenant and conversation; the rows of a conversation are in log order already.
    let mut groups: HashMap<(Class, &str, &str), Vec<RowRef>> = HashMap::default();
    for (batch, columns) in (0..).zip(&columns) {
        for row in 0..columns.rows() {
            let (tenant, conversation, event_type, metadata) = columns.subject(row);
            let labels = if uses_labels { metadata } else { "" };
            let subject = (tenant, conversation, event_type, labels);
            let class = *class_of
                .entry(subject)
                .or_insert_with(|| class(rules, subject));
            let group = groups.entry((class, tenant, conversation)).or_default();
            group.push(RowRef::new(batch, row));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by_key(|(key, _)| *key);
    let mut by_class = RowsByClass::new();
    for ((class, _, _), rows) in groups {
        by_class.entry(class).or_default().extend(rows);
    }
    Ok(by_class)
}
/// A row of the batches of an open part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRef {
    batch: u32,
    row: u32,
}

impl RowRef {
    fn new(batch: u32, row: usize) -> Self {
        // A batch has a few thousand rows.
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        Self { batch, row }
    }

    /// The index of the batch, and of the row in it.
    pub(crate) fn indices(&self) -> (usize, usize) {
        (self.batch as usize, self.row as usize)
    }
}

/// The columns of a batch that rules match.
struct SubjectArrays<'a> {
    tenant: &'a StringArray,
    conversation: &'a StringArray,
    event_type: &'a StringArray,
    metadata: &'a StringArray,
}

impl<'a> SubjectArrays<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            let column = column.and_then(|column| column.as_string_opt());
            column.ok_or_else(|| Error::Rows(format!("no column {name}")))
        };
        Ok(Self {
            tenant: column("tenant")?,
            conversation: column("conversation_id")?,
            event_type: column("type")?,
            metadata: column("metadata")?,
        })
    }

    fn rows(&self) -> usize {
        self.tenant.len()
    }

    fn subject(&self, row: usize) -> (&'a str, &'a str, &'a str, &'a str) {
        let metadata = self.metadata;
        let metadata = if metadata.is_valid(row) {
            metadata.value(row)
        } else {
            ""
        };
        let (tenant, conversation) = (self.tenant.value(row), self.conversation.value(row));
        (tenant, conversation, self.event_type.value(row), metadata)
    }
}

/// The class of a subject: (tenant, conversation, type, metadata).
fn class(rules: &RuleSet, subject: (&str, &str, &str, &str)) -> Class {
    let (tenant, conversation, event_type, metadata) = subject;
    let labels: &dyn SubjectLabels = if metadata.is_empty() { &() } else { &metadata };
    let subject = Subject {
        tenant,
        conversation,
        event_type,
        labels,
    };
    rules.effective(&subject).class()
}
