//! The slots of tails. A newcomer always gets one: when all are taken, a tail of the client with the most is
//! ended for it. Its client reconnects with the id of its last event and loses nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use prometheus::IntGauge;
use service_runtime::ClientAddr;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The slots of all tails. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct TailSlots {
    taken: Arc<Mutex<Taken>>,
    max: usize,
    clients: IntGauge,
}

#[derive(Debug, Default)]
struct Taken {
    tails: HashMap<u64, TakenSlot>,
    last_id: u64,
}

#[derive(Clone, Debug)]
struct TakenSlot {
    client: ClientAddr,
    /// When it got an event, or began.
    active_at: Instant,
    ended: CancellationToken,
}

/// The slot of one tail, which the metrics count while it exists.
#[derive(Debug)]
pub(crate) struct TailSlot {
    slots: TailSlots,
    id: u64,
    ended: CancellationToken,
}

impl TailSlots {
    pub(crate) fn new(max: usize, clients: IntGauge) -> Self {
        Self {
            taken: Arc::default(),
            max,
            clients,
        }
    }

    /// Takes a slot for `client`, if need be that of another tail, which is ended.
    pub(crate) fn take(&self, client: ClientAddr) -> TailSlot {
        let mut taken = self.lock();
        if taken.tails.len() >= self.max
            && let Some(id) = tail_to_end(&taken.tails)
            && let Some(slot) = taken.tails.remove(&id)
        {
            slot.ended.cancel();
        }
        taken.last_id += 1;
        let (id, ended) = (taken.last_id, CancellationToken::new());
        let slot = TakenSlot {
            client,
            active_at: Instant::now(),
            ended: ended.clone(),
        };
        taken.tails.insert(id, slot);
        self.clients.inc();
        TailSlot {
            slots: self.clone(),
            id,
            ended,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken
            .lock()
            .expect("nothing panics while it holds this")
    }
}

impl TailSlot {
    /// Notes that the tail got an event.
    pub(crate) fn note_event(&self) {
        if let Some(slot) = self.slots.lock().tails.get_mut(&self.id) {
            slot.active_at = Instant::now();
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until the tail must end.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for TailSlot {
    fn drop(&mut self) {
        self.slots.lock().tails.remove(&self.id);
        self.slots.clients.dec();
    }
}

/// Returns the tail without events for the longest time, of the client with the most tails.
fn tail_to_end(tails: &HashMap<u64, TakenSlot>) -> Option<u64> {
    let mut counts: HashMap<ClientAddr, usize> = HashMap::new();
    for slot in tails.values() {
        *counts.entry(slot.client).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let of_most = tails
        .iter()
        .filter(|(_, slot)| counts[&slot.client] == most);
    let (id, _) = of_most.min_by_key(|(id, slot)| (slot.active_at, **id))?;
    Some(*id)
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;

    fn client(last: u8) -> ClientAddr {
        ClientAddr(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_slot_of_the_longest_idle_tail_of_the_client_with_the_most() {
        let slots = TailSlots::new(3, IntGauge::new("tails", "Tails.").unwrap());
        let lone = slots.take(client(1));
        let mut others = Vec::new();
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            others.push(slots.take(client(2)));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        others[0].note_event();
        let newcomer = slots.take(client(3));
        assert!(others[1].is_ended());
        assert!(!others[0].is_ended() && !lone.is_ended() && !newcomer.is_ended());
        drop(others.pop());
        assert_eq!(slots.clients.get(), 3);
    }
}
