//! Drops slices that the cold tier is seen to have; where its log entries do not say it, by reading the rows.

use std::sync::Arc;

use retention::RuleSet;
use warm_tier::{Engine, PROOF_COLUMNS, Removals, RowCheck, RowsMissing, SealedPartition, Slice};

use super::{Maintenance, run_blocking};
use crate::proof::{Candidates, ColdView, Doubt, FoundBy, Kept, Proof};

impl Maintenance {
    /// Drops `slice` when the cold tier is seen to have its rows; else it stays and is counted.
    pub(super) async fn drop_if_proven(
        &self,
        reason: &str,
        sealed: &Arc<SealedPartition>,
        slice: Slice,
        view: &ColdView,
        kept: &mut Kept,
    ) {
        let doubts = self.doubts(sealed, &slice, view, kept).await;
        if !doubts.is_empty() {
            kept.slices += 1;
            kept.doubts.extend(doubts);
            return;
        }
        let (file, events) = (slice.file.clone(), slice.rows);
        let drop_slice =
            move |_: &Engine, sealed: &SealedPartition| warm_tier::drop_slice(sealed, &slice);
        match run_blocking(&self.tier, sealed, drop_slice).await {
            Ok(true) => {
                let removed = &self.context.metrics.removed;
                removed.with_label_values(&["warm", reason]).inc_by(events);
                tracing::info!(file, events, reason, "dropped slice");
            }
            Ok(false) => {}
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, file, "cannot drop a slice now, will retry");
            }
        }
    }

    /// The reasons for which `slice` must stay. Rows that were missing are looked for again only when the table or
    /// the rules have changed, or the rows are past their age.
    async fn doubts(
        &self,
        sealed: &Arc<SealedPartition>,
        slice: &Slice,
        view: &ColdView,
        kept: &mut Kept,
    ) -> Vec<Doubt> {
        let rules = Arc::clone(&self.context.rules.borrow());
        let slices = sealed.manifest().slices;
        let proof = view.prove(sealed.partition, slice, &slices, &rules).await;
        let candidates = match proof {
            Proof::Proven => return Vec::new(),
            Proof::Doubted(doubts) => return doubts,
            Proof::Unclear(candidates) => candidates,
        };
        let partition = sealed.partition;
        let by = FoundBy {
            version: view.events.version(),
            rules: rules.hash(),
        };
        let missing = match self.missing.known(partition, slice, &by, view.now) {
            Some(known) => known,
            None => match self.compare(sealed, slice, view, candidates, rules).await {
                Ok(missing) => missing,
                Err(doubt) => return vec![doubt],
            },
        };
        if missing.rows == 0 {
            return Vec::new();
        }
        kept.missing.note(partition, slice, by, missing);
        vec![Doubt::rows_missing(partition, slice, missing)]
    }

    /// Reads which rows the candidates have, one file at a time, and compares them with those of `slice`.
    ///
    /// # Errors
    /// The doubt, when rows cannot be read.
    async fn compare(
        &self,
        sealed: &Arc<SealedPartition>,
        slice: &Slice,
        view: &ColdView,
        candidates: Candidates,
        rules: Arc<RuleSet>,
    ) -> Result<RowsMissing, Doubt> {
        let begin = |engine: &Engine, _: &SealedPartition| RowCheck::begin(engine);
        let rows = run_blocking(&self.tier, sealed, begin).await;
        let mut rows = rows.map_err(Doubt::uncompared)?;
        let mut damaged = None;
        for file in candidates.files {
            let batches = match view.tier.read_file_columns(&file, &PROOF_COLUMNS).await {
                Ok(batches) => batches,
                Err(error) if error.is_damage() => {
                    damaged = Some(Doubt::of_file(&file, &error));
                    continue;
                }
                Err(error) => return Err(Doubt::of_file(&file, &error)),
            };
            let add = move |_: &Engine, _: &SealedPartition| {
                batches.into_iter().try_for_each(|batch| rows.add(batch))?;
                Ok(rows)
            };
            let added = run_blocking(&self.tier, sealed, add).await;
            rows = added.map_err(Doubt::uncompared)?;
        }
        let removals = Removals {
            rules,
            now: view.now,
            thinned: candidates.thinned,
        };
        let compared = slice.clone();
        let find =
            move |_: &Engine, sealed: &SealedPartition| rows.missing(sealed, &compared, &removals);
        let missing = run_blocking(&self.tier, sealed, find).await;
        // A slice that has left meanwhile is not dropped.
        let missing = missing.map_err(Doubt::uncompared)?.unwrap_or_default();
        match damaged {
            Some(damaged) if missing.rows > 0 => Err(damaged),
            _ => Ok(missing),
        }
    }
}
