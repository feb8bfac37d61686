//! Brings the services and the statuses in line with the policies:
//!
//! 1. reads every policy; one that cannot be used gets a status that says so and does not block the
//!    others; where several namespaces are watched, each policy is narrowed to the tenants of its own,
//! 2. decides which rules are in force now and which changes wait for their grace period,
//! 3. stores that in the ConfigMap, then publishes the rules to the services: a decision is stored
//!    before it has an effect, so that the next leader knows which grace periods were promised,
//! 4. applies the archiver's CronJob,
//! 5. writes the statuses, even when the event log or the query service was unreachable.
//!
//! Level-triggered: each pass starts from the current objects, not from the events that woke it.

mod apply;
mod archive;
mod binding;
mod conditions;
mod conflicts;
mod describe;
mod events;
pub(crate) mod figures;
mod grace;
mod log;
mod observations;
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
    grace::GraceState,
    log::{LogClient, PublishedRules},
    observations::Observations,
    read::{Policies, Reader},
};
use crate::{config::Config, lease::Leadership, metrics::Metrics};

/// Interval at which acknowledgements and the bindings are read again. Changes of policies
/// wake the controller at once.
const RESYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Wait after a change, so that changes that arrive together are handled in one pass.
const CHANGE_DEBOUNCE: Duration = Duration::from_millis(100);

/// The latest figures, or why they could not be counted; written by the figures task, read by the
/// controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedFigures(pub(crate) Arc<std::sync::Mutex<Option<Result<Figures, String>>>>);

/// Errors that end a pass; the next pass retries.
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
    /// Returns the `reason` label of `reconcile_errors_total`; a closed set.
    fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "ReadFailed",
            Self::Write { .. } => "WriteFailed",
            Self::NotLeading => "NotLeading",
        }
    }
}

/// The reconciler: one instance, run by the task `controller`.
pub(crate) struct Controller {
    pub(crate) reader: Reader,
    pub(crate) applier: Applier,
    pub(crate) log: LogClient,
    pub(crate) metrics: Metrics,
    /// The rules that the figures task counts by.
    pub(crate) rules: watch::Sender<Option<RuleSet>>,
    pub(crate) figures: SharedFigures,
    pub(crate) leadership: Leadership,
    pub(crate) changed: Arc<Notify>,
    config: Config,
}

impl Controller {
    pub(crate) fn new(
        client: Client,
        config: &Config,
        leadership: Leadership,
        metrics: Metrics,
        rules: watch::Sender<Option<RuleSet>>,
    ) -> Self {
        Self {
            reader: Reader::new(client.clone(), config),
            applier: Applier::new(client, config, leadership.clone()),
            log: LogClient::new(&config.nats_url),
            metrics,
            rules,
            figures: SharedFigures::default(),
            leadership,
            changed: Arc::new(Notify::new()),
            config: config.clone(),
        }
    }

    /// Reconciles after each change and every [`RESYNC_INTERVAL`] while this replica leads, until
    /// `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut due = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = self.changed.notified() => time::sleep(CHANGE_DEBOUNCE).await,
                () = self.leadership.changed() => {}
                () = time::sleep(until_next_pass(due, Timestamp::now())) => {}
            }
            if !self.leadership.is_leader() {
                continue;
            }
            let timer = self.metrics.seconds.start_timer();
            match Box::pin(self.reconcile(truncate_to_seconds(Timestamp::now()))).await {
                Ok(next_due) => due = next_due,
                Err(error) => {
                    self.metrics.count_error(error.reason());
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "reconcile failed, will retry"
                    );
                }
            }
            timer.observe_duration();
        }
    }

    /// Runs one pass. Returns when the next grace period ends, `None` when no change waits.
    pub(crate) async fn reconcile(&mut self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let policies = self.reader.policies().await?;
        let stored = self.reader.state().await?;
        let (before, min_grace) = (stored.clone().unwrap_or_default(), self.config.min_grace);
        let state = before.next(&policies.valid, min_grace, now);
        if stored.as_ref() != Some(&state) {
            info!(
                policies = state.applied.len(),
                delayed = state.delayed.len(),
                "rules changed"
            );
            self.applier.state(&state).await?;
        }
        self.ensure_leader()?;
        let published = self.log.publish(&state.rules()).await;
        if published.acks.is_err() {
            self.metrics.count_error("LogUnreachable");
        }
        self.rules.send_if_modified(|rules| {
            let new = rules.as_ref() != Some(&published.rules);
            if new {
                *rules = Some(published.rules.clone());
            }
            new
        });
        let ranked = k8s_api::ranked(&policies.valid);
        let archive = archive::decide(&ranked);
        let applied = self.apply_archiver(&archive).await;
        self.write_statuses(&policies, &state, published, archive, now)
            .await?;
        applied?;
        Ok(state.next_due())
    }

    async fn apply_archiver(&mut self, archive: &ArchiveStatus) -> Result<(), Error> {
        let Some(job) = &self.config.archiver_job else {
            return Ok(());
        };
        let owner = self.reader.deployment_uid(&job.owner).await?;
        self.ensure_leader()?;
        let object = archive::cron_job(job, &self.config.namespace, owner.as_deref(), archive);
        if let Err(problem) = self.applier.cron_job(&job.name, object).await? {
            self.metrics.count_error(c::ARCHIVE_FAILED);
            warn!(problem, "archiver CronJob refused");
        }
        Ok(())
    }

    async fn write_statuses(
        &mut self,
        policies: &Policies,
        state: &GraceState,
        published: PublishedRules,
        archive: ArchiveStatus,
        now: Timestamp,
    ) -> Result<(), Error> {
        let figures = self
            .figures
            .0
            .lock()
            .expect("nothing panics in here")
            .clone();
        let is_current = |figures: &Result<Figures, String>| {
            figures
                .as_ref()
                .map_or(true, |own| own.rules == published.rules.hash())
        };
        let observations = Observations {
            rules: published.rules.clone(),
            hash: published.hash,
            acks: published.acks,
            oldest: published.oldest,
            figures: figures.filter(is_current),
            pending: state.pending(),
            archive,
            min_grace: self.config.min_grace,
            now,
        };
        let mut accepted: Vec<RetentionPolicy> = Vec::new();
        for (policy, conflicts) in conflicts::of_valid(policies) {
            let mut policy = policy.clone();
            let status = status::accepted(&policy, conflicts, &observations);
            self.ensure_leader()?;
            self.applier
                .status(&policy.metadata, policy.status.as_ref(), &status)
                .await?;
            policy.status = Some(status);
            accepted.push(policy);
        }
        for refused in &policies.refused {
            let (generation, old) = (refused.metadata.generation, refused.conditions());
            let why = (refused.reason, refused.message.clone());
            let status = status::refused(generation, old, why, now);
            self.ensure_leader()?;
            self.applier
                .status(&refused.metadata, refused.status.as_ref(), &status)
                .await?;
        }
        self.metrics.show(accepted.iter());
        for refused in &policies.refused {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let metadata = &refused.metadata;
            let (namespace, name) = (text(&metadata.namespace), text(&metadata.name));
            self.metrics.show_refused(&namespace, &name);
        }
        Ok(())
    }

    fn ensure_leader(&self) -> Result<(), Error> {
        if self.leadership.is_leader() {
            Ok(())
        } else {
            Err(Error::NotLeading)
        }
    }
}

/// Times in Kubernetes objects have whole seconds.
fn truncate_to_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The time until the next pass: at `due`, but not sooner than [`CHANGE_DEBOUNCE`] and not later than
/// [`RESYNC_INTERVAL`].
fn until_next_pass(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = due.map(|due| due.duration_since(now).unsigned_abs());
    until.map_or(RESYNC_INTERVAL, |until| {
        until.clamp(CHANGE_DEBOUNCE, RESYNC_INTERVAL)
    })
}

#[cfg(test)]
pub(crate) mod tests;
