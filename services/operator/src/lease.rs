//! Leader election by a Lease: only the holder writes, and it stops when it loses the Lease. The
//! durations are the defaults of client-go.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Time after which another replica may take over a Lease that its holder has not renewed.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Time after its last renewal at which the holder stops writing; less than [`LEASE_DURATION`], so that
/// it stops before another replica begins.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Interval between attempts to acquire or renew the Lease.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// Says until when this replica may write: a deadline, so that a stalled process notices by itself that
/// it has lost the Lease.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    pub(crate) fn is_leader(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the deadline was set or cleared.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(test)]
    /// A leadership that lasts longer than any test.
    pub(crate) fn always() -> Self {
        let far = Instant::now() + Duration::from_secs(3600);
        Self(watch::channel(Some(far)).1)
    }
}

/// The task that acquires, renews and releases the Lease.
pub(crate) struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    deadline: watch::Sender<Option<Instant>>,
    /// The last record read, and since when it has not changed by this process's clock: clocks of two
    /// machines are never compared.
    observed: Option<(LeaseSpec, Instant)>,
}

/// The next action of a replica on the Lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LeaseAction {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// Decides by the Lease as it was read; `unchanged_for` is the time since its record last changed.
pub(crate) fn next_action(
    lease: Option<&LeaseSpec>,
    identity: &str,
    unchanged_for: Duration,
) -> LeaseAction {
    let Some(lease) = lease else {
        return LeaseAction::Create;
    };
    match lease.holder_identity.as_deref() {
        Some(holder) if holder == identity => LeaseAction::Renew,
        None | Some("") => LeaseAction::TakeOver,
        Some(_) if unchanged_for >= LEASE_DURATION => LeaseAction::TakeOver,
        Some(_) => LeaseAction::Wait,
    }
}

impl Elector {
    /// Returns the elector and the leadership that follows it.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> (Self, Leadership) {
        let (deadline, receiver) = watch::channel(None);
        let elector = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            deadline,
            observed: None,
        };
        (elector, Leadership(receiver))
    }

    /// Runs until `shutdown`, then releases the Lease if this replica holds it.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut timer = time::interval(RETRY_PERIOD);
        timer.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = timer.tick() => {}
            }
            let started = Instant::now();
            match time::timeout(RENEW_DEADLINE, self.try_acquire_or_renew()).await {
                Ok(Ok(true)) => self.set_deadline(Some(started + RENEW_DEADLINE)),
                Ok(Ok(false)) => self.set_deadline(None),
                Ok(Err(error)) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "lease renewal failed, will retry"
                    );
                }
                Err(_) => warn!("lease renewal timed out, will retry"),
            }
        }
        if self.deadline.borrow().is_some() {
            self.set_deadline(None);
            let _ = time::timeout(RETRY_PERIOD, self.release()).await;
        }
        Ok(())
    }

    fn set_deadline(&self, until: Option<Instant>) {
        let was_leader = self.deadline.send_replace(until).is_some();
        if was_leader != until.is_some() {
            info!(
                holder = self.identity,
                leading = !was_leader,
                "leadership changed"
            );
        }
    }

    /// Reads the Lease and takes or renews it where possible; true when this replica holds it.
    async fn try_acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        let unchanged_for = self.unchanged_for(spec.as_ref());
        let next_action = next_action(spec.as_ref(), &self.identity, unchanged_for);
        let written = match (next_action, lease) {
            (LeaseAction::Wait, _) => return Ok(false),
            (_, Some(mut lease)) => {
                lease.spec = Some(self.record(spec.as_ref(), Timestamp::now()));
                // The resource version is part of the request: of two concurrent writers, one fails.
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
            (_, None) => {
                self.api
                    .create(&PostParams::default(), &self.new_lease())
                    .await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes the record read, and returns for how long it has not changed.
    fn unchanged_for(&mut self, spec: Option<&LeaseSpec>) -> Duration {
        match (&self.observed, spec) {
            (Some((observed, since)), Some(spec)) if observed == spec => since.elapsed(),
            (_, spec) => {
                self.observed = spec.map(|spec| (spec.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn new_lease(&self) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.record(None, Timestamp::now())),
        }
    }

    fn record(&self, old: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let own = old.filter(|old| old.holder_identity.as_ref() == Some(&self.identity));
        let changes = old
            .and_then(|old| old.lease_transitions)
            .unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: own
                .and_then(|own| own.acquire_time.clone())
                .or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if own.is_some() { changes } else { changes + 1 }),
            ..LeaseSpec::default()
        }
    }

    /// Clears the holder, so that another replica need not wait for [`LEASE_DURATION`].
    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.as_mut();
        let Some(spec) = spec.filter(|own| own.holder_identity.as_ref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = None;
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, LEASE_DURATION, LeaseAction, LeaseSpec, next_action};

    #[test]
    fn the_lease_is_taken_when_it_is_free_or_was_not_renewed() {
        let lease = |holder: Option<&str>| LeaseSpec {
            holder_identity: holder.map(ToOwned::to_owned),
            ..LeaseSpec::default()
        };
        let other = lease(Some("b"));
        let soon = Duration::from_secs(1);
        assert_eq!(next_action(None, "a", soon), LeaseAction::Create);
        assert_eq!(
            next_action(Some(&lease(Some("a"))), "a", soon),
            LeaseAction::Renew
        );
        assert_eq!(
            next_action(Some(&lease(None)), "a", soon),
            LeaseAction::TakeOver
        );
        assert_eq!(
            next_action(Some(&lease(Some(""))), "a", soon),
            LeaseAction::TakeOver
        );
        assert_eq!(next_action(Some(&other), "a", soon), LeaseAction::Wait);
        assert_eq!(
            next_action(Some(&other), "a", LEASE_DURATION),
            LeaseAction::TakeOver
        );
    }
}
