//! Generated agent runs, seeded so that every run of a test has the same events.

use serde_json::{Value, json};

/// A pseudo-random number generator (xorshift); the same seed gives the same numbers.
pub(crate) struct SeededRng(u64);

impl SeededRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

const WORDS: [&str; 12] = [
    "let",
    "us",
    "look\r\n",
    "at",
    "naïve",
    "🦀",
    "\"quoted\"",
    "tab\t",
    "file.rs:12",
    "\\n",
    "§",
    "{}",
];

/// `count` events of `conversations` conversations as JSON lines to post, ascending by time, a
/// millisecond apart.
pub(crate) fn run(seed: u64, count: usize, conversations: u64) -> Vec<String> {
    let mut rng = SeededRng::new(seed);
    (0..count)
        .map(|n| line(&mut rng, seed, n, conversations))
        .collect()
}

/// The events of [`run`], but ten minutes apart.
pub(crate) fn run_over_days(seed: u64, count: usize, conversations: u64) -> Vec<String> {
    let lines = run(seed, count, conversations).into_iter().enumerate();
    let later = lines.map(|(n, line)| {
        let (day, hour, minute) = (1 + n / 144, n / 6 % 24, n % 6 * 10);
        let time = format!("2026-11-{day:02}T{hour:02}:{minute:02}:00.000000Z");
        line.replace(&member(&line, "timestamp"), &time)
    });
    later.collect()
}

fn line(rng: &mut SeededRng, seed: u64, n: usize, conversations: u64) -> String {
    let conversation = rng.below(conversations);
    let kind = match rng.below(100) {
        0 => "error",
        1 => "file.created",
        2..5 => "tool.call",
        5..8 => "tool.result",
        _ => "output.chunk",
    };
    let words = if kind == "tool.result" {
        rng.below(3000)
    } else {
        rng.below(30)
    };
    let content: String = (0..words)
        .map(|_| WORDS[usize::try_from(rng.below(12)).unwrap()])
        .collect();
    let (minute, second) = (n / 60_000 % 60, n / 1000 % 60);
    // Formatted by hand: its unusual spacing must be returned byte for byte.
    let metadata = format!(
        r#"{{"step" : {n}, "model":"m-{}","nested": {{"a":[1, 2.50]}}}}"#,
        n % 3
    );
    let event: [(&str, Value); 6] = [
        (
            "event_id",
            json!(format!("{seed:08x}-0000-8000-8000-{n:012x}")),
        ),
        (
            "conversation_id",
            json!(format!("run-{seed}-{conversation}")),
        ),
        ("task_id", json!(format!("task-{}", n / 50))),
        ("type", json!(kind)),
        (
            "timestamp",
            json!(format!(
                "2026-11-20T09:{minute:02}:{second:02}.{:06}Z",
                n % 1000
            )),
        ),
        ("content", json!(content)),
    ];
    let members: Vec<String> = event
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{},\"metadata\":{metadata}}}", members.join(","))
}

/// The conversation of a posted or returned line.
pub(crate) fn conversation(line: &str) -> String {
    member(line, "conversation_id")
}

/// A text member of a line; empty when it is missing.
pub(crate) fn member(line: &str, name: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value[name].as_str().unwrap_or_default().to_owned()
}

/// A returned line as it was posted: without the members that the store adds, the others byte for
/// byte.
pub(crate) fn as_posted(line: &str) -> String {
    let members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(line).unwrap();
    let order = [
        "event_id",
        "conversation_id",
        "task_id",
        "type",
        "timestamp",
        "content",
        "metadata",
    ];
    let added = ["position", "received_at", "sample_rate"];
    let extra = members
        .keys()
        .find(|key| !order.contains(&key.as_str()) && !added.contains(&key.as_str()));
    assert_eq!(extra, None, "an answer has no unknown members");
    let kept: Vec<String> = order
        .iter()
        .filter_map(|name| Some(format!("\"{name}\":{}", members.get(*name)?)))
        .collect();
    format!("{{{}}}", kept.join(","))
}
