//! The rows of `events` of one partition, with what can be left out left out where they lie.

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::TimestampMicrosecondType,
};
use cold_tier::ColdScan;
use event::{ConversationId, RangeSet, SeqRange, StoredEvent, Timestamp};
use retention::{RuleSet, Subject};
use warm_tier::{
    remote::{Filter, Scan, Table},
    sql::Pushdown,
};

use super::Job;
use crate::{
    error::Problem,
    plan::{Plan, Source},
    retention_filter,
    retry::ReadError,
};

/// What the rules look at.
const JUDGED: [&str; 5] = [
    "tenant",
    "conversation_id",
    "type",
    "received_at",
    "metadata",
];

impl Job<'_> {
    pub(super) async fn events(&mut self, plan: &Plan) -> Result<(), ReadError> {
        let rules = self.sources.rules();
        let hides = retention_filter::anything_ends(&rules);
        let rows = self
            .unsealed(&plan.of(Source::Hot), &plan.of(Source::Log))
            .await?;
        let wanted = |row: &StoredEvent| matches(&self.request.pushdown, row);
        let rows: Vec<_> = rows.into_iter().filter(wanted).collect();
        if !rows.is_empty() {
            let batch = segment::encode(&rows);
            self.request.budget.take(&batch)?;
            let batch = segment::conform(&batch, &self.request.schema);
            let batch = batch.map_err(|error| Problem::Internal(error.into()))?;
            self.out.batches.push(batch);
        }
        let (mut warm, mut cold) = (plan.of(Source::Warm), plan.of(Source::Cold));
        for range in plan.of(Source::WarmAndCold).ranges() {
            warm.insert(*range);
            cold.insert(*range);
        }
        if !cold.is_empty() {
            let scan = self.cold_events(cold, &warm);
            self.cold(cold_tier::Table::Events, &scan).await?;
        }
        if !warm.is_empty() {
            self.warm(self.warm_events(warm.ranges().to_vec())).await?;
        }
        if hides {
            let now = Timestamp::now();
            for batch in &mut self.out.batches {
                let shown = visible(batch, &rules, now);
                let shown = filter_record_batch(batch, &shown);
                *batch = shown.map_err(|error| Problem::Internal(error.into()))?;
            }
        }
        Ok(())
    }

    fn columns(&self) -> Vec<String> {
        let fields = self.request.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn warm_events(&self, ranges: Vec<SeqRange>) -> Scan {
        let pushdown = &self.request.pushdown;
        Scan {
            columns: Some(self.columns()),
            filter: Filter {
                tenant: Some(self.request.tenant.to_string()),
                conversation_id: only(pushdown).map(|id| id.to_string()),
                types: types(pushdown),
                timestamp_from: pushdown.timestamp_from,
                timestamp_to: exclusive(pushdown.timestamp_to),
                ..Filter::default()
            },
            ..Scan::new(Table::Events, self.partition, ranges)
        }
    }

    fn cold_events(&self, ranges: RangeSet, warm: &RangeSet) -> ColdScan {
        let pushdown = &self.request.pushdown;
        ColdScan {
            partition: Some(self.partition),
            except: self.held_by_warm(warm),
            ranges: Some(ranges),
            tenant: Some(self.request.tenant.clone()),
            conversation: only(pushdown),
            types: types(pushdown),
            timestamp_from: pushdown.timestamp_from,
            timestamp_to: exclusive(pushdown.timestamp_to),
            columns: Some(self.columns()),
            ..ColdScan::default()
        }
    }
}

/// The names of the columns that a scan must read so that rows can be hidden.
pub(crate) fn judged(rules: &RuleSet) -> &'static [&'static str] {
    match (retention_filter::anything_ends(rules), rules.uses_labels()) {
        (false, _) => &[],
        (true, false) => &JUDGED[..4],
        (true, true) => &JUDGED,
    }
}

fn only(pushdown: &Pushdown) -> Option<ConversationId> {
    let conversations = pushdown.conversations.as_ref()?;
    let first = conversations.first().filter(|_| conversations.len() == 1)?;
    ConversationId::new(first).ok()
}

fn types(pushdown: &Pushdown) -> Vec<String> {
    pushdown.types.iter().flatten().cloned().collect()
}

/// The statement's bound is inclusive, a scan's is not.
fn exclusive(to: Option<Timestamp>) -> Option<Timestamp> {
    to.map(|to| Timestamp::from_micros(to.as_micros().saturating_add(1)))
}

fn matches(pushdown: &Pushdown, row: &StoredEvent) -> bool {
    let event = &row.event;
    let among = |set: &Option<std::collections::BTreeSet<String>>, text: &str| {
        set.as_ref().is_none_or(|set| set.contains(text))
    };
    among(&pushdown.conversations, event.conversation_id.as_str())
        && among(&pushdown.types, event.event_type.as_str())
        && pushdown
            .timestamp_from
            .is_none_or(|from| event.timestamp >= from)
        && pushdown.timestamp_to.is_none_or(|to| event.timestamp <= to)
}

/// Which rows the rules now in force still show.
fn visible(batch: &RecordBatch, rules: &RuleSet, now: Timestamp) -> BooleanArray {
    let text = |name: &str| {
        batch
            .column_by_name(name)
            .map(|column| column.as_string::<i32>())
    };
    let (tenant, conversation, kind) = (text("tenant"), text("conversation_id"), text("type"));
    let metadata = text("metadata");
    let received = batch.column_by_name("received_at");
    let received = received.map(|column| column.as_primitive::<TimestampMicrosecondType>());
    let row = |index: usize| {
        let labels = metadata
            .filter(|all| all.is_valid(index))
            .map_or("", |all| all.value(index));
        let subject = Subject {
            tenant: tenant?.value(index),
            conversation: conversation?.value(index),
            event_type: kind?.value(index),
            labels: &labels,
        };
        let received_at = Timestamp::from_micros(received?.value(index));
        Some(retention_filter::is_live(rules, &subject, received_at, now))
    };
    (0..batch.num_rows())
        .map(|index| Some(row(index).unwrap_or(true)))
        .collect()
}
