//! The processes that run statements: a few, each for the statements of one tenant.

use std::{
    process::{ChildStdin, ChildStdout},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warm_tier::sql::{Caller, SqlError};

use crate::process::{KillOnDrop, ProcessSettings, start};

/// Statements after which a process is replaced: what it may have piled up is bounded.
const MAX_STATEMENTS: u32 = 64;

/// A process that waits for a statement. Dropping it kills it.
pub(crate) struct Process {
    pub(crate) caller: Caller<ChildStdin, ChildStdout>,
    pub(crate) life: Life,
}

/// What a process has beside its pipes.
pub(crate) struct Life {
    tenant: String,
    statements: u32,
    _kill: KillOnDrop,
    _permit: OwnedSemaphorePermit,
}

/// The processes that wait, and the right to start others.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    settings: ProcessSettings,
    permits: Arc<Semaphore>,
    /// The one that has waited longest first.
    idle: Mutex<Vec<Process>>,
}

impl Pool {
    /// At most `processes` at a time.
    pub(crate) fn new(settings: ProcessSettings, processes: usize) -> Self {
        Self(Arc::new(Inner {
            settings,
            permits: Arc::new(Semaphore::new(processes)),
            idle: Mutex::default(),
        }))
    }

    /// Returns a process for a statement of `tenant`: one that has run others of this tenant, or a new one.
    ///
    /// # Errors
    /// [`SqlError::Engine`] when it cannot be started.
    pub(crate) async fn take(&self, tenant: &str) -> Result<Process, SqlError> {
        if let Some(idle) = self.idle_of(tenant) {
            return Ok(idle);
        }
        let permits = Arc::clone(&self.0.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // Of another tenant: killed here.
                drop(self.oldest());
                let permit = permits.acquire_owned().await;
                permit.expect("the semaphore is never closed")
            }
        };
        let settings = self.0.settings.clone();
        let started = tokio::task::spawn_blocking(move || start(&settings)).await;
        let (kill, caller) = started.map_err(|_| SqlError::Died)??;
        let life = Life {
            tenant: tenant.to_owned(),
            statements: 0,
            _kill: kill,
            _permit: permit,
        };
        Ok(Process { caller, life })
    }

    /// Keeps a process whose statement has ended well for the next one.
    pub(crate) fn give(&self, mut process: Process) {
        process.life.statements += 1;
        if process.life.statements < MAX_STATEMENTS {
            self.lock().push(process);
        }
    }

    fn idle_of(&self, tenant: &str) -> Option<Process> {
        let mut idle = self.lock();
        let last = idle.iter().rposition(|own| own.life.tenant == tenant)?;
        Some(idle.remove(last))
    }

    fn oldest(&self) -> Option<Process> {
        let mut idle = self.lock();
        (!idle.is_empty()).then(|| idle.remove(0))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        let idle = self.0.idle.lock();
        idle.expect("nothing panics while it holds this")
    }
}
