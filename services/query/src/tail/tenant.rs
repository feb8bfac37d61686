//! Everything of a tenant, as it comes: read from the log itself, partition by partition.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, io,
};

use bytes::Bytes;
use event::{ConversationId, PartitionId, Position, Seq, SeqRange, StoredEvent, TenantId};
use futures::{Stream, future, stream};
use serde_json::json;
use tokio::sync::watch;

use super::{HEARTBEAT, HELLO, PAUSE, Recent, Slot, event_text, row_text};
use crate::{
    error::{Problem, Result},
    params::Types,
    rows::{Failed, frame_rows},
    service::{Service, Shared},
};

/// Messages of the log in one text.
const MESSAGES: Seq = 16;
const CURSOR: &str = "t1:";

/// How far a tenant's tail is in each partition, in order: `t1:42-3,17-65535`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places(Vec<(Seq, u16)>);

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CURSOR)?;
        for (index, (seq, idx)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{seq}-{idx}")?;
        }
        Ok(())
    }
}

impl Places {
    fn parse(text: &str, count: usize) -> Option<Self> {
        let place = |text: &str| {
            let (seq, idx) = text.split_once('-')?;
            Some((seq.parse().ok()?, idx.parse().ok()?))
        };
        let places: Option<Vec<_>> = text.strip_prefix(CURSOR)?.split(',').map(place).collect();
        places.filter(|places| places.len() == count).map(Self)
    }
}

/// Where to begin: now; or where an earlier tail was; or behind positions, and now elsewhere.
pub(crate) async fn start(service: &Service, after: Option<&str>) -> Result<Places> {
    let count = usize::from(service.partitions.get());
    if let Some(places) = after.and_then(|after| Places::parse(after, count)) {
        return Ok(places);
    }
    let asked = service
        .partitions
        .all()
        .map(|partition| service.log_last(partition));
    let mut places = future::try_join_all(asked).await?;
    for text in after.iter().flat_map(|after| after.split(',')) {
        let position: Position = text.parse()?;
        let partition = position.partition;
        let place = places.get_mut(usize::from(partition.partition));
        let place = place.filter(|_| partition == PartitionId::first(partition.partition));
        *place.ok_or(event::ParsePositionError)? = position.offset();
    }
    Ok(Places(places))
}

impl Service {
    async fn log_last(&self, partition: PartitionId) -> Result<(Seq, u16)> {
        let last = self.sources.log.last_seq(partition).await.map_err(|_| {
            Problem::unavailable("log_unavailable", "the event log does not answer now")
        })?;
        Ok((last, u16::MAX))
    }
}

/// Server-sent events of a whole tenant behind `places`.
pub(crate) fn tenant(
    service: Shared,
    tenant: TenantId,
    types: Types,
    places: Places,
    slot: Slot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let signals = service
        .partitions
        .all()
        .map(|partition| service.live.follow(partition, None));
    let follow = Follow {
        signals: signals.collect(),
        ready: Vec::new(),
        service,
        tenant,
        types,
        places,
        recent: Recent::default(),
        greeted: false,
        _slot: slot,
    };
    stream::unfold(follow, async |mut follow| {
        let chunk = follow.next().await?;
        Some((Ok(chunk), follow))
    })
}

struct Follow {
    service: Shared,
    tenant: TenantId,
    types: Types,
    places: Places,
    /// By partition.
    signals: Vec<watch::Receiver<Seq>>,
    /// Partitions to look at.
    ready: Vec<usize>,
    recent: Recent,
    greeted: bool,
    _slot: Slot,
}

impl Follow {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            self.ready = (0..self.signals.len()).rev().collect();
            return Some(Bytes::from_static(HELLO.as_bytes()));
        }
        loop {
            if self.service.shutdown.is_cancelled() {
                return None;
            }
            let Some(index) = self.ready.pop() else {
                if self.wait().await {
                    continue;
                }
                self.ready = (0..self.signals.len()).rev().collect();
                return Some(Bytes::from_static(b":\n\n"));
            };
            match self.read(index).await {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(text.into()),
                Err(Failed::Stale) => self.ready.push(index),
                Err(Failed::Down(error)) => {
                    tracing::debug!(error = format!("{error:#}"), "will read again");
                    self.ready.push(index);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn wait(&mut self) -> bool {
        let shutdown = self.service.shutdown.clone();
        let changed = self
            .signals
            .iter_mut()
            .map(|signal| Box::pin(signal.changed()));
        tokio::select! {
            () = shutdown.cancelled() => true,
            (result, index, _) = future::select_all(changed) => {
                if result.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                self.ready.push(index);
                true
            }
            () = tokio::time::sleep(HEARTBEAT) => false,
        }
    }

    /// The next messages of one partition as text; it is looked at again when there are more.
    async fn read(&mut self, index: usize) -> Result<String, Failed> {
        self.signals[index].borrow_and_update();
        let partition = PartitionId::first(u16::try_from(index).expect("at most 1024"));
        let state = self.service.sources.log_state(partition, false).await;
        let down = || Failed::Down(anyhow::anyhow!("the event log does not answer"));
        let (first, last) = state.ok_or_else(down)?;
        let (seq, idx) = self.places.0[index];
        let mut out = String::new();
        // The frame of the place itself may go on behind it.
        let mut lo = if idx == u16::MAX { seq + 1 } else { seq };
        if lo < first && first <= last {
            let data = json!({"partition": partition.to_string(), "from": lo, "to": first - 1});
            out.push_str(&format!("event: missing\ndata: {data}\n\n"));
            lo = first;
        }
        let hi = last.min(lo.saturating_add(MESSAGES - 1));
        let Some(range) = SeqRange::new(lo, hi) else {
            return Ok(out);
        };
        let mut rows = Vec::new();
        let take = |message| {
            rows.extend(frame_rows(&message, None)?);
            Ok(())
        };
        self.service
            .sources
            .log_messages(partition, range, take)
            .await?;
        rows.retain(|row| {
            row.event.tenant == self.tenant
                && row.position.offset() > (seq, idx)
                && self.types.matches(row.event.event_type.as_str())
        });
        let dedup = self
            .service
            .sources
            .wait_for_dedup(partition, lo - 1, hi)
            .await;
        let told_all = (dedup.of_log()).is_some_and(|told| told.lo <= lo && hi <= told.hi);
        let mut duplicates = match told_all {
            true => HashSet::new(),
            false => self.duplicates(partition, &rows).await,
        };
        let told = rows.iter().map(|row| row.position);
        duplicates.extend(told.filter(|position| dedup.is_duplicate(position)));
        for row in rows {
            if !duplicates.contains(&row.position) && self.recent.is_new(&row) {
                self.places.0[index] = row.position.offset();
                event_text(&self.places.to_string(), &row_text(&row), &mut out);
            }
        }
        self.places.0[index] = (hi, u16::MAX);
        if hi < last {
            self.ready.push(index);
        }
        Ok(out)
    }

    /// The rows that the hot tier knows to repeat others; without it only the memory of this
    /// client remains.
    async fn duplicates(&self, partition: PartitionId, rows: &[StoredEvent]) -> HashSet<Position> {
        let mut of: BTreeMap<&ConversationId, Vec<(Seq, u16)>> = BTreeMap::new();
        for row in rows {
            let places = of.entry(&row.event.conversation_id).or_default();
            places.push(row.position.offset());
        }
        let hot = &self.service.sources.hot;
        let mut duplicates = HashSet::new();
        for (conversation, places) in of {
            let known = hot.duplicates(partition, &self.tenant, conversation, &places);
            let known = known.await.unwrap_or_default();
            duplicates.extend(
                known
                    .into_iter()
                    .map(|(seq, idx)| Position::new(partition, seq, idx)),
            );
        }
        duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_survive_their_text() {
        let places = Places(vec![(42, 3), (0, u16::MAX)]);
        assert_eq!(places.to_string(), "t1:42-3,0-65535");
        assert_eq!(Places::parse("t1:42-3,0-65535", 2), Some(places));
        for text in [
            "",
            "t1:",
            "t1:1-1",
            "42-3,0-65535",
            "t1:1-1,2",
            "t1:1-1,2-99999",
        ] {
            assert_eq!(Places::parse(text, 2), None, "{text}");
        }
    }
}
