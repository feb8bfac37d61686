//! Rollup rows of one partition that together speak of every position once.
//!
//! A rollup row of the cold tier speaks of a whole archived range, so cold's ranges are taken
//! whole first; warm answers for any range that is left, and what is not sealed is summed here.

use cold_tier::ColdScan;
use event::RangeSet;
use warm_tier::{
    remote::{self, Filter, Scan},
    sql::Table,
};

use super::Job;
use crate::{
    error::Problem,
    live_rows,
    plan::{Plan, Source},
    retry::ReadError,
};

impl Job<'_> {
    /// Returns what only cold should have and has no rollups of.
    pub(super) async fn rollups(&mut self, plan: &Plan) -> Result<RangeSet, ReadError> {
        let mut wanted = plan.of(Source::Cold);
        for range in plan.of(Source::WarmAndCold).ranges() {
            wanted.insert(*range);
        }
        let cold = self.cold_ranges(&wanted);
        if !cold.is_empty() {
            let scan = ColdScan {
                partition: Some(self.partition),
                ranges: Some(cold.clone()),
                tenant: Some(self.request.tenant.clone()),
                ..ColdScan::default()
            };
            self.cold(self.cold_table(), &scan).await?;
        }
        let warm = plan.of(Source::Warm).subtract(&cold);
        if !warm.is_empty() {
            let filter = Filter {
                tenant: Some(self.request.tenant.to_string()),
                ..Filter::default()
            };
            let ranges = warm.ranges().to_vec();
            let scan = Scan::new(self.warm_table(), self.partition, ranges);
            self.warm(Scan { filter, ..scan }).await?;
        }
        let (hot, log) = (plan.of(Source::Hot), plan.of(Source::Log));
        let rows = self
            .unsealed(&hot.subtract(&cold), &log.subtract(&cold))
            .await?;
        if !rows.is_empty() {
            let batch = match self.request.table {
                Table::ConversationSummary => live_rows::conversation_summary(&rows),
                Table::HourlyStats | Table::Events => live_rows::hourly_stats(&rows),
            };
            self.out
                .batches
                .push(batch.map_err(|error| Problem::Internal(error.into()))?);
        }
        Ok(wanted.subtract(&cold))
    }

    /// The archived ranges that meet `wanted`, whole.
    fn cold_ranges(&self, wanted: &RangeSet) -> RangeSet {
        let Some(snapshot) = &self.snapshot else {
            return RangeSet::new();
        };
        let files = snapshot.table(self.cold_table()).files();
        let ranges = files.filter_map(|file| file.provenance.as_ref());
        let ranges = ranges.flat_map(|provenance| &provenance.ranges);
        ranges
            .filter(|(partition, range)| {
                *partition == self.partition && !wanted.intersect(*range).is_empty()
            })
            .map(|(_, range)| *range)
            .collect()
    }

    fn cold_table(&self) -> cold_tier::Table {
        match self.request.table {
            Table::ConversationSummary => cold_tier::Table::ConversationSummary,
            Table::HourlyStats | Table::Events => cold_tier::Table::HourlyStats,
        }
    }

    fn warm_table(&self) -> remote::Table {
        match self.request.table {
            Table::ConversationSummary => remote::Table::ConversationSummary,
            Table::HourlyStats | Table::Events => remote::Table::HourlyStats,
        }
    }
}
