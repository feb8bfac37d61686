//! Throttling, with a pressure file that the test writes.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testkit::eventually;

use crate::world::{World, assert_once};

/// A lag in frames that only a throttled compactor has: one is published in 20 ms or more.
const THROTTLED_LAG: u64 = 20;

/// The kernel's pressure file of a machine on which some task always waits for a processor, or none
/// ever.
struct Pressure {
    dir: TempDir,
    busy: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Pressure {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let (busy, ends) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let file = dir.path().join("cpu");
        write(&file, Duration::ZERO);
        let (is_busy, end) = (Arc::clone(&busy), Arc::clone(&ends));
        let writer = thread::spawn(move || {
            let (mut total, mut last) = (Duration::ZERO, Instant::now());
            while !end.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(2));
                if is_busy.load(Ordering::Relaxed) {
                    total += last.elapsed();
                }
                last = Instant::now();
                write(&file, total);
            }
        });
        Self {
            dir,
            busy,
            ends,
            writer: Some(writer),
        }
    }

    fn file(&self) -> String {
        self.dir.path().join("cpu").display().to_string()
    }

    fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

/// Replaces the file atomically.
fn write(file: &PathBuf, total: Duration) {
    let new = file.with_extension("new");
    let micros = total.as_micros();
    let line = format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={micros}\n");
    fs::write(&new, line).unwrap();
    fs::rename(&new, file).unwrap();
}

/// The number of frames that are not committed yet.
async fn lag(world: &World) -> u64 {
    let last: u64 = world.last().await.values().sum();
    let coverage = world.client().coverage().await.unwrap();
    last - coverage.partitions.iter().map(|p| p.committed).sum::<u64>()
}

/// Publishes event after event from `next` on until the compactor lags; returns their number.
async fn until_throttled(world: &World, next: u64) -> u64 {
    let mut count = next;
    eventually("it is throttled", async || {
        world.publish(count..count + 1, 1).await;
        count += 1;
        lag(world).await >= THROTTLED_LAG
    })
    .await;
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_busy_machine_it_is_throttled_until_a_reader_asks() {
    let (world, pressure) = (World::start().await, Pressure::start());
    let flags = [
        "--throttle-under-pressure",
        "1h",
        "--pressure-file",
        &pressure.file(),
    ];
    let compactor = world.compactor(&[&flags[..], &["--seal-after", "200ms"]].concat());
    world.publish(0..70, 10).await;
    eventually("all is committed", async || {
        world.is_ready().await && lag(&world).await == 0
    })
    .await;
    pressure.set_busy(true);
    let count = until_throttled(&world, 70).await;

    let last = world.last().await;
    eventually("the reader has its answer", async || {
        for (partition, seq) in &last {
            if world
                .client()
                .duplicates(*partition, 0)
                .await
                .unwrap()
                .through
                < *seq
            {
                return false;
            }
        }
        true
    })
    .await;

    pressure.set_busy(false);
    world.until_sealed().await;
    assert_once(&world.stored().await, count);
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_continues_when_the_machine_is_idle_again() {
    let (world, pressure) = (World::start().await, Pressure::start());
    let flags = [
        "--throttle-under-pressure",
        "1h",
        "--pressure-file",
        &pressure.file(),
    ];
    let compactor = world.compactor(&flags);
    world.publish(0..70, 10).await;
    world.until_committed(1).await;
    pressure.set_busy(true);
    until_throttled(&world, 70).await;

    pressure.set_busy(false);

    eventually("all is committed", async || lag(&world).await == 0).await;
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_throttled_for_no_longer_than_the_configured_lag() {
    let (world, pressure) = (World::start().await, Pressure::start());
    pressure.set_busy(true);
    let flags = [
        "--throttle-under-pressure",
        "500ms",
        "--pressure-file",
        &pressure.file(),
    ];
    let compactor = world.compactor(&flags);
    world.publish(0..70, 10).await;
    world.until_committed(1).await;
    world.publish(70..140, 10).await;

    eventually("all is committed", async || lag(&world).await == 0).await;

    assert!(compactor.stop().await.success());
}
