//! Reads from the API server: policies, tenant bindings, the stored state, the own Deployment.

use k8s_api::{RetentionPolicy, Status, TenantBinding, condition as c};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use tracing::warn;

use super::{Error, grace::GraceState};
use crate::config::Config;

/// Key of the state in the ConfigMap of the rules.
pub(super) const STATE: &str = "state.json";

/// Reader of the objects that a pass starts from.
pub(crate) struct Reader {
    client: Client,
    policies: Api<DeserializeGuard<RetentionPolicy>>,
    maps: Api<ConfigMap>,
    deployments: Api<Deployment>,
    bindings: Option<Api<DeserializeGuard<TenantBinding>>>,
    namespace: String,
    /// The highest priority of a policy outside `namespace`.
    max_priority: i32,
    config_map: String,
}

/// All policies except those being deleted, valid and refused.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) valid: Vec<RetentionPolicy>,
    pub(crate) refused: Vec<RefusedPolicy>,
}

/// A policy that is ignored because it is invalid or cannot be parsed.
#[derive(Debug)]
pub(crate) struct RefusedPolicy {
    pub(crate) metadata: ObjectMeta,
    pub(crate) status: Option<Status>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl RefusedPolicy {
    pub(crate) fn conditions(&self) -> &[Condition] {
        let status = self.status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }
}

impl Reader {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        Self {
            client: client.clone(),
            policies: policies(client.clone(), config),
            maps: Api::namespaced(client.clone(), &config.namespace),
            deployments: Api::namespaced(client.clone(), &config.namespace),
            bindings: config.all_namespaces.then(|| Api::all(client)),
            namespace: config.namespace.clone(),
            max_priority: config.max_priority,
            config_map: config.config_map.clone(),
        }
    }

    /// Lists and validates the policies, each narrowed to the tenants of its namespace.
    pub(crate) async fn policies(&self) -> Result<Policies, Error> {
        let policies = self.listed().await?;
        let bindings = self.bindings().await?;
        Ok(match bindings {
            Some(bindings) => policies.bound_by(&bindings, &self.namespace, self.max_priority),
            None => policies,
        })
    }

    async fn listed(&self) -> Result<Policies, Error> {
        let list = self.policies.list(&ListParams::default()).await;
        let mut policies = Policies::default();
        for guarded in list.map_err(read_error("policies"))?.items {
            match guarded.0 {
                Ok(policy) if policy.metadata.deletion_timestamp.is_some() => {}
                Ok(policy) => policies.add(policy),
                Err(invalid) => policies.refused.push(self.unreadable(invalid).await?),
            }
        }
        Ok(policies)
    }

    /// Describes a policy whose spec cannot be parsed; its status may still be.
    async fn unreadable(&self, invalid: InvalidObject) -> Result<RefusedPolicy, Error> {
        let InvalidObject { error, metadata } = invalid;
        let name = metadata.name.as_deref().unwrap_or_default();
        let resource = ApiResource::erase::<RetentionPolicy>(&());
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let object = api.get_opt(name).await.map_err(read_error("a policy"))?;
        let status = object.and_then(|object| object.data.get("status").cloned());
        Ok(RefusedPolicy {
            status: status.and_then(|status| serde_json::from_value(status).ok()),
            metadata,
            reason: c::UNREADABLE,
            message: format!("this version cannot read the policy: {error}"),
        })
    }

    /// Reads the state of the last pass. `None` when there is none, or when it cannot be parsed.
    pub(crate) async fn state(&self) -> Result<Option<GraceState>, Error> {
        let map = self.maps.get_opt(&self.config_map).await;
        let map = map.map_err(read_error("the ConfigMap of the rules"))?;
        let json = map.and_then(|map| map.data?.remove(STATE));
        let Some(json) = json else {
            return Ok(None);
        };
        match serde_json::from_str(&json) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "stored state cannot be parsed, starting without it"
                );
                Ok(None)
            }
        }
    }

    /// Lists the bindings. `None` when only one namespace is watched, which needs none. One that cannot
    /// be parsed binds nothing: what this version does not know of it may forbid something.
    async fn bindings(&self) -> Result<Option<Vec<TenantBinding>>, Error> {
        let Some(api) = &self.bindings else {
            return Ok(None);
        };
        let list = api.list(&ListParams::default()).await;
        let list = list.map_err(read_error("tenant bindings"))?;
        let readable = list.items.into_iter().filter_map(|guarded| {
            let read = guarded.0.inspect_err(|invalid| {
                warn!(
                    name = invalid.metadata.name,
                    error = invalid.error,
                    "tenant binding cannot be parsed, its namespace is not bound"
                );
            });
            read.ok()
        });
        Ok(Some(readable.collect()))
    }

    /// Reads the uid of the Deployment `name`. `None` when it does not exist.
    pub(crate) async fn deployment_uid(&self, name: &str) -> Result<Option<String>, Error> {
        let deployment = self.deployments.get_opt(name).await;
        let deployment = deployment.map_err(read_error("the operator's Deployment"))?;
        Ok(deployment.and_then(|own| own.metadata.uid))
    }
}

/// The API that lists and watches the policies, in one namespace or in all.
pub(crate) fn policies(client: Client, config: &Config) -> Api<DeserializeGuard<RetentionPolicy>> {
    match config.all_namespaces {
        true => Api::all(client),
        false => Api::namespaced(client, &config.namespace),
    }
}

impl Policies {
    fn add(&mut self, policy: RetentionPolicy) {
        let violations = k8s_api::validate(&policy);
        if violations.is_empty() {
            return self.valid.push(policy);
        }
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        self.refused.push(RefusedPolicy {
            metadata: policy.metadata,
            status: policy.status,
            reason: c::INVALID_SPEC,
            message: lines.join("; "),
        });
    }
}

fn read_error(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Read {
        what,
        source: Box::new(source),
    }
}
