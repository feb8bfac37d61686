//! Writes to the API server: server-side apply, each kind with all the fields that are ours.

use k8s_api::{RetentionPolicy, Status};
use k8s_openapi::{
    api::{
        batch::v1::CronJob,
        core::v1::{ConfigMap, ObjectReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::events::{Recorder, Reporter},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use tracing::warn;

use super::{Error, describe, events, grace::GraceState, read::STATE};
use crate::{config::Config, lease::Leadership};

const MANAGER: &str = "isotherm-operator";
const STATUS_MANAGER: &str = "isotherm-operator-status";
/// Interval at which an unchanged CronJob is applied again, which reverts edits by hand.
const REAPPLY_INTERVAL: Duration = Duration::from_secs(60);

/// Writer of the objects that the operator owns, and of the statuses.
pub(crate) struct Applier {
    client: Client,
    namespace: String,
    config_map: String,
    recorder: Recorder,
    leadership: Leadership,
    /// The CronJob that was applied last, and when.
    cron_job: Option<(Value, Instant)>,
}

impl Applier {
    pub(crate) fn new(client: Client, config: &Config, leadership: Leadership) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(config.identity.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            namespace: config.namespace.clone(),
            config_map: config.config_map.clone(),
            leadership,
            cron_job: None,
        }
    }

    /// Writes the state to the ConfigMap, with the rules in a readable form beside it.
    pub(crate) async fn state(&self, state: &GraceState) -> Result<(), Error> {
        if !self.leadership.is_leader() {
            return Err(Error::NotLeading);
        }
        let rules = state.rules();
        let pending = state.pending().into_iter().map(|own| {
            let (tier, until) = (own.what.tier, own.until);
            let from = describe::tier(&rules, &own.what.from, tier, true);
            let to = describe::tier(&rules, &own.what.to, tier, false);
            format!("{tier}: {from} until {until}, then {to}\n")
        });
        let map = json!({
            "apiVersion": ConfigMap::api_version(&()),
            "kind": ConfigMap::kind(&()),
            "metadata": {
                "name": self.config_map,
                "labels": {"app.kubernetes.io/managed-by": MANAGER, "app.kubernetes.io/part-of": "isotherm"},
            },
            "data": {
                "hash": rules.hash(),
                "pending": pending.collect::<String>(),
                "rules.json": rules.canonical_json(),
                STATE: serde_json::to_string(state).expect("a state always has a JSON form"),
            },
        });
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let applied = api
            .patch(&self.config_map, &params, &Patch::Apply(map))
            .await;
        applied.map_err(write_error("the ConfigMap of the rules"))?;
        Ok(())
    }

    /// Applies the archiver's CronJob `name`. The inner error says why the API server refuses it: only
    /// an edit of a policy or of the chart's values repairs that.
    pub(crate) async fn cron_job(
        &mut self,
        name: &str,
        job: Value,
    ) -> Result<Result<(), String>, Error> {
        if self
            .cron_job
            .as_ref()
            .is_some_and(|(old, at)| *old == job && at.elapsed() < REAPPLY_INTERVAL)
        {
            return Ok(Ok(()));
        }
        let api = Api::<CronJob>::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply(MANAGER).force();
        match api.patch(name, &params, &Patch::Apply(&job)).await {
            Ok(_) => {
                self.cron_job = Some((job, Instant::now()));
                Ok(Ok(()))
            }
            // For example a schedule such as February 30th.
            Err(kube::Error::Api(refusal)) if refusal.code == 422 => {
                Ok(Err(refusal.message.clone()))
            }
            Err(error) => Err(write_error("the archiver's CronJob")(error)),
        }
    }

    /// Writes the status when it has changed, and publishes an event for each transition.
    pub(crate) async fn status(
        &self,
        metadata: &ObjectMeta,
        old: Option<&Status>,
        new: &Status,
    ) -> Result<(), Error> {
        let json =
            |status: &Status| serde_json::to_value(status).expect("a status has a JSON form");
        if old.is_some_and(|old| json(old) == json(new)) {
            return Ok(());
        }
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata
            .namespace
            .clone()
            .unwrap_or_else(|| self.namespace.clone());
        let resource = ApiResource::erase::<RetentionPolicy>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &namespace, &resource);
        let patch = json!({
            "apiVersion": RetentionPolicy::api_version(&()),
            "kind": RetentionPolicy::kind(&()),
            "metadata": {"name": name, "namespace": namespace},
            "status": json(new),
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match api.patch_status(&name, &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            // The policy was deleted meanwhile.
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(()),
            Err(error) => return Err(write_error("a status")(error)),
        }
        self.publish_events(metadata, &namespace, old, new).await;
        Ok(())
    }

    /// Publishes best-effort: a failure is logged and does not fail the pass.
    async fn publish_events(
        &self,
        metadata: &ObjectMeta,
        namespace: &str,
        old: Option<&Status>,
        new: &Status,
    ) {
        let reference = ObjectReference {
            api_version: Some(RetentionPolicy::api_version(&()).into_owned()),
            kind: Some(RetentionPolicy::kind(&()).into_owned()),
            name: metadata.name.clone(),
            namespace: Some(namespace.to_owned()),
            uid: metadata.uid.clone(),
            ..ObjectReference::default()
        };
        for event in events::between(old, new) {
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "event not published"
                );
            }
        }
    }
}

fn write_error(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Write {
        what,
        source: Box::new(source),
    }
}
