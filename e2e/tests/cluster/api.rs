//! A client of the Kubernetes API over HTTP, for polling: one kubectl process per poll would take
//! the cores that the cluster needs.

use reqwest::StatusCode;
use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    proxy: String,
    namespace: String,
}

impl Api {
    pub(crate) fn new(http: reqwest::Client, proxy: &str, namespace: &str) -> Self {
        Self {
            http,
            proxy: proxy.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// Returns an object or a list of `group` (`api/v1`, `apis/apps/v1`); `None` when it does not
    /// exist.
    pub(crate) async fn get(&self, group: &str, path: &str) -> Option<Value> {
        let (proxy, namespace) = (&self.proxy, &self.namespace);
        let url = format!("{proxy}/{group}/namespaces/{namespace}/{path}");
        let answer = self.http.get(&url).send().await.unwrap();
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        let answer = answer.error_for_status().unwrap();
        Some(answer.json().await.unwrap())
    }

    /// Returns the items of a list.
    pub(crate) async fn list(&self, group: &str, path: &str) -> Vec<Value> {
        let list = self.get(group, path).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }
}
