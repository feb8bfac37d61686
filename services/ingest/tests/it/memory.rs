//! Requests that are small on the wire and large in memory.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use crate::world::{World, lines};

/// 16 MiB of fields of which nobody knows any; packed a few KB.
fn packed_fields() -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed
        .write_all(b"{\"conversation_id\":\"c\",\"type\":\"t\"")
        .unwrap();
    for _ in 0..2_000_000 {
        packed.write_all(b",\"a\":1").unwrap();
    }
    packed.write_all(b"}").unwrap();
    packed.finish().unwrap()
}

/// The most memory that the process has used so far, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_become_large_take_no_more_than_their_budget_beside_an_honest_client() {
    let (world, ingest) = World::start_with(&["--request-memory=160MiB"]).await;
    let before = peak_memory(ingest.pid());
    let body = packed_fields();
    assert!(body.len() < 64 << 10, "{} bytes", body.len());
    let attacks: Vec<_> = (0..12)
        .map(|_| {
            let request = world.post("/v1/events").header("content-encoding", "gzip");
            tokio::spawn(request.body(body.clone()).send())
        })
        .collect();
    for request in 0..5 {
        assert_eq!(world.append(lines(request..request + 1)).await["acked"], 1);
    }
    for attack in attacks {
        let response = attack.await.unwrap().unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        match status {
            422 => assert!(text.contains("too_many_fields"), "{text}"),
            503 => assert!(text.contains("overloaded"), "{text}"),
            _ => panic!("{status}: {text}"),
        }
    }
    let grown = peak_memory(ingest.pid()) - before;
    assert!(
        grown < 192 << 20,
        "{grown} bytes for requests of {} bytes",
        body.len()
    );
}
