//! What was left out of an import, told at its end. Pure.

use std::collections::BTreeMap;

use crate::output::Row;

/// Why each was left out, by its number in the source.
pub(super) type Bad<N> = BTreeMap<N, String>;

/// How many of `what` were left out for which reason, each with the first of them. Takes reasons,
/// counts and numbers.
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
    fn each_reason_is_told_once_with_its_first_place() {
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
