//! The compiled rules that every service follows: how long events stay, and which of them.
//!
//! Pure: a decision depends only on the rule set and the event, so that every process on every machine
//! decides the same. [`RuleSet`] crosses process boundaries as canonical JSON; its hash identifies it.

mod accelerate;
mod built_in;
mod class;
mod glob;
mod most_permissive;
mod overlap;
mod resolve;
mod rules;
mod sampling;
mod shorten;
mod sql;

pub use class::Class;
pub use glob::glob_matches;
pub use resolve::{Effective, Subject, SubjectLabels, TierSource};
pub use rules::{
    Action, Cold, Expression, HashKey, Hot, Operator, Policy, Rule, RuleSet, Sample, Sampling,
    Selector, Strategy, Warm,
};
pub use sampling::{Decision, SampleSubject};
pub use shorten::{Shortening, shortenings};
pub use sql::{preview_sql, selects_sql, tiers_sql};
