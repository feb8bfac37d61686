//! The resources of Isotherm in Kubernetes, and in files where there is no Kubernetes.
//!
//! Types, the rules they must obey (the same, in the same words, as the API server's), and their
//! compilation into the [`retention::RuleSet`] that every service follows. Pure.

mod compile;
pub mod condition;
mod crd;
mod parse;
mod quantity;
mod retention_policy;
mod schema;
mod status;
mod validate;

pub use compile::{compile, grace_period, ranked, rules, selector_of};
pub use crd::crd_yaml;
pub use parse::parse;
pub use retention_policy::{
    API_VERSION, Action, Archive, Bytes, Cold, DefaultAction, Enforcement, Expression, HashKey,
    Hot, KIND, Operator, RetentionPolicy, Rule, Sample, Sampling, Selector, Spec, Strategy, Tiers,
    Warm,
};
pub use status::{
    ArchiveStatus, Component, Conflict, EffectiveAges, Preview, Shortening, Status, TierPreview,
    TierStatus,
};
pub use validate::{Violation, validate};

/// Why policies cannot be used: every reason, not only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no list of policies.
    #[error("{0}")]
    Syntax(String),
    /// The policies break rules.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
}

/// One broken rule and the policy that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{policy}: {message}")]
pub struct Problem {
    /// `namespace/name`.
    pub policy: String,
    pub message: String,
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
