//! Random numbers for names that no other writer uses.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that no other call returns, in this or another process.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
