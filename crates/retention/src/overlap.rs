//! Whether two selectors may select the same event. When in doubt, they may.

use crate::{glob::glob_matches, rules::Selector};

impl Selector {
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        let labels = self.match_labels.iter().all(|(key, value)| {
            let theirs = other.match_labels.get(key);
            theirs.is_none_or(|theirs| theirs == value)
        });
        labels
            && globs(&self.tenants, &other.tenants)
            && globs(&self.conversations, &other.conversations)
            && globs(&self.event_types, &other.event_types)
    }

    /// Whether every event is selected.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        *self == Self::default()
    }
}

/// An empty list matches everything.
fn globs(own: &[String], others: &[String]) -> bool {
    own.is_empty()
        || others.is_empty()
        || own
            .iter()
            .any(|own| others.iter().any(|other| meet(own, other)))
}

/// Whether some text may match both.
fn meet(one: &str, other: &str) -> bool {
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
    use super::meet;

    #[test]
    fn only_what_cannot_meet_is_apart() {
        for (one, other, expected) in [
            ("bank", "bank", true),
            ("bank", "shop", false),
            ("case-*", "case-7", true),
            ("case-*", "demo", false),
            ("case-*", "demo-*", false),
            ("case-*", "c*", true),
            ("*-a", "*-b", true),
        ] {
            assert_eq!(meet(one, other), expected, "{one} {other}");
            assert_eq!(meet(other, one), expected, "{other} {one}");
        }
    }
}
