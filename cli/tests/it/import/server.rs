use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Ingest and query in one, as far as an import needs them: everything is kept in memory, once.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Value>,
    ids: BTreeSet<String>,
    requests: usize,
    answered: usize,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            answered: usize::MAX,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Later batches are stored, but not acknowledged before this is raised.
    pub(crate) fn answer_until(&self, requests: usize) {
        self.state.lock().unwrap().answered = requests;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().ids.clone()
    }

    pub(crate) fn lose_one(&self) {
        self.state.lock().unwrap().events.remove(7);
    }

    pub(crate) fn joined(&self) -> BTreeMap<String, Vec<u8>> {
        let mut joined: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for event in &self.state.lock().unwrap().events {
            let content = event["content"].as_str().unwrap();
            let bytes = match event["content_encoding"].as_str() {
                Some(_) => STANDARD.decode(content).unwrap(),
                None => content.as_bytes().to_vec(),
            };
            let name = event["conversation_id"].as_str().unwrap();
            joined.entry(name.to_owned()).or_default().extend(bytes);
        }
        joined
    }
}

/// One request; the connection is not used again.
fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).unwrap();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) <= 2 {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let answer = if request.starts_with("POST") {
        append(&body, state)
    } else if matches!(target, "/v1/store" | "/v1/watermarks") {
        let store = reader.get_ref().local_addr().unwrap().port().to_string();
        (200, json!({ "store": store }).to_string())
    } else {
        (200, read(target, &state.lock().unwrap()))
    };
    let (status, answer) = answer;
    let head = format!(
        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let _ = reader.get_mut().write_all((head + &answer).as_bytes());
}

fn append(body: &[u8], state: &Mutex<State>) -> (u16, String) {
    let lines = body.split(|byte| *byte == b'\n');
    let mut lines = lines.filter(|line| !line.is_empty());
    if !lines.all(|line| serde_json::from_slice::<Value>(line).is_ok()) {
        let problem = json!({"code": "malformed_json", "detail": "the body is no JSON"});
        return (400, problem.to_string());
    }
    let events: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let refused = events.iter().enumerate().filter(|(_, event)| {
        let content = event["content"].as_str().unwrap_or_default();
        event["refuse"] == true || content.contains("REFUSE")
    });
    let items: Vec<Value> = refused
        .map(
            |(index, _)| json!({"index": index, "code": "refused", "detail": "because it says so"}),
        )
        .collect();
    if !items.is_empty() {
        let problem = json!({"code": "invalid_items", "detail": "no", "items": items});
        return (422, problem.to_string());
    }
    let shared = state;
    let mut state = shared.lock().unwrap();
    let acked = events.len();
    let before = state.events.len();
    for event in events {
        let id = event["event_id"].as_str().unwrap().to_owned();
        if state.ids.insert(id) {
            state.events.push(event);
        }
    }
    let duplicates = acked - (state.events.len() - before);
    state.requests += 1;
    let number = state.requests;
    while number > state.answered {
        drop(state);
        thread::sleep(Duration::from_millis(5));
        state = shared.lock().unwrap();
    }
    let receipt = json!({"acked": acked, "duplicates": duplicates});
    (200, receipt.to_string())
}

fn read(target: &str, state: &State) -> String {
    let (path, query) = target.split_once('?').unwrap();
    let name = path.split('/').nth(3).unwrap();
    let after = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("after="));
    let after: usize = after.map_or(0, |after| after.split('-').nth(3).unwrap().parse().unwrap());
    let limit: usize = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("limit=")?.parse().ok())
        .unwrap();
    let events = state.events.iter().zip(1..);
    let of_it = events.filter(|(event, seq)| event["conversation_id"] == name && *seq > after);
    let lines = of_it.take(limit.min(100)).map(|(event, seq)| {
        let mut event = event.clone();
        event["position"] = format!("0001-0000-0001-{seq:020}-0000").into();
        event["timestamp"] = event
            .get("timestamp")
            .cloned()
            .unwrap_or_else(|| "2026-01-01T00:00:00Z".into());
        event["type"] = event.get("type").cloned().unwrap_or_else(|| "event".into());
        format!("{event}\n")
    });
    lines.collect()
}
