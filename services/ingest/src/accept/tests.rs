mod bodies;
mod events;
mod properties;
mod refusals;

use event::Event;

use super::*;

const NOW: &str = "2026-11-23T12:00:00Z";

fn context() -> Context {
    Context {
        tenant: TenantId::default_tenant(),
        conversation: None,
        format: Format::Unknown,
        partial: false,
        trace: None,
        now: NOW.parse().unwrap(),
        new_id: || EventId::from_u128(7),
        partitions: PartitionCount::new(4).unwrap(),
    }
}

/// Every stored event, in the order of the request.
fn stored(context: &Context, body: &str) -> Vec<Event> {
    let accepted = accept(context, body.as_bytes()).unwrap();
    let frames: Vec<_> = accepted.frames.iter().map(decode).collect();
    let placements = accepted.placements.iter().filter(|place| !place.repeated);
    placements
        .map(|place| frames[place.frame][usize::from(place.idx)].clone())
        .collect()
}

fn decode(frame: &Frame) -> Vec<Event> {
    let frame = event_proto::Frame::decode(frame.events.clone().encode()).unwrap();
    let events = frame.events.iter();
    events
        .map(|event| event.encoded.decode(&frame.tenant).unwrap())
        .collect()
}

fn one(body: &str) -> Event {
    stored(&context(), body).remove(0)
}

fn refused(context: &Context, body: &[u8]) -> (u16, &'static str, String) {
    let problem = accept(context, body).unwrap_err();
    (problem.status.as_u16(), problem.code, problem.detail)
}

/// An event with `more` fields behind the required ones.
fn event(more: &str) -> String {
    format!(r#"{{"conversation_id":"c","type":"t"{more}}}"#)
}
