//! Task supervision: every long-running task has a name, and the end of any task stops the process.

use std::{any::Any, collections::HashMap, future::Future, io, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{self, JoinError, JoinSet},
    time,
};
use tokio_util::sync::CancellationToken;

/// The long-running tasks of one process.
///
/// No task is restarted: Kubernetes restarts the whole process, which leaves one recovery path to test.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<task::Id, String>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// Creates an empty set of tasks that `shutdown` stops.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
        }
    }

    /// Returns the token that is cancelled when the tasks must stop.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts `task`; its `name` is used in errors.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits for shutdown or for the first task that ends, then cancels the token and waits up to `grace`
    /// for the other tasks.
    ///
    /// # Errors
    /// The first task that failed, panicked or ended before shutdown; else the names of the tasks that did
    /// not stop within `grace`. End the process.
    pub async fn join(mut self, grace: Duration) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let cause = tokio::select! {
            // Shutdown first, because tasks that end after it have not failed.
            biased;
            () = shutdown.cancelled() => Ok(()),
            ended = self.next_ended() => match ended {
                Some((name, Ok(()))) => Err(anyhow!("task {name} ended before shutdown")),
                Some((name, Err(error))) => Err(error.context(format!("task {name}"))),
                // Without tasks, the process only serves its admin port until it is stopped.
                None => {
                    shutdown.cancelled().await;
                    Ok(())
                }
            },
        };
        shutdown.cancel();
        let drained = time::timeout(grace, self.drain()).await;
        match (cause, drained) {
            (Err(error), _) => Err(error),
            (Ok(()), Ok(result)) => result,
            (Ok(()), Err(_)) => {
                let mut left: Vec<_> = self.names.values().map(String::as_str).collect();
                left.sort_unstable();
                bail!("tasks did not stop within {grace:?}: {}", left.join(", "))
            }
        }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        let mut first = Ok(());
        while let Some((name, result)) = self.next_ended().await {
            let result = result.with_context(|| format!("stop task {name}"));
            first = first.and(result);
        }
        first
    }

    async fn next_ended(&mut self) -> Option<(String, anyhow::Result<()>)> {
        let (id, result) = match self.set.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(panicked(error))),
        };
        let name = self
            .names
            .remove(&id)
            .expect("every task is named when it is spawned");
        Some((name, result))
    }
}

fn panicked(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => anyhow!("panicked: {}", panic_message(panic.as_ref())),
        Err(error) => error.into(),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(message) = panic.downcast_ref::<&str>() {
        message
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else {
        "without a message"
    }
}

/// Cancels `shutdown` on the first SIGTERM or SIGINT; a second one ends the process at once.
pub(crate) fn cancel_on_signal(shutdown: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let (name, number) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 15),
                _ = interrupt.recv() => ("SIGINT", 2),
            };
            if shutdown.is_cancelled() {
                tracing::warn!(signal = name, "second signal, aborting");
                std::process::exit(128 + number);
            }
            tracing::info!(signal = name, "shutting down");
            shutdown.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
