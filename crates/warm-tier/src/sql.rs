//! The sandbox in which user SQL runs.
