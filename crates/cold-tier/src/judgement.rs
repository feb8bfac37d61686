//! The result of applying the rules to every row of a file, in the tags of its log entry: nobody needs to
//! read the file again before it says so. Pure.

use std::collections::HashMap;

use event::Timestamp;

const RULES_TAG: &str = "isotherm.judged";
const EXPIRY_TAG: &str = "isotherm.expiry_due";
const SAMPLING_TAG: &str = "isotherm.sampling_due";

/// When a file is due again by one rule set, which was applied to each of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The hash of the rules. By other rules the judgement means nothing.
    pub rules: String,
    /// When the rows with one of the ages have all expired; `None` is never.
    pub expiry_due: Option<Timestamp>,
    /// When the last row has left warm.
    pub sampling_due: Timestamp,
}

impl Judgement {
    pub(crate) fn tags(&self) -> impl Iterator<Item = (String, Option<String>)> {
        let expiry = self.expiry_due.map(|due| (EXPIRY_TAG, due.to_string()));
        let tags = [
            (RULES_TAG, self.rules.clone()),
            (SAMPLING_TAG, self.sampling_due.to_string()),
        ];
        let tags = tags.into_iter().chain(expiry);
        tags.map(|(name, value)| (name.to_owned(), Some(value)))
    }

    /// Returns the judgement in `tags`. One that cannot be parsed counts as absent: the file is read again.
    pub(crate) fn from_tags(tags: &HashMap<String, Option<String>>) -> Option<Self> {
        let tag = |name: &str| tags.get(name)?.as_deref();
        Some(Self {
            rules: tag(RULES_TAG)?.to_owned(),
            expiry_due: tag(EXPIRY_TAG).map(str::parse).transpose().ok()?,
            sampling_due: tag(SAMPLING_TAG)?.parse().ok()?,
        })
    }
}
