//! Waiting for the compactor's word on repeats: it is a moment behind the log, and only it knows
//! every event of the last 24 hours.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use event::{PartitionId, Seq};

use crate::sources::Sources;

/// Longest wait. The compactor is tens of milliseconds behind the log when all is well.
const PATIENCE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(4);
/// After a wait in vain others only look for this long: the compactor or the hot tier is down.
const RESIGNED: Duration = Duration::from_secs(2);

/// Where waiting was in vain, and when.
#[derive(Debug, Default)]
pub(crate) struct Settling(Mutex<HashMap<PartitionId, Instant>>);

impl Settling {
    fn is_hopeless(&self, partition: PartitionId) -> bool {
        let mut vain = self.lock();
        vain.retain(|_, at| at.elapsed() < RESIGNED);
        vain.contains_key(&partition)
    }

    fn note(&self, partition: PartitionId, settled: bool) {
        let mut vain = self.lock();
        if settled {
            vain.remove(&partition);
        } else {
            vain.entry(partition).or_insert_with(Instant::now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Instant>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

impl Sources {
    /// Waits until the hot tier has everything through `through` and knows which of it are
    /// repeats; `false` when that does not come in time.
    pub(crate) async fn settle(&self, partition: PartitionId, through: Seq) -> bool {
        let patience = if self.settling.is_hopeless(partition) {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let settled = self.until_settled(partition, through, patience).await;
        self.settling.note(partition, settled);
        settled
    }

    /// Looks once at least. `false` also when the hot tier knows nothing of the partition.
    async fn until_settled(
        &self,
        partition: PartitionId,
        through: Seq,
        patience: Duration,
    ) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let Ok(Some(cursor)) = self.hot.cursor(partition).await else {
                return false;
            };
            if cursor.last.min(cursor.checked) >= through {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
