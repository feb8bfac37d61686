//! Reads conversations and SQL over HTTP, and compares them with what was posted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{agents, world::World};

/// One conversation as the query service returned it.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) lines: Vec<String>,
    /// The tiers that answered.
    pub(crate) tiers: BTreeSet<String>,
    pub(crate) complete: bool,
}

impl World {
    pub(crate) async fn sql(&self, sql: &str) -> Value {
        let answer = self
            .http
            .post(self.query("/v1/sql"))
            .body(sql.to_owned())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{sql}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Reads a whole conversation in ascending order, page by page.
    pub(crate) async fn read(&self, conversation: &str) -> Conversation {
        let mut whole = Conversation {
            complete: true,
            ..Conversation::default()
        };
        let mut after = String::new();
        loop {
            let path =
                format!("/v1/conversations/{conversation}/events?order=asc&limit=700{after}");
            let request = self
                .http
                .get(self.query(&path))
                .header("accept", "application/x-ndjson");
            let answer = request.send().await.unwrap();
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            whole.tiers.extend(
                header("isotherm-tiers")
                    .split(',')
                    .map(|t| t.trim().to_owned()),
            );
            whole.complete &= header("isotherm-complete") == "true";
            let text = answer.text().await.unwrap();
            let Some(last) = text.lines().last() else {
                break;
            };
            after = format!("&after={}", agents::member(last, "position"));
            whole.lines.extend(text.lines().map(str::to_owned));
        }
        whole.tiers.remove("");
        whole
    }

    /// Asserts that every posted line is returned exactly once, in order, byte for byte.
    pub(crate) async fn assert_returns_exactly(&self, posted: &[String]) -> Vec<Conversation> {
        let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for line in posted {
            expected
                .entry(agents::conversation(line))
                .or_default()
                .push(line);
        }
        let mut answers = Vec::new();
        for (name, lines) in expected {
            let answer = self.read(&name).await;
            assert!(answer.complete, "{name} is complete");
            let returned: Vec<String> = answer
                .lines
                .iter()
                .map(|line| agents::as_posted(line))
                .collect();
            assert_eq!(returned.len(), lines.len(), "{name}: number of events");
            for (n, (returned, line)) in returned.iter().zip(lines).enumerate() {
                assert_eq!(returned, line, "{name}: event {n}");
            }
            answers.push(answer);
        }
        answers
    }
}
