use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Generator, LIVE_CONVERSATIONS, Time};

const EVENTS: usize = 20_000;

fn lines(seed: u64) -> String {
    let mut generator = Generator::new(seed);
    let mut text = String::new();
    for _ in 0..EVENTS {
        generator.write_next(&mut text);
    }
    text
}

#[test]
fn a_seed_always_makes_the_same_events() {
    assert_eq!(lines(1), lines(1));
    assert_ne!(lines(1), lines(2));
}

#[test]
fn the_events_have_the_shape_that_is_claimed() {
    let text = lines(1);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let distinct = |name: &str| {
        let values = events.iter().map(|event| event[name].as_str().unwrap());
        values.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(distinct("event_id"), EVENTS);
    assert!((LIVE_CONVERSATIONS..LIVE_CONVERSATIONS * 2).contains(&distinct("conversation_id")));

    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *types.entry(event["type"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(types.len(), 6);
    assert!(
        (84..88).contains(&(types["output.chunk"] * 100 / EVENTS)),
        "{types:?}"
    );

    let content = |event: &Value| event["content"].as_str().unwrap().len();
    let mean = events.iter().map(content).sum::<usize>() / EVENTS;
    assert!((135..150).contains(&mean), "{mean}");
    assert!(
        events
            .iter()
            .all(|event| (15..=410).contains(&content(event)))
    );
    let metadata = |event: &Value| event["metadata"].to_string().len();
    let mean = events.iter().map(metadata).sum::<usize>() / EVENTS;
    assert!((58..70).contains(&mean), "{mean}");
    let mean = text.len() / EVENTS;
    assert!((440..480).contains(&mean), "{mean}");
}

#[test]
fn the_content_repeats_itself_as_much_as_real_text() {
    let mut content = String::new();
    for line in lines(1).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        content.push_str(event["content"].as_str().unwrap());
    }
    let packed = zstd::encode_all(content.as_bytes(), 3).unwrap();
    let tenths = content.len() * 10 / packed.len();
    assert!((33..=37).contains(&tenths), "{tenths}");
}

#[test]
fn times_go_over_the_end_of_a_day() {
    assert_eq!(Time(0).to_string(), "2026-01-05T00:00:00.000000Z");
    assert_eq!(
        Time(86_400_000_000 + 3_723_000_004).to_string(),
        "2026-01-06T01:02:03.000004Z"
    );
}
