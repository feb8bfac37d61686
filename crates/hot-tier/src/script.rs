//! The Lua scripts, called by their hash and loaded when the server does not know them.

use std::sync::LazyLock;

use redis::Script;

/// Makes the cursor of an empty partition, or of another epoch; clears what was there.
pub(crate) static START: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/start.lua")));
/// Compare-and-set on the cursor, past what the log no longer has.
pub(crate) static SKIP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/skip.lua")));
/// Hides duplicates.
pub(crate) static MARK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/mark.lua")));
/// Removes the oldest entries of one conversation.
pub(crate) static TRIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/trim.lua")));
/// Raises the partition's floor to what is left.
pub(crate) static RAISE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/raise.lua")));
