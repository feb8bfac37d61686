//! Deletes objects that no version of the table within the grace period refers to.

use std::time::Duration;

use event::Timestamp;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStoreExt as _, path::Path};

use crate::{error::Result, replay::TableState, table::Table, tier::ColdTier};

/// The totals of one vacuum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Objects that were deleted.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl ColdTier {
    /// Deletes objects of `table` that are not live and were removed or put more than `grace`
    /// before `now`. `grace` must be longer than any reader's snapshot and any writer's run.
    ///
    /// # Errors
    /// When the log or the store fails; what was deleted until then stays deleted. Retry when
    /// `Error::is_transient`.
    pub async fn vacuum(&self, table: Table, grace: Duration, now: Timestamp) -> Result<Vacuumed> {
        let log = self.log(table);
        let Some(state) = log.refresh().await? else {
            return Ok(Vacuumed::default());
        };
        let before = now.minus(grace);
        let listed = self.store().list(Some(log.prefix()));
        let candidates: Vec<ObjectMeta> = listed
            .try_filter(|object| {
                let path = data_path(log.prefix(), &object.location);
                let dead = path.is_some_and(|path| is_dead(&state, &path, object, before));
                futures::future::ready(dead)
            })
            .try_collect()
            .await?;
        let mut vacuumed = Vacuumed::default();
        for candidate in candidates {
            // Checked again: its writer may have committed it since it was listed. From here on nobody
            // can: it was put longer ago than any run takes, and no name is used twice, not even when
            // another vacuum has deleted its object meanwhile.
            let current = self.store().head(&candidate.location).await;
            let latest = log.refresh().await?;
            let path = data_path(log.prefix(), &candidate.location);
            let (Ok(current), Some(latest), Some(path)) = (current, latest, path) else {
                continue;
            };
            if is_dead(&latest, &path, &current, before) {
                match self.store().delete(&candidate.location).await {
                    Ok(()) => {}
                    // By another vacuum.
                    Err(object_store::Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
                vacuumed.objects += 1;
                vacuumed.bytes += candidate.size;
            }
        }
        Ok(vacuumed)
    }
}

/// The path of a data file within its table; `None` for objects of the log and of other programs.
fn data_path(prefix: &Path, object: &Path) -> Option<String> {
    let parts: Vec<_> = object.prefix_match(prefix)?.collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let is_data = parts.last().is_some_and(|name| name.ends_with(".parquet"));
    (is_data && parts.first() != Some(&"_delta_log")).then(|| parts.join("/"))
}

/// Whether the object is not live, and was removed and put before `before`.
fn is_dead(state: &TableState, path: &str, object: &ObjectMeta, before: Timestamp) -> bool {
    if state.files.contains_key(path) {
        return false;
    }
    let removed = state.removed.get(path).map(|ms| ms.saturating_mul(1000));
    let last_change = removed
        .unwrap_or(0)
        .max(object.last_modified.timestamp_micros());
    Timestamp::from_micros(last_change) < before
}
