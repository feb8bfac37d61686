use event::Seq;

use super::*;
use crate::merge::tests::row;

fn sequences(page: &Page) -> Vec<Seq> {
    page.rows.iter().map(|row| row.position.seq).collect()
}

#[test]
fn rows_that_were_unchecked_when_read_are_compared_with_rows_read_later() {
    let mut page = Page {
        checked: Seq::MAX,
        ..Page::default()
    };
    // The newest rows, of which the last is a duplicate; then, when all is checked, its original.
    page.add_rows(vec![row(9, 0, 1), row(8, 0, 8)], 7, ReadOrder::Desc);
    page.add_rows(vec![row(7, 0, 7), row(6, 0, 1)], 9, ReadOrder::Desc);
    assert_eq!(sequences(&page), [8, 7, 6]);
    assert_eq!(page.checked, 7);
}
