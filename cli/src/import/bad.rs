//! What was left out of an import, told at its end. Pure.

use std::collections::BTreeMap;

use crate::output::Row;

/// Why each was left out, by its number in the source.
pub(super) type Bad<N> = BTreeMap<N, String>;

/// How many of `what` were left out for which reason, each with the first of them.
pub(super) fn rows<N: Copy>(bad: &Bad<N>, what: &str, place: impl Fn(N) -> String) -> Vec<Row> {
    let mut codes: BTreeMap<&str, (u64, N)> = BTreeMap::new();
    for (number, code) in bad {
        codes.entry(code).or_insert((0, *number)).0 += 1;
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
        let bad = [(9, "late"), (3, "late"), (4, "nameless")];
        let bad = bad.map(|(number, code)| (number, code.to_owned())).into();
        let rows = rows(&bad, "rows", |number: i64| format!("rowid {number}"));
        let text: Vec<String> = rows.iter().map(Row::json).collect();
        assert_eq!(
            text,
            [
                r#"{"bad":"late","rows":2,"first":"rowid 3"}"#,
                r#"{"bad":"nameless","rows":1,"first":"rowid 4"}"#
            ]
        );
    }
}
