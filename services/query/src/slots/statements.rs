//! The slots of statements: one short slot in which each begins, and long ones for those that take longer.
//! Both are given to the clients in turn.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use service_runtime::ClientAddr;
use tokio::{sync::oneshot, time::Instant};

use super::fair_queue::FairQueue;
use crate::error::{QueryError, Result};

/// Time that a statement may hold the short slot.
pub(crate) const SHORT_TIME: Duration = Duration::from_secs(1);
/// Statements that wait for one kind of slot. No reason for the number but to bound memory.
const MAX_WAITING: usize = 256;

/// The slots of all statements.
#[derive(Debug)]
pub(crate) struct StatementSlots {
    short: Arc<Lane>,
    long: Arc<Lane>,
}

impl StatementSlots {
    /// One short slot and `long` long ones.
    pub(crate) fn new(long: usize) -> Self {
        Self {
            short: Arc::new(Lane::new(1)),
            long: Arc::new(Lane::new(long)),
        }
    }

    /// Takes a slot to begin in: the short one, in turn; a long one if that is free and the short one is not.
    ///
    /// # Errors
    ///
    /// `too_many_statements` when none is free until `deadline`, or too many wait.
    pub(crate) async fn begin(&self, client: ClientAddr, deadline: Instant) -> Result<Slot> {
        let free = self.short.try_take().or_else(|| self.long.try_take());
        match free {
            Some(free) => Ok(Slot::new(free)),
            None => take(&self.short, client, deadline).await.map(Slot::new),
        }
    }

    /// Takes a long slot, in turn.
    ///
    /// # Errors
    ///
    /// As [`Self::begin`].
    pub(crate) async fn long(&self, client: ClientAddr, deadline: Instant) -> Result<Slot> {
        take(&self.long, client, deadline).await.map(Slot::new)
    }

    /// Whether `slot` is the short one.
    pub(crate) fn is_short(&self, slot: &Slot) -> bool {
        Arc::ptr_eq(&slot.lock().lane, &self.short)
    }

    /// Exchanges the short slot for a long one, if one is free; `false` if none is.
    pub(crate) fn lengthen(&self, slot: &Slot) -> bool {
        let Some(long) = self.long.try_take() else {
            return false;
        };
        let short = mem::replace(&mut *slot.lock(), long);
        // Not while the lock is held: it goes to the next that waits.
        drop(short);
        true
    }
}

/// The slot of a statement, free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Slot(Arc<Mutex<Taken>>);

impl Slot {
    fn new(taken: Taken) -> Self {
        Self(Arc::new(Mutex::new(taken)))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

/// Slots of one kind, and those who wait for one.
#[derive(Debug)]
struct Lane(Mutex<LaneState>);

#[derive(Debug)]
struct LaneState {
    free: usize,
    waiting: FairQueue<ClientAddr, oneshot::Sender<Taken>>,
}

/// A slot that is in use; when it is dropped, the next who waits gets it.
#[derive(Debug)]
struct Taken {
    lane: Arc<Lane>,
    is_given_on: bool,
}

impl Lane {
    fn new(slots: usize) -> Self {
        Self(Mutex::new(LaneState {
            free: slots,
            waiting: FairQueue::new(MAX_WAITING),
        }))
    }

    fn try_take(self: &Arc<Self>) -> Option<Taken> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Taken::of(self))
    }

    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// Gives a slot to the next who waits, or keeps it as free.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.waiting.pop();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.send(Taken::of(self)) {
                Ok(()) => return,
                // It no longer waits.
                Err(mut taken) => taken.is_given_on = true,
            }
        }
    }
}

impl Taken {
    fn of(lane: &Arc<Lane>) -> Self {
        Self {
            lane: Arc::clone(lane),
            is_given_on: false,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_given_on {
            self.lane.release();
        }
    }
}

/// Takes a slot of `lane`, in turn.
async fn take(lane: &Arc<Lane>, client: ClientAddr, deadline: Instant) -> Result<Taken> {
    let full = |_| too_many();
    let receiver = {
        let mut state = lane.lock();
        if let Some(free) = state.free.checked_sub(1) {
            state.free = free;
            return Ok(Taken::of(lane));
        }
        state.waiting.retain(|waiting| !waiting.is_closed());
        let (sender, receiver) = oneshot::channel();
        state.waiting.push(client, sender).map_err(full)?;
        receiver
    };
    match tokio::time::timeout_at(deadline, receiver).await {
        Ok(Ok(taken)) => Ok(taken),
        _ => Err(too_many()),
    }
}

fn too_many() -> QueryError {
    let detail = "all statement slots are in use; retry later, or end statements that run";
    QueryError::unavailable("too_many_statements", detail)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> ClientAddr {
        ClientAddr(IpAddr::from([10, 0, 0, last]))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_takes_longer_leaves_the_short_slot_to_the_next() {
        let slots = StatementSlots::new(1);
        let first = slots.begin(client(1), soon()).await.unwrap();
        assert!(slots.is_short(&first) && slots.lengthen(&first));
        assert!(!slots.is_short(&first));
        let second = slots.begin(client(1), soon()).await.unwrap();
        assert!(slots.is_short(&second) && !slots.lengthen(&second));
        drop(first);
        assert!(slots.lengthen(&second));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_go_to_the_clients_in_turn_and_not_to_those_who_left() {
        let slots = Arc::new(StatementSlots::new(1));
        let long = slots.long(client(1), soon()).await.unwrap();
        let (sender, mut turns) = tokio::sync::mpsc::unbounded_channel();
        let gone = tokio::time::timeout(Duration::ZERO, slots.long(client(1), soon())).await;
        assert!(gone.is_err());
        for (number, own) in [(1, 1), (2, 1), (3, 2)] {
            let (slots, sender) = (Arc::clone(&slots), sender.clone());
            tokio::spawn(async move {
                let _slot = slots.long(client(own), soon()).await.unwrap();
                sender.send(number).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop((long, sender));
        let mut order = Vec::new();
        while let Some(number) = turns.recv().await {
            order.push(number);
        }
        assert_eq!(order, [1, 3, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline() {
        let slots = StatementSlots::new(1);
        let _long = slots.long(client(1), soon()).await.unwrap();
        let refused = slots.long(client(2), soon()).await.unwrap_err();
        let QueryError::Unavailable { code, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(code, "too_many_statements");
    }
}
