//! A queue that takes one item of each client in turn, and of one client in the order of arrival. Pure.

use std::collections::VecDeque;

/// Items by client.
#[derive(Debug)]
pub(crate) struct FairQueue<C, T> {
    /// In the order of their turns; a client without items is not there.
    clients: VecDeque<(C, VecDeque<T>)>,
    len: usize,
    max: usize,
}

/// The queue has no place for the item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl<C: PartialEq, T> FairQueue<C, T> {
    /// A queue of at most `max` items.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            clients: VecDeque::new(),
            len: 0,
            max,
        }
    }

    /// Adds an item. When there is no place, the newest item of the client with the most is dropped for it.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] when no client has more items than this one would have.
    pub(crate) fn push(&mut self, client: C, item: T) -> Result<(), QueueFull> {
        if self.len >= self.max {
            self.drop_for(&client)?;
        }
        self.len += 1;
        match self.clients.iter_mut().find(|(own, _)| *own == client) {
            Some((_, items)) => items.push_back(item),
            None => self.clients.push_back((client, [item].into())),
        }
        Ok(())
    }

    /// Takes the next item of the client whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (client, mut items) = self.clients.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.clients.push_back((client, items));
        }
        self.len -= usize::from(item.is_some());
        item
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops the items that `keep` does not keep.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for (_, items) in &mut self.clients {
            items.retain(&keep);
        }
        self.clients.retain(|(_, items)| !items.is_empty());
        self.len = self.clients.iter().map(|(_, items)| items.len()).sum();
    }

    fn drop_for(&mut self, client: &C) -> Result<(), QueueFull> {
        let own = self.clients.iter().find(|(own, _)| own == client);
        let own = own.map_or(0, |(_, items)| items.len());
        let most = self.clients.iter_mut().max_by_key(|(_, items)| items.len());
        let (_, items) = most
            .filter(|(_, items)| items.len() > own + 1)
            .ok_or(QueueFull)?;
        items.pop_back();
        self.len -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(max: usize, items: &[(&'static str, u32)]) -> FairQueue<&'static str, u32> {
        let mut queue = FairQueue::new(max);
        for (client, item) in items {
            queue.push(*client, *item).unwrap();
        }
        queue
    }

    fn all(mut queue: FairQueue<&'static str, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn clients_take_turns_and_their_own_items_stay_in_order() {
        let items = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)];
        assert_eq!(all(queue(9, &items)), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn a_client_that_comes_again_waits_for_the_others() {
        let mut queue = queue(9, &[("a", 1), ("b", 2)]);
        assert_eq!(queue.pop(), Some(1));
        queue.push("a", 3).unwrap();
        assert_eq!(all(queue), [2, 3]);
    }

    #[test]
    fn a_full_queue_drops_the_newest_of_the_client_with_the_most() {
        let mut full = queue(3, &[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(full.push("a", 4), Err(QueueFull));
        full.push("b", 5).unwrap();
        assert_eq!(full.push("b", 6), Err(QueueFull));
        assert_eq!(all(full), [1, 5, 2]);
    }

    #[test]
    fn items_that_nobody_waits_for_leave_their_places() {
        let mut some = queue(3, &[("a", 1), ("b", 2), ("a", 3)]);
        some.retain(|item| *item != 2);
        some.push("c", 4).unwrap();
        assert_eq!(all(some), [1, 4, 3]);
    }
}
