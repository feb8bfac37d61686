//! Overlap of selectors: whether two may select the same event. In doubt they may.

use crate::{glob::glob_matches, rules::Selector};

impl Selector {
    /// Returns false only if no event can be selected by both. Match expressions are not compared.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        let labels = self.match_labels.iter().all(|(key, value)| {
            let other_value = other.match_labels.get(key);
            other_value.is_none_or(|other_value| other_value == value)
        });
        labels
            && may_intersect(&self.tenants, &other.tenants)
            && may_intersect(&self.conversations, &other.conversations)
            && may_intersect(&self.event_types, &other.event_types)
    }

    /// Returns true if the selector is empty: every event is selected.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns false only if no text matches both lists. An empty list matches everything.
fn may_intersect(own: &[String], others: &[String]) -> bool {
    own.is_empty()
        || others.is_empty()
        || own
            .iter()
            .any(|own| others.iter().any(|other| globs_may_intersect(own, other)))
}

/// Returns false only if no text matches both globs.
fn globs_may_intersect(one: &str, other: &str) -> bool {
    match (is_glob(one), is_glob(other)) {
        (_, false) => glob_matches(one, other),
        (false, true) => glob_matches(other, one),
        (true, true) => {
            let (one, other) = (literal_start(one), literal_start(other));
            one.starts_with(other) || other.starts_with(one)
        }
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn literal_start(glob: &str) -> &str {
    let end = glob.find(['*', '?']);
    &glob[..end.unwrap_or(glob.len())]
}

#[cfg(test)]
mod tests {
    use super::globs_may_intersect;

    #[test]
    fn only_globs_without_a_common_text_do_not_intersect() {
        for (one, other, expected) in [
            ("bank", "bank", true),
            ("bank", "shop", false),
            ("case-*", "case-7", true),
            ("case-*", "demo", false),
            ("case-*", "demo-*", false),
            ("case-*", "c*", true),
            ("*-a", "*-b", true),
        ] {
            assert_eq!(globs_may_intersect(one, other), expected, "{one} {other}");
            assert_eq!(globs_may_intersect(other, one), expected, "{other} {one}");
        }
    }
}
