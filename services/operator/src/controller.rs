//! Brings the services and the statuses in line with the policies:
//!
//! 1. reads every policy; one that cannot be used is told so and stops none of the others,
//! 2. decides what holds now and what waits for its grace period,
//! 3. writes that down in the ConfigMap, then tells the services: a decision is recorded before it
//!    has an effect, so that whoever goes on knows what was promised,
//! 4. applies the archiver's CronJob,
//! 5. writes the statuses, whatever was unreachable.
//!
//! Level-triggered: each pass starts from what is there, not from what happened.

mod apply;
mod archive;
mod conditions;
mod conflicts;
mod describe;
mod events;
pub(crate) mod figures;
mod grace;
mod log;
mod read;
mod status;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_api::{ArchiveStatus, RetentionPolicy, condition as c};
use kube::Client;
use retention::RuleSet;
use tokio::{
    sync::{Notify, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::read::policies;

use self::{
    apply::Applier,
    figures::Figures,
    grace::State,
    log::{Log, Told},
    read::{Policies, Reader},
    status::Seen,
};
use crate::{config::Config, lease::Leading, metrics::Metrics};

/// Acknowledgements and the template are looked at so often; changes of policies come at once.
const LOOK: Duration = Duration::from_secs(5);
/// Changes that come together are handled together.
const SETTLE: Duration = Duration::from_millis(100);

/// What the figures task and the controller tell each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted(pub(crate) Arc<std::sync::Mutex<Option<Result<Figures, String>>>>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read {what}")]
    Read {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("write {what}")]
    Write {
        what: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("another replica writes now")]
    NotLeading,
}

impl Error {
    /// The label of the metric: a closed set.
    fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "ReadFailed",
            Self::Write { .. } => "WriteFailed",
            Self::NotLeading => "NotLeading",
        }
    }
}

pub(crate) struct Controller {
    pub(crate) reader: Reader,
    pub(crate) applier: Applier,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    /// The rules to count by.
    pub(crate) rules: watch::Sender<Option<RuleSet>>,
    pub(crate) counted: Counted,
    pub(crate) leading: Leading,
    pub(crate) changed: Arc<Notify>,
}

impl Controller {
    pub(crate) fn new(
        client: Client,
        config: &Config,
        leading: Leading,
        metrics: Metrics,
        rules: watch::Sender<Option<RuleSet>>,
    ) -> Self {
        Self {
            reader: Reader::new(client.clone(), config),
            applier: Applier::new(client, config, leading.clone()),
            log: Log::new(&config.nats_url),
            metrics,
            rules,
            counted: Counted::default(),
            leading,
            changed: Arc::new(Notify::new()),
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut due = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = self.changed.notified() => time::sleep(SETTLE).await,
                () = self.leading.changed() => {}
                () = time::sleep(pause(due, Timestamp::now())) => {}
            }
            if !self.leading.now() {
                continue;
            }
            let timer = self.metrics.seconds.start_timer();
            match Box::pin(self.reconcile(seconds(Timestamp::now()))).await {
                Ok(next) => due = next,
                Err(error) => {
                    self.metrics.failed(error.reason());
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "will reconcile again"
                    );
                }
            }
            timer.observe_duration();
        }
    }

    /// One pass. Returns when something that waits is due.
    pub(crate) async fn reconcile(&mut self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let policies = self.reader.policies().await?;
        let stored = self.reader.state().await?;
        let state = stored
            .clone()
            .unwrap_or_default()
            .next(&policies.valid, now);
        if stored.as_ref() != Some(&state) {
            info!(
                policies = state.applied.len(),
                waiting = state.held.len(),
                "the rules change"
            );
            self.applier.state(&state).await?;
        }
        self.leading()?;
        let told = self.log.tell(&state.rules()).await;
        if told.acks.is_err() {
            self.metrics.failed("LogUnreachable");
        }
        self.rules.send_if_modified(|rules| {
            let new = rules.as_ref() != Some(&told.rules);
            if new {
                *rules = Some(told.rules.clone());
            }
            new
        });
        let ranked = k8s_api::ranked(&policies.valid);
        let archive = archive::decide(&ranked);
        let archiver = self.archiver(&archive).await;
        self.statuses(&policies, &state, told, archive, now).await?;
        archiver?;
        Ok(state.next_due())
    }

    async fn archiver(&mut self, archive: &ArchiveStatus) -> Result<(), Error> {
        let Some(template) = self.reader.template().await? else {
            return Ok(());
        };
        self.leading()?;
        if let Err(problem) = self.applier.cron_job(&template, archive).await? {
            self.metrics.failed(c::ARCHIVE_FAILED);
            warn!(problem, "the archiver's CronJob cannot be made");
        }
        Ok(())
    }

    async fn statuses(
        &mut self,
        policies: &Policies,
        state: &State,
        told: Told,
        archive: ArchiveStatus,
        now: Timestamp,
    ) -> Result<(), Error> {
        let figures = self
            .counted
            .0
            .lock()
            .expect("nothing panics in here")
            .clone();
        let current = |figures: &Result<Figures, String>| {
            figures
                .as_ref()
                .map_or(true, |own| own.rules == told.rules.hash())
        };
        let seen = Seen {
            rules: told.rules.clone(),
            hash: told.hash,
            acks: told.acks,
            oldest: told.oldest,
            figures: figures.filter(current),
            pending: state.pending(),
            archive,
            now,
        };
        let mut shown: Vec<RetentionPolicy> = Vec::new();
        for (policy, conflicts) in of_all(policies) {
            let mut policy = policy.clone();
            let status = status::accepted(&policy, conflicts, &seen);
            self.leading()?;
            self.applier
                .status(&policy.metadata, policy.status.as_ref(), &status)
                .await?;
            policy.status = Some(status);
            shown.push(policy);
        }
        for refused in &policies.refused {
            let (generation, old) = (refused.metadata.generation, refused.conditions());
            let why = (refused.reason, refused.message.clone());
            let status = status::refused(generation, old, why, now);
            self.leading()?;
            self.applier
                .status(&refused.metadata, refused.status.as_ref(), &status)
                .await?;
        }
        self.metrics.show(shown.iter());
        for refused in &policies.refused {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let metadata = &refused.metadata;
            let (namespace, name) = (text(&metadata.namespace), text(&metadata.name));
            self.metrics.refused(&namespace, &name);
        }
        Ok(())
    }

    fn leading(&self) -> Result<(), Error> {
        if self.leading.now() {
            Ok(())
        } else {
            Err(Error::NotLeading)
        }
    }
}

/// Every valid policy with its conflicts; one that is suspended has none.
fn of_all(policies: &Policies) -> Vec<(&RetentionPolicy, Vec<k8s_api::Conflict>)> {
    let ranked = k8s_api::ranked(&policies.valid);
    let conflicts = conflicts::conflicts(&ranked);
    let suspended = policies.valid.iter().filter(|policy| policy.spec.suspend);
    let suspended = suspended.map(|policy| (policy, Vec::new()));
    ranked.into_iter().zip(conflicts).chain(suspended).collect()
}

/// What is written into an object has whole seconds.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn pause(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = due.map(|due| due.duration_since(now).unsigned_abs());
    until.map_or(LOOK, |until| until.clamp(SETTLE, LOOK))
}

#[cfg(test)]
pub(crate) mod tests;
