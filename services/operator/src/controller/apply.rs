//! Writes to the API server: server-side apply, each kind with all the fields that are ours.

use k8s_api::{ArchiveStatus, RetentionPolicy, Status};
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

use super::{
    Error, archive, describe, events,
    grace::State,
    read::{STATE, Template},
};
use crate::{config::Config, lease::Leading};

const MANAGER: &str = "isotherm-operator";
const STATUS_MANAGER: &str = "isotherm-operator-status";
/// What somebody changed by hand is as it should be again after so long.
const REAPPLY: Duration = Duration::from_secs(60);

pub(crate) struct Applier {
    client: Client,
    namespace: String,
    config_map: String,
    archiver_template: String,
    recorder: Recorder,
    leading: Leading,
    /// The CronJob that was applied last.
    cron_job: Option<(Value, Instant)>,
}

impl Applier {
    pub(crate) fn new(client: Client, config: &Config, leading: Leading) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(config.identity.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            namespace: config.namespace.clone(),
            config_map: config.config_map.clone(),
            archiver_template: config.archiver_template.clone(),
            leading,
            cron_job: None,
        }
    }

    /// The state, and the rules in a form to look at.
    pub(crate) async fn state(&self, state: &State) -> Result<(), Error> {
        if !self.leading.now() {
            return Err(Error::NotLeading);
        }
        let rules = state.rules();
        let waits = state.pending().into_iter().map(|own| {
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
                "pending": waits.collect::<String>(),
                "rules.json": rules.canonical_json(),
                STATE: serde_json::to_string(state).expect("a state always has a JSON form"),
            },
        });
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply(MANAGER).force();
        let applied = api
            .patch(&self.config_map, &params, &Patch::Apply(map))
            .await;
        applied.map_err(writing("the ConfigMap of the rules"))?;
        Ok(())
    }

    /// Applies the archiver's CronJob; inside is why the template is no CronJob.
    pub(crate) async fn cron_job(
        &mut self,
        template: &Template,
        archive: &ArchiveStatus,
    ) -> Result<Result<(), String>, Error> {
        let owner = (self.archiver_template.as_str(), template.uid.as_str());
        let job = match archive::cron_job(&template.yaml, &self.namespace, owner, archive) {
            Ok(job) => job,
            Err(problem) => return Ok(Err(problem)),
        };
        if self
            .cron_job
            .as_ref()
            .is_some_and(|(old, at)| *old == job && at.elapsed() < REAPPLY)
        {
            return Ok(Ok(()));
        }
        let name = job["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let api = Api::<CronJob>::namespaced(self.client.clone(), &self.namespace);
        let params = PatchParams::apply(MANAGER).force();
        match api.patch(&name, &params, &Patch::Apply(&job)).await {
            Ok(_) => {
                self.cron_job = Some((job, Instant::now()));
                Ok(Ok(()))
            }
            // A schedule that no clock ever shows, for example: only an edit can repair it.
            Err(kube::Error::Api(refusal)) if refusal.code == 422 => {
                Ok(Err(refusal.message.clone()))
            }
            Err(error) => Err(writing("the archiver's CronJob")(error)),
        }
    }

    /// Writes the status when it is another one, and tells of what changed.
    pub(crate) async fn status(
        &self,
        metadata: &ObjectMeta,
        old: Option<&Status>,
        new: &Status,
    ) -> Result<(), Error> {
        let form =
            |status: &Status| serde_json::to_value(status).expect("a status has a JSON form");
        if old.is_some_and(|old| form(old) == form(new)) {
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
            "status": form(new),
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match api.patch_status(&name, &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            // Deleted meanwhile.
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(()),
            Err(error) => return Err(writing("a status")(error)),
        }
        self.tell(metadata, &namespace, old, new).await;
        Ok(())
    }

    /// Events are for people; losing one stops nothing.
    async fn tell(
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
        for event in events::of(old, new) {
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                warn!(error = &error as &dyn std::error::Error, "an event is lost");
            }
        }
    }
}

fn writing(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Write {
        what,
        source: Box::new(source),
    }
}
