//! Deletes objects that no log entry has named for a while. Last of all, and only then.

use std::time::Duration;

use event::Timestamp;
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStoreExt as _, path::Path};

use crate::{error::Result, replay::State, table::Table, tier::ColdTier};

/// What a vacuum deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    pub objects: u64,
    pub bytes: u64,
}

impl ColdTier {
    /// Deletes objects of `table` that are not live, and were removed or put more than `after`
    /// before `now`. Longer than any reader's snapshot and any writer's run.
    pub async fn vacuum(&self, table: Table, after: Duration, now: Timestamp) -> Result<Vacuumed> {
        let log = self.log(table);
        let Some(state) = log.refresh().await? else {
            return Ok(Vacuumed::default());
        };
        let before = now.minus(after);
        let listed = self.store().list(Some(log.prefix()));
        let old: Vec<ObjectMeta> = listed
            .try_filter(|object| {
                let own = own_path(log.prefix(), &object.location);
                let dead = own.is_some_and(|own| is_dead(&state, &own, object, before));
                futures::future::ready(dead)
            })
            .try_collect()
            .await?;
        let mut vacuumed = Vacuumed::default();
        for object in old {
            // A writer may have put and committed it again since it was listed.
            let still = self.store().head(&object.location).await;
            let newest = log.refresh().await?;
            let own = own_path(log.prefix(), &object.location);
            let (Ok(still), Some(newest), Some(own)) = (still, newest, own) else {
                continue;
            };
            if is_dead(&newest, &own, &still, before) {
                self.store().delete(&object.location).await?;
                vacuumed.objects += 1;
                vacuumed.bytes += object.size;
            }
        }
        Ok(vacuumed)
    }
}

/// The table's own path of an object; `None` for the log.
fn own_path(prefix: &Path, object: &Path) -> Option<String> {
    let parts: Vec<_> = object.prefix_match(prefix)?.collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let is_data = parts.last().is_some_and(|name| name.ends_with(".parquet"));
    (is_data && parts.first() != Some(&"_delta_log")).then(|| parts.join("/"))
}

fn is_dead(state: &State, path: &str, object: &ObjectMeta, before: Timestamp) -> bool {
    if state.files.contains_key(path) {
        return false;
    }
    let removed = state.removed.get(path).map(|ms| ms.saturating_mul(1000));
    let newest = removed
        .unwrap_or(0)
        .max(object.last_modified.timestamp_micros());
    Timestamp::from_micros(newest) < before
}
