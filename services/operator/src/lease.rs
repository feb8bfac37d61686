//! Which replica writes: the one that holds the Lease. Losing it stops the writing.

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

/// A holder that has not been heard of for so long has lost it.
const DURATION: Duration = Duration::from_secs(15);
/// The holder stops writing before another may begin.
const TRUST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

/// Whether this replica may write; up to which moment, so that a stalled process knows by itself.
#[derive(Clone, Debug)]
pub(crate) struct Leading(watch::Receiver<Option<Instant>>);

impl Leading {
    pub(crate) fn now(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Comes back when the answer may be another one.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(test)]
    pub(crate) fn always() -> Self {
        let far = Instant::now() + Duration::from_secs(3600);
        Self(watch::channel(Some(far)).1)
    }
}

pub(crate) struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    leading: watch::Sender<Option<Instant>>,
    /// The record that was seen last, and since when it has not changed: no two clocks are compared.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do about the Lease as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// `quiet` is for how long the record has not changed.
pub(crate) fn step(lease: Option<&LeaseSpec>, identity: &str, quiet: Duration) -> Step {
    let Some(lease) = lease else {
        return Step::Create;
    };
    match lease.holder_identity.as_deref() {
        Some(holder) if holder == identity => Step::Renew,
        None | Some("") => Step::TakeOver,
        Some(_) if quiet >= DURATION => Step::TakeOver,
        Some(_) => Step::Wait,
    }
}

impl Elector {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> (Self, Leading) {
        let (leading, receiver) = watch::channel(None);
        let elector = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            leading,
            seen: None,
        };
        (elector, Leading(receiver))
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut timer = time::interval(LOOK);
        timer.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = timer.tick() => {}
            }
            let asked = Instant::now();
            match time::timeout(TRUST, self.look()).await {
                Ok(Ok(true)) => self.lead(Some(asked + TRUST)),
                Ok(Ok(false)) => self.lead(None),
                Ok(Err(error)) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the lease cannot be renewed"
                    );
                }
                Err(_) => warn!("the API server does not answer"),
            }
        }
        if self.leading.borrow().is_some() {
            self.lead(None);
            let _ = time::timeout(LOOK, self.release()).await;
        }
        Ok(())
    }

    fn lead(&self, until: Option<Instant>) {
        let led = self.leading.send_replace(until).is_some();
        if led != until.is_some() {
            info!(holder = self.identity, leading = !led, "lease");
        }
    }

    /// Whether the Lease is held now.
    async fn look(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let spec = lease.as_ref().and_then(|lease| lease.spec.clone());
        let quiet = self.quiet(spec.as_ref());
        let step = step(spec.as_ref(), &self.identity, quiet);
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(false),
            (_, Some(mut lease)) => {
                lease.spec = Some(self.record(spec.as_ref(), Timestamp::now()));
                // The resource version goes along: of two that try, one fails.
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
            (_, None) => self.api.create(&PostParams::default(), &self.fresh()).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn quiet(&mut self, spec: Option<&LeaseSpec>) -> Duration {
        match (&self.seen, spec) {
            (Some((seen, since)), Some(spec)) if seen == spec => since.elapsed(),
            (_, spec) => {
                self.seen = spec.map(|spec| (spec.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn fresh(&self) -> Lease {
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
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: own
                .and_then(|own| own.acquire_time.clone())
                .or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if own.is_some() { changes } else { changes + 1 }),
            ..LeaseSpec::default()
        }
    }

    /// So that the other replica need not wait.
    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        let held = lease.spec.as_mut();
        let Some(spec) = held.filter(|own| own.holder_identity.as_ref() == Some(&self.identity))
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
    use super::{DURATION, Duration, LeaseSpec, Step, step};

    #[test]
    fn the_lease_is_taken_when_it_is_free_or_its_holder_is_silent() {
        let lease = |holder: Option<&str>| LeaseSpec {
            holder_identity: holder.map(ToOwned::to_owned),
            ..LeaseSpec::default()
        };
        let other = lease(Some("b"));
        let soon = Duration::from_secs(1);
        assert_eq!(step(None, "a", soon), Step::Create);
        assert_eq!(step(Some(&lease(Some("a"))), "a", soon), Step::Renew);
        assert_eq!(step(Some(&lease(None)), "a", soon), Step::TakeOver);
        assert_eq!(step(Some(&lease(Some(""))), "a", soon), Step::TakeOver);
        assert_eq!(step(Some(&other), "a", soon), Step::Wait);
        assert_eq!(step(Some(&other), "a", DURATION), Step::TakeOver);
    }
}
