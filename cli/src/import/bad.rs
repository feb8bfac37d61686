//! Summary of the rows or lines that an import skipped, printed at its end. Pure.

use std::collections::BTreeMap;

use crate::output::Row;

/// Error codes of skipped rows or lines, by their number in the source.
pub(super) type BadEntries<N> = BTreeMap<N, String>;

/// Returns a row for each code: how many of `what` were skipped, and the first of them. `bad` yields
/// (code, count, number).
pub(super) fn rows<'a, N: Copy + Ord>(
    bad: impl IntoIterator<Item = (&'a str, u64, N)>,
    what: &str,
    place: impl Fn(N) -> String,
) -> Vec<Row> {
    let mut codes: BTreeMap<&str, (u64, N)> = BTreeMap::new();
    for (code, count, number) in bad {
        let (total, first) = codes.entry(code).or_insert((0, number));
        *total += count;
        *first = number.min(*first);
    }
    let rows = codes.into_iter().map(|(code, (count, first))| {
        let row = Row::default().with("bad", code).with(what, count);
        row.with("first", place(first))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_row_with_its_first_place() {
        let bad = [("late", 1, 9), ("late", 2, 3), ("nameless", 1, 4)];
        let rows = rows(bad, "rows", |number| format!("rowid {number}"));
        let text: Vec<String> = rows.iter().map(Row::json).collect();
        assert_eq!(
            text,
            [
                r#"{"bad":"late","rows":3,"first":"rowid 3"}"#,
                r#"{"bad":"nameless","rows":1,"first":"rowid 4"}"#
            ]
        );
    }
}
