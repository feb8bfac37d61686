use event::Seq;

use super::*;
use crate::merge::tests::row;

fn sequences(page: &Page) -> Vec<Seq> {
    page.rows.iter().map(|row| row.position.seq).collect()
}

#[test]
fn what_was_unchecked_when_it_was_read_is_compared_with_what_is_read_later() {
    let mut page = Page {
        checked: Seq::MAX,
        ..Page::default()
    };
    // The newest rows, of which the last repeats an older one; then, when all is checked, that one.
    page.take(vec![row(9, 0, 1), row(8, 0, 8)], 7, Order::Desc);
    page.take(vec![row(7, 0, 7), row(6, 0, 1)], 9, Order::Desc);
    assert_eq!(sequences(&page), [8, 7, 6]);
    assert_eq!(page.checked, 7);
}
