//! The rows of `events` of one partition. Filters and columns are pushed down to the tiers.

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::TimestampMicrosecondType,
};
use cold_tier::ColdScan;
use event::{ConversationId, RangeSet, SeqRange, Timestamp};
use retention::{RuleSet, Subject};
use warm_tier::{
    remote::{Filter, Scan, Table},
    sql::Pushdown,
};

use super::{PartitionScan, in_place};
use crate::{
    error::QueryError,
    plan::{Plan, Source},
    retention_filter,
    retry::ReadError,
};

/// The columns that retention rules are evaluated on; `metadata`, the last, only for labels.
const RETENTION_COLUMNS: [&str; 5] = [
    "tenant",
    "conversation_id",
    "type",
    "received_at",
    "metadata",
];

impl PartitionScan<'_> {
    /// Reads the planned rows into the output, without those that are past their retention.
    pub(super) async fn read_events(&mut self, plan: &Plan) -> Result<(), ReadError> {
        let rules = self.sources.rules();
        let can_expire = retention_filter::can_expire(&rules);
        let (mut warm, mut cold) = (plan.ranges_of(Source::Warm), plan.ranges_of(Source::Cold));
        for range in plan.ranges_of(Source::WarmAndCold).ranges() {
            warm.insert(*range);
            cold.insert(*range);
        }
        if !cold.is_empty() {
            let scan = self.cold_scan(cold, &warm);
            self.read_cold(cold_tier::Table::Events, scan).await?;
        }
        match (self.request.in_place, self.coverage.clone()) {
            (true, Some(coverage)) => {
                let now = match can_expire {
                    true => self.sources.now().await?,
                    false => Timestamp::from_micros(0),
                };
                let parts = in_place::divide(&coverage, &warm, &rules, now);
                let price = in_place::price(&coverage, &parts, &self.request.schema);
                self.charge.count(price)?;
                let scan = (!parts.unsealed.is_empty()).then(|| self.warm_scan(parts.unsealed));
                self.leave(parts.slices, scan);
                for (class, ranges) in parts.filtered {
                    let scan = self.warm_scan(ranges);
                    self.read_warm(Scan { class, ..scan }).await?;
                }
            }
            _ if warm.is_empty() => {}
            _ => {
                self.read_warm(self.warm_scan(warm.ranges().to_vec()))
                    .await?;
            }
        }
        if can_expire {
            let now = self.sources.now().await?;
            for batch in &mut self.out.batches {
                let visible = visible_rows(batch, &rules, now);
                let filtered = filter_record_batch(batch, &visible);
                *batch = filtered.map_err(|error| QueryError::Internal(error.into()))?;
            }
        }
        Ok(())
    }

    fn columns(&self) -> Vec<String> {
        let fields = self.request.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn warm_scan(&self, ranges: Vec<SeqRange>) -> Scan {
        let pushdown = &self.request.pushdown;
        Scan {
            columns: Some(self.columns()),
            filter: Filter {
                tenant: Some(self.request.tenant.to_string()),
                conversation_id: only_conversation(pushdown).map(|id| id.to_string()),
                types: types(pushdown),
                timestamp_from: pushdown.timestamp_from,
                timestamp_to: exclusive(pushdown.timestamp_to),
                ..Filter::default()
            },
            ..Scan::new(Table::Events, self.partition, ranges)
        }
    }

    fn cold_scan(&self, ranges: RangeSet, warm: &RangeSet) -> ColdScan {
        let pushdown = &self.request.pushdown;
        ColdScan {
            partition: Some(self.partition),
            except: self.ranges_in_warm(warm),
            ranges: Some(ranges),
            tenant: Some(self.request.tenant.clone()),
            conversation: only_conversation(pushdown),
            types: types(pushdown),
            timestamp_from: pushdown.timestamp_from,
            timestamp_to: exclusive(pushdown.timestamp_to),
            columns: Some(self.columns()),
            ..ColdScan::default()
        }
    }
}

/// Returns the columns that a scan must read for the retention filter.
pub(crate) fn retention_columns(rules: &RuleSet) -> &'static [&'static str] {
    match (retention_filter::can_expire(rules), rules.uses_labels()) {
        (false, _) => &[],
        (true, false) => &RETENTION_COLUMNS[..4],
        (true, true) => &RETENTION_COLUMNS,
    }
}

/// Returns the conversation when the statement is about exactly one.
fn only_conversation(pushdown: &Pushdown) -> Option<ConversationId> {
    let conversations = pushdown.conversations.as_ref()?;
    let first = conversations.first().filter(|_| conversations.len() == 1)?;
    ConversationId::new(first).ok()
}

fn types(pushdown: &Pushdown) -> Vec<String> {
    pushdown.types.iter().flatten().cloned().collect()
}

/// Turns the statement's inclusive upper bound into a scan's exclusive one.
fn exclusive(to: Option<Timestamp>) -> Option<Timestamp> {
    to.map(|to| Timestamp::from_micros(to.as_micros().saturating_add(1)))
}

/// Returns for each row of `batch` whether it is still retained; all are if a column is not there.
fn visible_rows(batch: &RecordBatch, rules: &RuleSet, now: Timestamp) -> BooleanArray {
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
        Some(retention_filter::is_retained(
            rules,
            &subject,
            received_at,
            now,
        ))
    };
    (0..batch.num_rows())
        .map(|index| Some(row(index).unwrap_or(true)))
        .collect()
}
