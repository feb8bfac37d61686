//! One release in a namespace of its own, where only restricted pods may run.

use std::{thread, time::Duration};

use testkit::eventually_within;

use crate::{
    client::Client,
    kubectl::{self, Proxy, helm, kubectl},
    setting::{Setting, setting},
};

pub(crate) const LONG: Duration = Duration::from_secs(180);
pub(crate) const RELEASE: &str = "isotherm";

pub(crate) struct World {
    pub(crate) namespace: String,
    pub(crate) setting: Setting,
    pub(crate) client: Client,
    _proxy: Proxy,
}

impl World {
    /// The chart of this tree, ready.
    pub(crate) async fn install(name: &str) -> Self {
        let world = Self::empty(name);
        let chart = world.setting.root.join("charts/isotherm");
        world.helm("install", chart.to_str().unwrap(), &[]);
        world.until_ready().await;
        world
    }

    /// A namespace with nothing in it.
    pub(crate) fn empty(name: &str) -> Self {
        let setting = setting();
        let namespace = format!("e2e-{name}");
        kubectl(&format!("create namespace {namespace}"));
        kubectl(&format!(
            "label namespace {namespace} pod-security.kubernetes.io/enforce=restricted \
             pod-security.kubernetes.io/enforce-version=latest"
        ));
        let proxy = Proxy::start();
        Self {
            client: Client::new(&proxy.url, &namespace),
            _proxy: proxy,
            namespace,
            setting,
        }
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

    pub(crate) fn try_kubectl(&self, line: &str) -> Result<String, String> {
        kubectl::try_run(
            "kubectl",
            &format!("--namespace {} {line}", self.namespace),
            &[],
        )
    }

    pub(crate) fn apply(&self, objects: &str) {
        kubectl::apply(&self.namespace, objects).unwrap();
    }

    /// Every Deployment and StatefulSet has all the pods that it wants, as it wants them now.
    pub(crate) async fn until_ready(&self) {
        eventually_within(LONG, "everything is ready", async || {
            let names = self.kubectl("get deployments,statefulsets --output name");
            names.lines().all(|name| {
                self.try_kubectl(&format!("rollout status {name} --timeout 1s"))
                    .is_ok()
            })
        })
        .await;
    }

    /// Puts the policies of a file in force, by the CLI in the cluster.
    pub(crate) async fn set_policy(&self, name: &str, policy: &str) {
        let policy = policy.replace('\n', "\n    ");
        self.apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  policy.yaml: |\n    {policy}\n"
        ));
        // Of all pods only the operator writes policies, as the network policies have it.
        let args = r#"["policy", "apply", "/policy/policy.yaml"]"#;
        let mut pod = self.cli_pod(name, "operator", args);
        pod.push_str(&format!(
            "      volumeMounts: [{{name: policy, mountPath: /policy}}]\n  volumes: [{{name: policy, configMap: {{name: {name}}}}}]\n"
        ));
        self.apply(&pod);
        self.until_succeeded(name).await;
    }

    /// A pod that runs the CLI of our image once, and may call what this component may call.
    pub(crate) fn cli_pod(&self, name: &str, component: &str, args: &str) -> String {
        format!(
            r#"apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: isotherm
    app.kubernetes.io/instance: {RELEASE}
    app.kubernetes.io/component: {component}
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
"#,
            repository = self.setting.repository,
            tag = self.setting.tag,
        )
    }

    pub(crate) async fn until_succeeded(&self, pod: &str) {
        eventually_within(LONG, &format!("pod {pod} succeeds"), async || {
            let phase = self.kubectl(&format!(
                "get pod {pod} --output jsonpath={{.status.phase}}"
            ));
            assert_ne!(phase, "Failed", "{}", self.kubectl(&format!("logs {pod}")));
            phase == "Succeeded"
        })
        .await;
    }

    /// What a person would look at first.
    fn diagnose(&self) {
        let mut report = format!("\n---- namespace {}\n", self.namespace);
        for line in [
            "get pods,jobs,pvc --output wide",
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
