//! Rows of one conversation from one source: a range of positions → events in the answer's order.

use std::{collections::HashMap, time::Duration};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::Int64Type,
};
use cold_tier::{ColdScan, ColdSnapshot};
use event::{ConversationId, PartitionId, RangeSet, Seq, SeqRange, StoredEvent, TenantId};
use futures::TryStreamExt as _;
use retention::Class;
use warm_tier::remote::{Filter, Scan, Table};

use crate::{
    merge::ReadOrder,
    params::TypeFilter,
    read_limit::{FirstRows, ReadLimit},
    sources::Sources,
};

/// The rows of a conversation to read.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) tenant: TenantId,
    pub(crate) conversation: ConversationId,
    pub(crate) partition: PartitionId,
    /// Exclusive.
    pub(crate) after: Option<(Seq, u16)>,
    /// Exclusive.
    pub(crate) before: Option<(Seq, u16)>,
    pub(crate) order: ReadOrder,
    pub(crate) types: TypeFilter,
}

impl ReadRequest {
    /// Whether `row` is of the conversation and within the bounds; types are not compared.
    pub(crate) fn includes(&self, row: &StoredEvent) -> bool {
        let offset = row.position.offset();
        self.after.is_none_or(|after| offset > after)
            && self.before.is_none_or(|before| offset < before)
            && row.event.conversation_id == self.conversation
            && row.event.tenant == self.tenant
    }
}

/// Failure to read from a source.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The source has changed since the plan: plan again.
    Stale,
    /// The source does not answer now.
    Unavailable(anyhow::Error),
}

impl From<anyhow::Error> for SourceError {
    fn from(error: anyhow::Error) -> Self {
        Self::Unavailable(error)
    }
}

/// The longest that a read waits for the compactor to check a slice; after that it goes on without warm.
const DAMAGE_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// From the least sequence of `batch` to its greatest.
fn sequences(batch: &RecordBatch) -> Option<SeqRange> {
    let seqs = batch.column_by_name("seq")?;
    let seqs = seqs.as_primitive_opt::<Int64Type>()?;
    let ends = (arrow::compute::min(seqs)?, arrow::compute::max(seqs)?);
    SeqRange::new(ends.0.try_into().ok()?, ends.1.try_into().ok()?)
}

impl Sources {
    /// Reads the first rows up to `limit` from the warm tier. `removals` is the count of removed files with
    /// which the read was planned; the warm tier refuses the scan if it has changed.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: the caller plans again.
    pub(crate) async fn warm_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
        removals: Option<u64>,
        limit: ReadLimit,
    ) -> Result<FirstRows, SourceError> {
        let filter = Filter {
            tenant: Some(request.tenant.to_string()),
            conversation_id: Some(request.conversation.to_string()),
            types: request.types.exact().unwrap_or_default().to_vec(),
            after: request.after,
            before: request.before,
            ..Filter::default()
        };
        let scan = Scan {
            filter,
            removals,
            order: match request.order {
                ReadOrder::Asc => warm_tier::remote::Order::Asc,
                ReadOrder::Desc => warm_tier::remote::Order::Desc,
            },
            limit: Some(u64::try_from(limit.rows).unwrap_or(u64::MAX)),
            max_bytes: Some(u64::try_from(limit.content_bytes()).unwrap_or(u64::MAX)),
            ..Scan::new(Table::Events, request.partition, vec![range])
        };
        let mut batches = self.warm.client.scan(&scan).await.map_err(warm_error)?;
        let mut first = FirstRows::default();
        while !first.is_cut
            && let Some(batch) = batches.try_next().await.map_err(warm_error)?
        {
            match decode(&batch) {
                Err(error) => {
                    drop(batches);
                    let part = sequences(&batch).unwrap_or(range);
                    return Err(self.report_damage(request.partition, part, error).await);
                }
                Ok(rows) => first.rows.extend(rows),
            }
            first.cut(limit);
        }
        Ok(first)
    }

    /// Tells the compactor that a row of `range` is not what was written. When it has taken the slice out
    /// of its coverage, another source has the rows, or nobody: plan again.
    async fn report_damage(
        &self,
        partition: PartitionId,
        range: SeqRange,
        error: SourceError,
    ) -> SourceError {
        tracing::warn!(%partition, %range, ?error, "warm has a damaged row");
        let check = self.warm.client.check(partition, range);
        match tokio::time::timeout(DAMAGE_CHECK_TIMEOUT, check).await {
            Ok(Ok(damaged)) if damaged > 0 => SourceError::Stale,
            _ => error,
        }
    }

    /// Reads the first rows up to `limit` from `snapshot` of the cold tier, but not what warm answers, `in_warm`.
    /// Returns also the ranges of files that cannot be read.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: the caller plans again.
    pub(crate) async fn cold_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
        snapshot: &ColdSnapshot,
        in_warm: HashMap<(PartitionId, Class), RangeSet>,
        limit: ReadLimit,
    ) -> Result<(FirstRows, RangeSet), SourceError> {
        let scan = ColdScan {
            partition: Some(request.partition),
            ranges: Some(range.into()),
            except: in_warm,
            tenant: Some(request.tenant.clone()),
            conversation: Some(request.conversation.clone()),
            types: request.types.exact().unwrap_or_default().to_vec(),
            after: request.after,
            before: request.before,
            order: Some(match request.order {
                ReadOrder::Asc => cold_tier::Order::Asc,
                ReadOrder::Desc => cold_tier::Order::Desc,
            }),
            limit: Some(limit.rows),
            max_bytes: Some(limit.content_bytes()),
            ..ColdScan::default()
        };
        let read = self.cold.read(snapshot, &scan).await?;
        let rows = read.rows.as_ref().map(decode).transpose()?;
        let mut first = FirstRows {
            rows: rows.unwrap_or_default(),
            is_cut: read.is_cut,
        };
        first.cut(limit);
        Ok((first, read.missing))
    }

    /// Returns those of `unreadable`, frames of the log, that are to be named: all but those about which a
    /// person has decided. All while the log does not say.
    pub(crate) async fn undecided(&self, partition: PartitionId, unreadable: RangeSet) -> RangeSet {
        match self.log.undecided(partition, &unreadable).await {
            Ok(undecided) => undecided,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "dead letters not read");
                unreadable
            }
        }
    }

    /// Returns the open dead letters of `partition`, to be named in every answer about their range.
    /// None while the log does not answer: then that is named.
    pub(crate) async fn open_dead_letters(&self, partition: PartitionId) -> RangeSet {
        match self.log.open_dead_letters(partition).await {
            Ok(open) => open,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "dead letters not read");
                RangeSet::new()
            }
        }
    }
}

fn decode(batch: &arrow::record_batch::RecordBatch) -> Result<Vec<StoredEvent>, SourceError> {
    segment::decode(batch).map_err(|error| SourceError::Unavailable(error.into()))
}

pub(crate) fn warm_error(error: warm_tier::Error) -> SourceError {
    if error.is_transient() {
        SourceError::Stale
    } else {
        SourceError::Unavailable(error.into())
    }
}
