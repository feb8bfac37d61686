//! One simulated agent: emits mostly chunks of text, sometimes a tool call, a file, an error. Pure,
//! given a seed and the time.

use event::Timestamp;
use serde_json::{json, value::to_raw_value};
use uuid::Uuid;

use crate::new_event::{Content, NewEvent, derived_id};

/// The vocabulary of the chunks.
const WORDS: &[&str] = &[
    "the", "file", "test", "fails", "because", "a", "missing", "colon", "in", "line", "I", "will",
    "look", "at", "it", "again", "and", "then", "run", "all", "tests", "that", "touch", "this",
    "function", "returns", "None", "when", "empty", "list", "is", "given", "so", "fix", "guard",
    "before", "loop", "done", "next", "step", "\u{2713}",
];
const TOOLS: &[&str] = &["find_file", "open", "edit", "python3", "git", "grep"];

/// The state of one agent.
#[derive(Debug)]
pub(super) struct Agent {
    name: String,
    random: Random,
    /// Characters emitted so far.
    emitted: u128,
    events: u64,
    steps: u64,
}

impl Agent {
    pub(super) fn new(name: String, seed: u64) -> Self {
        Self {
            name,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            emitted: 0,
            events: 0,
            steps: 0,
        }
    }

    /// Emits events into `lines` until `due` characters have been emitted in all.
    pub(super) fn emit_until(&mut self, due: u128, now: Timestamp, lines: &mut Vec<String>) {
        while self.emitted < due {
            let chunk = self.chunk();
            self.emitted += chunk.chars().count() as u128;
            lines.push(self.event("output.chunk", &chunk, None, now));
            match self.random.below(60) {
                0 | 1 => self.use_tool(now, lines),
                2 => lines.push(self.event(
                    "file.created",
                    "src/fix.py",
                    Some(json!({"bytes": 812})),
                    now,
                )),
                3 => lines.push(self.event(
                    "error",
                    "TypeError: 'NoneType' is not iterable",
                    None,
                    now,
                )),
                4 if self.random.below(10) == 0 => {
                    lines.push(self.event(
                        "intervention",
                        "stop and explain",
                        Some(json!({"by": "a person"})),
                        now,
                    ));
                }
                _ => {}
            }
        }
    }

    fn chunk(&mut self) -> String {
        let words = 1 + self.random.below(12);
        let mut chunk = String::new();
        for _ in 0..words {
            chunk.push_str(self.random.one_of(WORDS));
            chunk.push(' ');
        }
        chunk
    }

    fn use_tool(&mut self, now: Timestamp, lines: &mut Vec<String>) {
        self.steps += 1;
        let tool = self.random.one_of(TOOLS);
        let argument = self.chunk();
        lines.push(self.event(
            "tool.call",
            &format!("{tool} {argument}"),
            Some(json!({"tool": tool})),
            now,
        ));
        let result = (0..4).map(|_| self.chunk()).collect::<Vec<_>>().join("\n");
        lines.push(self.event("tool.result", &result, Some(json!({"tool": tool})), now));
    }

    fn event(
        &mut self,
        event_type: &str,
        text: &str,
        metadata: Option<serde_json::Value>,
        now: Timestamp,
    ) -> String {
        let number = self.events;
        self.events += 1;
        let mut metadata = metadata.unwrap_or_else(|| json!({}));
        metadata["step"] = json!(self.steps);
        let task = format!("{}-task-{}", self.name, self.steps / 10);
        let event = NewEvent {
            event_id: self.id(number, now).to_string(),
            conversation_id: &self.name,
            task_id: Some(&task),
            event_type,
            timestamp: Some(now.to_string()),
            content: Content::new(text.as_bytes()),
            metadata: to_raw_value(&metadata).ok(),
        };
        event.json_line()
    }

    fn id(&self, number: u64, now: Timestamp) -> Uuid {
        let at = now.to_string();
        derived_id(
            Some(now),
            &[self.name.as_bytes(), at.as_bytes(), &number.to_le_bytes()],
        )
    }
}

/// xorshift64*: small, and deterministic on every platform.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // The high bits are the most random ones.
        (self.next() >> 32) % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let length = list.len() as u64;
        let index = usize::try_from(self.below(length)).expect("less than a length");
        list[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(seed: u64) -> Vec<String> {
        let mut agent = Agent::new("a".to_owned(), seed);
        let mut lines = Vec::new();
        agent.emit_until(
            100_000,
            Timestamp::from_micros(1_763_629_200_000_000),
            &mut lines,
        );
        lines
    }

    #[test]
    fn a_seed_is_deterministic_and_yields_every_type_of_event() {
        assert_eq!(lines(7), lines(7));
        assert_ne!(lines(7), lines(8));
        let all = lines(7).concat();
        for event_type in [
            "output.chunk",
            "tool.call",
            "tool.result",
            "file.created",
            "error",
        ] {
            assert!(
                all.contains(&format!("\"type\":\"{event_type}\"")),
                "{event_type}"
            );
        }
    }
}
