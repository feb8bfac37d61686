#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod import;
