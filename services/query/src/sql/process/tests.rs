use tokio::sync::{mpsc, oneshot};

use super::{CHUNK_TIMEOUT, EncodedAnswer, KillOnDrop};

#[tokio::test(start_paused = true)]
async fn an_answer_whose_process_stalls_is_cut_off() {
    let (_stalled, receiver) = mpsc::channel(1);
    let mut answer = EncodedAnswer {
        receiver,
        waits: oneshot::channel().1,
        ended: false,
        _process: KillOnDrop::default(),
    };
    let chunk = tokio::time::timeout(2 * CHUNK_TIMEOUT, answer.next()).await;
    assert!(chunk.expect("it is not awaited for ever").unwrap().is_err());
    assert!(answer.next().await.is_none());
}
