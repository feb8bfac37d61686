//! What is in the API server.

use k8s_api::{RetentionPolicy, Status, condition as c};
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use tracing::warn;

use super::{Error, grace::State};
use crate::config::Config;

pub(super) const STATE: &str = "state.json";
const TEMPLATE: &str = "cronjob.yaml";

pub(crate) struct Reader {
    client: Client,
    policies: Api<DeserializeGuard<RetentionPolicy>>,
    maps: Api<ConfigMap>,
    config_map: String,
    archiver_template: String,
}

#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) valid: Vec<RetentionPolicy>,
    pub(crate) refused: Vec<Refused>,
}

/// A policy that takes no part.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) metadata: ObjectMeta,
    pub(crate) status: Option<Status>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn conditions(&self) -> &[Condition] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }
}

/// The archiver's template, and the uid of the ConfigMap that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) yaml: String,
    pub(crate) uid: String,
}

impl Reader {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Self {
            client: client.clone(),
            policies: policies(client.clone(), config),
            maps: Api::namespaced(client, &config.namespace),
            config_map: config.config_map.clone(),
            archiver_template: config.archiver_template.clone(),
        }
    }

    pub(crate) async fn policies(&self) -> Result<Policies, Error> {
        let list = self.policies.list(&ListParams::default()).await;
        let mut found = Policies::default();
        for guarded in list.map_err(reading("policies"))?.items {
            match guarded.0 {
                Ok(policy) if policy.metadata.deletion_timestamp.is_some() => {}
                Ok(policy) => found.take(policy),
                Err(invalid) => found.refused.push(self.unreadable(invalid).await?),
            }
        }
        Ok(found)
    }

    /// The status may be readable where the spec is not.
    async fn unreadable(&self, invalid: InvalidObject) -> Result<Refused, Error> {
        let InvalidObject { error, metadata } = invalid;
        let name = metadata.name.as_deref().unwrap_or_default();
        let resource = ApiResource::erase::<RetentionPolicy>(&());
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let object = api.get_opt(name).await.map_err(reading("a policy"))?;
        let status = object.and_then(|object| object.data.get("status").cloned());
        Ok(Refused {
            status: status.and_then(|status| serde_json::from_value(status).ok()),
            metadata,
            reason: c::UNREADABLE,
            message: format!("this version cannot read the policy: {error}"),
        })
    }

    /// `None` when nothing was ever decided.
    pub(crate) async fn state(&self) -> Result<Option<State>, Error> {
        let map = self.maps.get_opt(&self.config_map).await;
        let map = map.map_err(reading("the ConfigMap of the rules"))?;
        let json = map.and_then(|map| map.data?.remove(STATE));
        let Some(json) = json else {
            return Ok(None);
        };
        match serde_json::from_str(&json) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "what was decided is damaged"
                );
                Ok(None)
            }
        }
    }

    /// `None` when the chart brings no archiver.
    pub(crate) async fn template(&self) -> Result<Option<Template>, Error> {
        let map = self.maps.get_opt(&self.archiver_template).await;
        let map = map.map_err(reading("the ConfigMap of the archiver"))?;
        Ok(map.and_then(|map| {
            let yaml = map.data?.remove(TEMPLATE)?;
            let uid = map.metadata.uid?;
            Some(Template { yaml, uid })
        }))
    }
}

pub(crate) fn policies(client: Client, config: &Config) -> Api<DeserializeGuard<RetentionPolicy>> {
    match config.all_namespaces {
        true => Api::all(client),
        false => Api::namespaced(client, &config.namespace),
    }
}

impl Policies {
    fn take(&mut self, policy: RetentionPolicy) {
        let violations = k8s_api::validate(&policy);
        if violations.is_empty() {
            return self.valid.push(policy);
        }
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        self.refused.push(Refused {
            metadata: policy.metadata,
            status: policy.status,
            reason: c::INVALID_SPEC,
            message: lines.join("; "),
        });
    }
}

fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Read {
        what,
        source: Box::new(source),
    }
}
