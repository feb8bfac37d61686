//! The slots of statements: one short slot in which each begins, and long ones for those that take longer.
//! Both are given to the clients in turn. A statement that leaves the short slot because others wait for it gets
//! a second turn there, after their first ones.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use service_runtime::ClientAddr;
use tokio::{sync::oneshot, time::Instant};

use super::fair_queue::FairQueue;
use crate::error::{QueryError, Result};

/// Longest time of a first turn.
const FIRST_TURN: Duration = Duration::from_secs(1);
/// The same while others wait: a statement that a person waits for takes less.
const FIRST_TURN_IN_A_CROWD: Duration = Duration::from_millis(250);
/// Longest time of a second turn: with its own time, one that then begins is still answered within a second.
const SECOND_TURN: Duration = Duration::from_millis(750);
/// First turns in a row while second ones wait, so that a flood of statements does not keep them out.
const MAX_FIRST_TURNS: usize = 4;
/// How often it is looked whether others wait.
const CROWD_CHECK_INTERVAL: Duration = Duration::from_millis(25);
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

    /// Takes the slot of a turn: the short one, or a long one if that is free and the short one is not; for
    /// [`Turn::Long`] a long one.
    ///
    /// # Errors
    ///
    /// `too_many_statements` when none is free until `deadline`, or too many wait.
    pub(crate) async fn take(
        &self,
        turn: Turn,
        client: ClientAddr,
        deadline: Instant,
    ) -> Result<Slot> {
        let lane = match turn {
            Turn::First | Turn::Second => &self.short,
            Turn::Long => &self.long,
        };
        let free = lane.try_take().or_else(|| self.long.try_take());
        match free {
            Some(free) => Ok(Slot::new(free)),
            None => wait(lane, turn, client, deadline).await.map(Slot::new),
        }
    }

    /// Returns when a turn in the short slot that now begins is over, with the next one.
    pub(crate) async fn next_turn(&self, turn: Turn) -> Turn {
        if turn == Turn::Second {
            tokio::time::sleep(SECOND_TURN).await;
            return Turn::Long;
        }
        let end = Instant::now() + FIRST_TURN;
        tokio::time::sleep(FIRST_TURN_IN_A_CROWD).await;
        while Instant::now() < end {
            if self.short.is_awaited() {
                return Turn::Second;
            }
            tokio::time::sleep(CROWD_CHECK_INTERVAL).await;
        }
        Turn::Long
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

/// Which turn a statement has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first in the short slot.
    First,
    /// The second there.
    Second,
    /// To its end, in a long slot.
    Long,
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
    /// For a second turn.
    waiting_again: FairQueue<ClientAddr, oneshot::Sender<Taken>>,
    /// Turns of `waiting` since the last of `waiting_again`.
    first_turns: usize,
}

impl LaneState {
    fn next(&mut self) -> Option<oneshot::Sender<Taken>> {
        if (self.first_turns < MAX_FIRST_TURNS || self.waiting_again.is_empty())
            && let Some(next) = self.waiting.pop()
        {
            self.first_turns += 1;
            return Some(next);
        }
        self.first_turns = 0;
        self.waiting_again.pop().or_else(|| self.waiting.pop())
    }

    /// Drops those who no longer wait.
    fn forget_gone(&mut self) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting_again.retain(|waiting| !waiting.is_closed());
    }
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
            waiting_again: FairQueue::new(MAX_WAITING),
            first_turns: 0,
        }))
    }

    fn try_take(self: &Arc<Self>) -> Option<Taken> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Taken::of(self))
    }

    /// Whether anyone waits for a first turn.
    fn is_awaited(&self) -> bool {
        let mut state = self.lock();
        state.forget_gone();
        !state.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// Gives a slot to the next who waits, or keeps it as free.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next();
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

/// Waits for a slot of `lane`.
async fn wait(
    lane: &Arc<Lane>,
    turn: Turn,
    client: ClientAddr,
    deadline: Instant,
) -> Result<Taken> {
    let full = |_| too_many();
    let receiver = {
        let mut state = lane.lock();
        if let Some(free) = state.free.checked_sub(1) {
            state.free = free;
            return Ok(Taken::of(lane));
        }
        state.forget_gone();
        let (sender, receiver) = oneshot::channel();
        let queue = match turn {
            Turn::First | Turn::Long => &mut state.waiting,
            Turn::Second => &mut state.waiting_again,
        };
        queue.push(client, sender).map_err(full)?;
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

    impl StatementSlots {
        async fn taken(&self, turn: Turn, client: ClientAddr) -> Slot {
            self.take(turn, client, soon()).await.unwrap()
        }

        /// Waits for each of these turns and leaves its slot at once; says their numbers in the order in which
        /// they came, once `held` are free.
        async fn order<const N: usize>(
            self: &Arc<Self>,
            turns: [(Turn, ClientAddr); N],
            held: impl Sized,
        ) -> Vec<usize> {
            let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
            for (number, (turn, client)) in turns.into_iter().enumerate() {
                let (slots, sender) = (Arc::clone(self), sender.clone());
                tokio::spawn(async move {
                    let _slot = slots.taken(turn, client).await;
                    sender.send(number).unwrap();
                });
                tokio::task::yield_now().await;
            }
            drop((held, sender));
            let mut numbers = Vec::new();
            while let Some(number) = order.recv().await {
                numbers.push(number);
            }
            numbers
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_takes_longer_leaves_the_short_slot_to_the_next() {
        let slots = StatementSlots::new(1);
        let first = slots.taken(Turn::First, client(1)).await;
        assert!(slots.is_short(&first) && slots.lengthen(&first));
        assert!(!slots.is_short(&first));
        let second = slots.taken(Turn::First, client(1)).await;
        assert!(slots.is_short(&second) && !slots.lengthen(&second));
        drop(first);
        assert!(slots.lengthen(&second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_turn_is_short_while_others_wait_and_the_second_follows_theirs() {
        let slots = Arc::new(StatementSlots::new(1));
        let time = async |turn| {
            let began = Instant::now();
            (slots.next_turn(turn).await, began.elapsed())
        };
        let held = [
            slots.taken(Turn::First, client(1)).await,
            slots.taken(Turn::First, client(1)).await,
        ];
        assert_eq!(time(Turn::First).await, (Turn::Long, FIRST_TURN));
        let own = Arc::clone(&slots);
        let waits = tokio::spawn(async move { drop(own.taken(Turn::First, client(2)).await) });
        tokio::task::yield_now().await;
        let crowded = (Turn::Second, FIRST_TURN_IN_A_CROWD);
        assert_eq!(time(Turn::First).await, crowded);
        assert_eq!(time(Turn::Second).await, (Turn::Long, SECOND_TURN));
        waits.abort();
        assert!(waits.await.is_err());
        assert_eq!(time(Turn::First).await, (Turn::Long, FIRST_TURN));
        let [short, _long] = held;
        let turns = [(Turn::Second, client(1)), (Turn::First, client(2))];
        assert_eq!(slots.order(turns, short).await, [1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_first_turns_does_not_keep_out_a_second() {
        let slots = Arc::new(StatementSlots::new(1));
        let short = slots.taken(Turn::First, client(1)).await;
        let _long = slots.taken(Turn::First, client(1)).await;
        let mut turns = [(Turn::First, client(1)); 7];
        turns[0] = (Turn::Second, client(2));
        let order = slots.order(turns, short).await;
        assert_eq!(order, [1, 2, 3, 4, 0, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn slots_go_to_the_clients_in_turn_and_not_to_those_who_left() {
        let slots = Arc::new(StatementSlots::new(1));
        let long = slots.taken(Turn::Long, client(1)).await;
        let gone = slots.take(Turn::Long, client(1), soon());
        let gone = tokio::time::timeout(Duration::ZERO, gone).await;
        assert!(gone.is_err());
        let turns = [1, 1, 2].map(|own| (Turn::Long, client(own)));
        assert_eq!(slots.order(turns, long).await, [0, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_deadline() {
        let slots = StatementSlots::new(1);
        let _long = slots.taken(Turn::Long, client(1)).await;
        let refused = slots.take(Turn::Long, client(2), soon()).await.unwrap_err();
        let QueryError::Unavailable { code, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(code, "too_many_statements");
    }
}
