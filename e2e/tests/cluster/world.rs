//! One release in its own namespace, in which only restricted pods may run.

use std::{path::Path, sync::Once, thread, time::Duration};

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    api::Api,
    client::Client,
    kubectl::{self, Proxy, helm, kubectl},
    setting::{Setting, setting},
};

pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(400);
pub(crate) const RELEASE: &str = "isotherm";

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) setting: Setting,
    pub(crate) client: Client,
    pub(crate) api: Api,
    _proxy: Proxy,
}

impl World {
    /// Installs the chart of this tree in a new namespace and waits until it is ready.
    pub(crate) async fn install(name: &str) -> Self {
        Self::install_with(name, &[]).await
    }

    /// Installs like [`World::install`], with more arguments for helm.
    pub(crate) async fn install_with(name: &str, more: &[&str]) -> Self {
        let world = Self::empty(name);
        world.helm("install", &world.chart(), more);
        world.until_ready().await;
        world
    }

    /// Creates an empty namespace, in a cluster with the definition of RetentionPolicy.
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
        // Once: the definitions belong to the cluster, so all scenarios share them.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| world.install_definitions());
        world
    }

    pub(crate) fn install_definitions(&self) {
        let chart = self.setting.root.join("charts/isotherm-crds");
        let args = ["isotherm-crds", chart.to_str().unwrap()];
        helm("upgrade --install --namespace default", &args);
    }

    /// Returns the path of the chart of this tree.
    pub(crate) fn chart(&self) -> String {
        let chart = self.setting.root.join("charts/isotherm");
        chart.to_str().unwrap().to_owned()
    }

    /// Runs `helm install` or `helm upgrade` with `chart` and the values of the scenarios.
    pub(crate) fn helm(&self, verb: &str, chart: &str, more: &[&str]) {
        // Those of the tree that the chart is of: an earlier chart does not have the values of a later one.
        let tree = Path::new(chart).ancestors().nth(2).unwrap();
        let values = tree.join("e2e/tests/cluster/values.yaml");
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

    /// Runs kubectl with the words of `line`, then `rest`, which may contain spaces.
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
        self.try_apply_with("apply --server-side", objects).unwrap();
    }

    /// Runs kubectl with the words of `line` on `objects`. Returns its stderr on failure.
    pub(crate) fn try_apply_with(&self, line: &str, objects: &str) -> Result<(), String> {
        kubectl::try_kubectl_stdin(&format!("--namespace {} {line}", self.namespace), objects)
    }

    /// Waits until every Deployment and StatefulSet is rolled out.
    pub(crate) async fn until_ready(&self) {
        eventually_within(WAIT_TIMEOUT, "everything is ready", async || {
            let mut sets = self.api.list("apis/apps/v1", "deployments").await;
            sets.extend(self.api.list("apis/apps/v1", "statefulsets").await);
            sets.iter().all(is_rolled_out)
        })
        .await;
    }

    /// Runs the CLI of our image in a pod with the network access of the operator; returns its
    /// output.
    pub(crate) async fn run_cli(&self, name: &str, args: &str) -> String {
        self.apply(&self.cli_pod(name, args));
        eventually_within(WAIT_TIMEOUT, &format!("pod {name} succeeds"), async || {
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

    /// Prints the objects and logs that are needed first after a failure.
    fn diagnose(&self) {
        let mut report = format!("\n---- namespace {}\n", self.namespace);
        let logs_without = |components: &[&str]| {
            let others = components
                .iter()
                .map(|name| format!(",app.kubernetes.io/component!={name}"));
            format!(
                "logs --selector app.kubernetes.io/instance{} --all-containers --prefix --tail 20 --ignore-errors",
                others.collect::<String>()
            )
        };
        let services = [
            "archiver",
            "compactor",
            "hot-writer",
            "ingest",
            "operator",
            "query",
        ];
        let servers = ["nats", "valkey", "seaweedfs"];
        let watermarks = format!(
            "get --raw /api/v1/namespaces/{}/services/{RELEASE}-query:http/proxy/v1/watermarks",
            self.namespace
        );
        // What tells most comes last: the middle of a long report may be cut.
        for line in [
            "get retentionpolicies --output yaml",
            "get events --sort-by .lastTimestamp",
            &logs_without(&services),
            &logs_without(&servers),
            "get pods,jobs,cronjobs,pvc --output wide",
            &watermarks,
        ] {
            let answer = self.try_kubectl(line).unwrap_or_else(|error| error);
            report.push_str(&format!("---- kubectl {line}\n{answer}"));
        }
        // In one write: other scenarios print at the same time.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes());
    }
}

/// Whether `set` is rolled out, by the rules of `kubectl rollout status`.
fn is_rolled_out(set: &Value) -> bool {
    let (status, replicas) = (&set["status"], set["spec"]["replicas"].as_i64());
    let count = |name: &str| status[name].as_i64().or(Some(0));
    let current = match status["updateRevision"].as_str() {
        Some(updated) => status["currentRevision"] == updated,
        None => count("updatedReplicas") == replicas,
    };
    status["observedGeneration"] == set["metadata"]["generation"]
        && current
        && count("replicas") == replicas
        && count("readyReplicas") == replicas
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
