use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{ANSWER_TIME, CHUNK_TIMEOUT, EncodedAnswer};

fn answer() -> (mpsc::Sender<std::io::Result<Bytes>>, EncodedAnswer) {
    let (sender, receiver) = mpsc::channel(1);
    let answer = EncodedAnswer {
        receiver,
        waits: oneshot::channel().1,
        ended: false,
        until: Instant::now() + ANSWER_TIME,
        forward: None,
    };
    (sender, answer)
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_process_stalls_is_cut_off() {
    let (_stalled, mut answer) = answer();
    let chunk = tokio::time::timeout(2 * CHUNK_TIMEOUT, answer.next()).await;
    assert!(chunk.expect("it is not awaited for ever").unwrap().is_err());
    assert!(answer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_slowly_keeps_its_slot_for_a_bounded_time() {
    let (process, mut answer) = answer();
    let began = Instant::now();
    loop {
        // A full queue is the process that goes on.
        let _ = process.try_send(Ok(Bytes::from_static(b"chunk")));
        match answer.next().await.unwrap() {
            Ok(_) => tokio::time::advance(CHUNK_TIMEOUT).await,
            Err(_) => break,
        }
        assert!(began.elapsed() < 2 * ANSWER_TIME, "it is never cut off");
    }
    assert!(began.elapsed() >= ANSWER_TIME);
    assert!(answer.next().await.is_none());
}
