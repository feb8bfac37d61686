//! The baseline that the hot tier is measured against: the same events, each by an XADD of its own with
//! six fields, in pipelines of 100 over four connections. Prints its time as JSON.
//!
//! Usage: `xadd_baseline --url redis://HOST:PORT --events FILE`; the file has one JSON object a
//! line, in the format that ingest accepts.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, Pipeline, aio::MultiplexedConnection};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CONNECTION_COUNT: usize = 4;
const COMMANDS_PER_PIPELINE: usize = 100;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Event {
    event_id: String,
    conversation_id: String,
    task_id: String,
    r#type: String,
    timestamp: String,
    content: String,
    metadata: Box<RawValue>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url_flag, url, events_flag, file] = args.as_slice() else {
        return Err("usage: xadd_baseline --url URL --events FILE".into());
    };
    if (url_flag.as_str(), events_flag.as_str()) != ("--url", "--events") {
        return Err("usage: xadd_baseline --url URL --events FILE".into());
    }
    let text = std::fs::read_to_string(file)?;
    let events: std::result::Result<Vec<Event>, _> =
        text.lines().map(serde_json::from_str).collect();
    let events = Arc::new(events?);
    let client = Client::open(url.as_str())?;
    let seconds = write(&client, &events).await?.as_secs_f64();
    let streams = stream_count(&client).await?;
    let count = events.len();
    writeln!(
        std::io::stdout(),
        r#"{{"events":{count},"seconds":{seconds},"streams":{streams}}}"#
    )?;
    Ok(())
}

/// Writes all events; everything is parsed and connected before the clock starts.
async fn write(client: &Client, events: &Arc<Vec<Event>>) -> Result<Duration> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
    let mut connections = Vec::new();
    for _ in 0..CONNECTION_COUNT {
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connections.push(connection.await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut writers = JoinSet::new();
    for connection in connections {
        writers.spawn(write_some(
            connection,
            Arc::clone(events),
            Arc::clone(&next),
        ));
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}

async fn write_some(
    mut connection: MultiplexedConnection,
    events: Arc<Vec<Event>>,
    next: Arc<AtomicUsize>,
) -> Result<()> {
    while let Some(chunk) = events
        .chunks(COMMANDS_PER_PIPELINE)
        .nth(next.fetch_add(1, Ordering::Relaxed))
    {
        let mut pipeline = Pipeline::with_capacity(COMMANDS_PER_PIPELINE);
        for event in chunk {
            add_xadd(&mut pipeline, event);
        }
        pipeline.exec_async(&mut connection).await?;
    }
    Ok(())
}

fn add_xadd(pipeline: &mut Pipeline, event: &Event) {
    let xadd = pipeline.cmd("XADD");
    xadd.arg(format!("events:{}", event.conversation_id))
        .arg("*");
    for (name, value) in [
        ("event", event.event_id.as_str()),
        ("task", &event.task_id),
        ("type", &event.r#type),
        ("timestamp", &event.timestamp),
        ("content", &event.content),
        ("metadata", event.metadata.get()),
    ] {
        xadd.arg(name).arg(value);
    }
}

/// How many streams there are now: one per conversation.
async fn stream_count(client: &Client) -> Result<u64> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut connection).await?)
}
