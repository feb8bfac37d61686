//! Compares the rights of a ServiceAccount with its requests in the audit log of the API server.

use std::fs;

use serde_json::Value;

use crate::world::World;

/// Asserts that the account `name` has used every verb of the Role `name` and was never refused.
/// Does nothing on a cluster that `cargo xtask e2e` did not start, whose audit log cannot be read.
pub(crate) async fn assert_every_right_is_used(world: &World, name: &str) {
    let Some(log) = &world.setting.audit_log else {
        return;
    };
    let user = format!("system:serviceaccount:{}:{name}", world.namespace);
    let log = fs::read_to_string(log).unwrap();
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let own: Vec<Value> = events
        .filter(|event: &Value| event["user"]["username"] == *user)
        .collect();
    let refused: Vec<_> = own.iter().filter(|event| code(event) == 403).collect();
    assert!(
        refused.is_empty(),
        "the operator lacks a right: {refused:?}"
    );

    let role = format!("roles/{name}");
    let role = world
        .api
        .get("apis/rbac.authorization.k8s.io/v1", &role)
        .await
        .unwrap();
    let rights: Vec<Right> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(rights_of)
        .collect();
    let unused: Vec<_> = rights
        .iter()
        .filter(|right| !own.iter().any(|event| right.allowed(event)))
        .collect();
    assert!(
        unused.is_empty() && !rights.is_empty(),
        "these rights are not used: {unused:?}"
    );
}

/// One right of a Role: a verb on a resource.
#[derive(Debug)]
struct Right {
    group: String,
    /// The resource with its subresource, for example `pods/log`.
    resource: String,
    /// The names of the objects; empty means all.
    names: Vec<String>,
    verb: String,
}

fn rights_of(rule: &Value) -> Vec<Right> {
    let texts = |name: &str| -> Vec<String> {
        let list = rule[name].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(ToOwned::to_owned))
            .collect()
    };
    let mut rights = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            rights.extend(texts("verbs").into_iter().map(|verb| Right {
                group: group.clone(),
                resource: resource.clone(),
                names: texts("resourceNames"),
                verb,
            }));
        }
    }
    rights
}

impl Right {
    /// Returns whether the request of `event` succeeded by this right.
    fn allowed(&self, event: &Value) -> bool {
        let object = &event["objectRef"];
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            sub => format!("{}/{sub}", text("resource")),
        };
        // A server-side apply that creates an object is one request and needs both rights.
        let created = event["verb"] == "patch" && code(event) == 201;
        (text("apiGroup"), resource.as_str()) == (self.group.as_str(), self.resource.as_str())
            && (self.names.is_empty() || self.names.iter().any(|name| name == text("name")))
            && (event["verb"] == *self.verb || (created && self.verb == "create"))
            && code(event) < 400
    }
}

fn code(event: &Value) -> i64 {
    event["responseStatus"]["code"].as_i64().unwrap_or_default()
}
