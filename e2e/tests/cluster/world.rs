//! One release in a namespace of its own, where only restricted pods may run.

use std::{sync::Once, thread, time::Duration};

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    api::Api,
    client::Client,
    kubectl::{self, Proxy, helm, kubectl},
    setting::{Setting, setting},
};

pub(crate) const LONG: Duration = Duration::from_secs(400);
pub(crate) const RELEASE: &str = "isotherm";

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) setting: Setting,
    pub(crate) client: Client,
    pub(crate) api: Api,
    _proxy: Proxy,
}

impl World {
    /// The chart of this tree, ready.
    pub(crate) async fn install(name: &str) -> Self {
        Self::install_with(name, &[]).await
    }

    /// Likewise, with more arguments of helm.
    pub(crate) async fn install_with(name: &str, more: &[&str]) -> Self {
        let world = Self::empty(name);
        world.helm("install", &world.chart(), more);
        world.until_ready().await;
        world
    }

    /// A namespace with nothing in it, on a cluster that knows policies.
    pub(crate) fn empty(name: &str) -> Self {
        let setting = setting();
        let namespace = format!("e2e-{name}");
        kubectl(&format!("create namespace {namespace}"));
        kubectl(&format!(
            "label namespace {namespace} pod-security.kubernetes.io/enforce=restricted \
             pod-security.kubernetes.io/enforce-version=latest"
        ));
        let proxy = Proxy::start();
        let client = Client::new(&proxy.url, &namespace);
        let world = Self {
            api: Api::new(client.http.clone(), &proxy.url, &namespace),
            client,
            _proxy: proxy,
            namespace,
            setting,
        };
        // They are the whole cluster's, and so all scenarios'.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| world.install_definitions());
        world
    }

    pub(crate) fn install_definitions(&self) {
        let chart = self.setting.root.join("charts/isotherm-crds");
        let args = ["isotherm-crds", chart.to_str().unwrap()];
        helm("upgrade --install --namespace default", &args);
    }

    /// The chart of this tree.
    pub(crate) fn chart(&self) -> String {
        let chart = self.setting.root.join("charts/isotherm");
        chart.to_str().unwrap().to_owned()
    }

    /// `helm install` or `helm upgrade` of `chart` with the values of the scenarios.
    pub(crate) fn helm(&self, verb: &str, chart: &str, more: &[&str]) {
        let values = self.setting.root.join("e2e/tests/cluster/values.yaml");
        let values = values.to_str().unwrap();
        let mut set = vec![
            format!("image.repository={}", self.setting.repository),
            format!("image.tag={}", self.setting.tag),
        ];
        if self.setting.local_servers {
            let server = |name: &str| format!("dev.{name}.image=localhost/{name}:1");
            set.extend(["nats", "valkey", "seaweedfs"].map(server));
        }
        let set = set.join(",");
        let mut args = vec![RELEASE, chart, "--values", values, "--set-string", &set];
        args.extend(more);
        helm(&format!("{verb} --namespace {}", self.namespace), &args);
    }

    pub(crate) fn kubectl(&self, line: &str) -> String {
        kubectl(&format!("--namespace {} {line}", self.namespace))
    }

    /// With words that have spaces.
    pub(crate) fn kubectl_with(&self, line: &str, rest: &[&str]) -> String {
        let line = format!("--namespace {} {line}", self.namespace);
        kubectl::run("kubectl", &line, rest)
    }

    pub(crate) fn try_kubectl(&self, line: &str) -> Result<String, String> {
        kubectl::try_run(
            "kubectl",
            &format!("--namespace {} {line}", self.namespace),
            &[],
        )
    }

    pub(crate) fn apply(&self, objects: &str) {
        self.feed("apply --server-side", objects).unwrap();
    }

    /// What kubectl complains about, if it does.
    pub(crate) fn feed(&self, line: &str, objects: &str) -> Result<(), String> {
        kubectl::feed(&format!("--namespace {} {line}", self.namespace), objects)
    }

    /// Every Deployment and StatefulSet has all the pods that it wants, as it wants them now.
    pub(crate) async fn until_ready(&self) {
        eventually_within(LONG, "everything is ready", async || {
            let mut sets = self.api.list("apis/apps/v1", "deployments").await;
            sets.extend(self.api.list("apis/apps/v1", "statefulsets").await);
            sets.iter().all(is_rolled_out)
        })
        .await;
    }

    /// Runs the CLI of our image in a pod that may call what the operator may call; what it says.
    pub(crate) async fn run_cli(&self, name: &str, args: &str) -> String {
        self.apply(&self.cli_pod(name, args));
        eventually_within(LONG, &format!("pod {name} succeeds"), async || {
            let pod = self.api.get("api/v1", &format!("pods/{name}")).await;
            let phase = pod.map(|pod| pod["status"]["phase"].clone());
            phase.is_some_and(|phase| phase == "Succeeded")
        })
        .await;
        self.kubectl(&format!("logs {name}"))
    }

    fn cli_pod(&self, name: &str, args: &str) -> String {
        let Setting {
            repository, tag, ..
        } = &self.setting;
        format!(
            r#"apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: isotherm
    app.kubernetes.io/instance: {RELEASE}
    app.kubernetes.io/component: operator
spec:
  restartPolicy: OnFailure
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: cli
      image: {repository}:{tag}
      args: {args}
      env:
        - {{name: ISOTHERM_URL, value: "http://{RELEASE}-query:7402"}}
        - {{name: ISOTHERM_INGEST_URL, value: "http://{RELEASE}-ingest:7401"}}
        - {{name: ISOTHERM_NATS_URL, value: "nats://{RELEASE}-nats:4222"}}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"#
        )
    }

    /// What a person would look at first.
    fn diagnose(&self) {
        let mut report = format!("\n---- namespace {}\n", self.namespace);
        for line in [
            "get pods,jobs,cronjobs,pvc --output wide",
            "get retentionpolicies --output yaml",
            "get events --sort-by .lastTimestamp",
            "logs --selector app.kubernetes.io/instance --all-containers --prefix --tail 30 --ignore-errors",
        ] {
            let answer = self.try_kubectl(line).unwrap_or_else(|complaint| complaint);
            report.push_str(&format!("---- kubectl {line}\n{answer}"));
        }
        // In one piece: other scenarios write too.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes());
    }
}

/// As `kubectl rollout status` has it.
fn is_rolled_out(set: &Value) -> bool {
    let (status, wanted) = (&set["status"], set["spec"]["replicas"].as_i64());
    let count = |name: &str| status[name].as_i64().or(Some(0));
    let current = match status["updateRevision"].as_str() {
        Some(updated) => status["currentRevision"] == updated,
        None => count("updatedReplicas") == wanted,
    };
    status["observedGeneration"] == set["metadata"]["generation"]
        && current
        && count("replicas") == wanted
        && count("readyReplicas") == wanted
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            self.diagnose();
        }
        if !self.setting.keep {
            let _ = kubectl::try_run(
                "kubectl",
                &format!("delete namespace {} --wait=false", self.namespace),
                &[],
            );
        }
    }
}
