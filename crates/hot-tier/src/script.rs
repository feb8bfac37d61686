//! The Lua scripts: called by hash (EVALSHA), loaded when the server does not have them.

use std::sync::LazyLock;

use redis::Script;

/// Creates the cursor of an empty partition or a later epoch; clears an older epoch.
pub(crate) static START: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/start.lua")));
/// Moves the cursor by compare-and-set past a range that the log no longer has.
pub(crate) static SKIP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/skip.lua")));
/// Marks events as duplicates, so that reads filter them out.
pub(crate) static MARK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/mark.lua")));
/// Removes the oldest entries of one conversation.
pub(crate) static TRIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/trim.lua")));
/// Raises the partition's floor to the first event that is left.
pub(crate) static RAISE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/raise.lua")));
