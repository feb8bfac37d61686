//! The errors of reading and compiling policies.

/// The reason why policies cannot be used. Permanent: fix the policies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a list of policies.
    #[error("{0}")]
    Syntax(String),
    /// The policies break rules: all of them are listed.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
}

/// A broken rule and the policy that breaks it.
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
