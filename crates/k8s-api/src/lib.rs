//! The `RetentionPolicy` resource, in Kubernetes and in files, and the `TenantBinding` resource.
//!
//! Types, their validation (the same rules, in the same words, as the API server's), and their
//! compilation into the [`retention::RuleSet`] that every service follows. Pure.

mod compile;
pub mod condition;
mod crd;
mod error;
mod parse;
mod quantity;
mod retention_policy;
mod schema;
mod status;
mod tenant_binding;
mod validate;

pub use compile::{compile, grace_period, ranked, rules, selector_of};
pub use crd::{DEFINITIONS, crd_yaml};
pub use error::{Error, Problem};
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
pub use tenant_binding::{TenantBinding, TenantBindingSpec};
pub use validate::{Violation, validate};
