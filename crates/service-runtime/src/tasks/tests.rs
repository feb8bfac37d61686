use std::{future::pending, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Tasks;

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_early_ends_the_process() {
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("steady", wait(tasks.shutdown()));
    tasks.spawn("flaky", async { Ok(()) });

    let error = tasks.join(GRACE).await.unwrap_err();

    assert_eq!(error.to_string(), "task flaky ended before shutdown");
}

#[tokio::test(start_paused = true)]
async fn shutdown_drains_every_task() {
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("steady", wait(tasks.shutdown()));
    tasks.shutdown().cancel();

    tasks.join(GRACE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hangs_is_named() {
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("stuck", pending());
    tasks.shutdown().cancel();

    let error = tasks.join(GRACE).await.unwrap_err();

    assert_eq!(error.to_string(), "tasks did not stop within 20s: stuck");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_with_the_name_of_its_task() {
    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("broken", async { panic!("boom") });

    let error = tasks.join(GRACE).await.unwrap_err();

    assert_eq!(format!("{error:#}"), "task broken: panicked: boom");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_because_of_shutdown_is_no_failure() {
    for _ in 0..100 {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("steady", wait(tasks.shutdown()));
        tasks.shutdown().cancel();
        tokio::task::yield_now().await;

        tasks.join(GRACE).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_without_tasks_runs_until_it_is_stopped() {
    let tasks = Tasks::new(CancellationToken::new());
    let shutdown = tasks.shutdown();
    let stop = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        shutdown.cancel();
    };
    let started = tokio::time::Instant::now();

    let (joined, ()) = tokio::join!(tasks.join(GRACE), stop);

    joined.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(60));
}

async fn wait(shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
