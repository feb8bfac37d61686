//! The commands that read the entries of one page.

use event::Seq;
use redis::Pipeline;

use crate::{
    key::id,
    page::{Order, ReadRequest},
};

/// Adds two commands: the entry that straddles the upper bound of a descending read (an empty range
/// otherwise), and the page itself.
pub(super) fn add_entry_commands(
    pipe: &mut Pipeline,
    key: &str,
    request: &ReadRequest<'_>,
    behind: Option<(Seq, u16)>,
    count: usize,
) {
    let exclusive = |offset: (Seq, u16)| format!("({}", id(offset));
    match request.order {
        Order::Ascending => {
            let from = behind
                .or(request.bounds.after)
                .map_or("-".to_owned(), exclusive);
            pipe.xrange_count(key, "+", "-", 1);
            pipe.xrange_count(key, from, "+", count);
        }
        Order::Descending => {
            let before = request.bounds.before;
            let straddled = before.filter(|_| behind.is_none());
            let (low, high) = straddled.map_or(("+".to_owned(), "-"), |offset| (id(offset), "+"));
            pipe.xrange_count(key, low, high, 1);
            // The server refuses the range below 0-0; no entry has that id, so it may be included.
            let below = |offset| match offset {
                (0, 0) => id(offset),
                offset => exclusive(offset),
            };
            let from = behind.or(before).map_or("+".to_owned(), below);
            pipe.xrevrange_count(key, from, "-", count);
        }
    }
}
