//! Generated events of the scenarios, numbered so that tests can check their order.

/// The ids of events `range`.
pub(crate) fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(id).collect()
}

/// Events `range` of `conversation` as JSON lines to post.
pub(crate) fn lines(conversation: &str, range: std::ops::Range<usize>) -> Vec<String> {
    let line = |n: usize| {
        let event = serde_json::json!({
            "event_id": id(n),
            "conversation_id": conversation,
            "type": "output.chunk",
            "content": format!("chunk {n}\n"),
        });
        event.to_string()
    };
    range.map(line).collect()
}

fn id(n: usize) -> String {
    format!("00000000-0000-8000-8000-{n:012x}")
}
