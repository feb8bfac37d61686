//! The parts of a node, each with its program and flags.

use std::path::Path;

use super::{AUDIT_LOG, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE};

const ETCD_URL: &str = "http://127.0.0.1:2379";
const LOOPBACK: &str = "127.0.0.1";

/// A program and its flags.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// Name of its file in the folder of programs; `None` for a program on the PATH.
    pub(super) program: Option<&'static str>,
    pub(super) flags: Vec<String>,
}

impl Part {
    fn new(name: &'static str, program: &'static str, flags: &[(&str, &str)]) -> Self {
        let flag = |(name, value): &(&str, &str)| format!("--{name}={value}");
        Self {
            name,
            program: Some(program),
            flags: flags.iter().map(flag).collect(),
        }
    }
}

pub(super) fn etcd(dir: &Path) -> Part {
    let flags = [
        ("data-dir", &*path(dir, "etcd")),
        ("listen-client-urls", ETCD_URL),
        ("advertise-client-urls", ETCD_URL),
        ("listen-peer-urls", "http://127.0.0.1:2380"),
        // The data is not needed after the run.
        ("unsafe-no-fsync", "true"),
    ];
    Part::new("etcd", "server", &flags)
}

pub(super) fn api_server(dir: &Path) -> Part {
    let key = path(dir, "pki/accounts.key");
    let flags = [
        ("etcd-servers", ETCD_URL),
        ("bind-address", NODE_ADDRESS),
        ("advertise-address", NODE_ADDRESS),
        // It writes a self-signed certificate there.
        ("cert-dir", &*path(dir, "pki")),
        ("token-auth-file", &*path(dir, "tokens.csv")),
        ("authorization-mode", "Node,RBAC"),
        ("enable-admission-plugins", "NodeRestriction"),
        ("service-account-key-file", &key),
        ("service-account-signing-key-file", &key),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-cluster-ip-range", SERVICE_RANGE),
        ("kubelet-preferred-address-types", "InternalIP"),
        ("audit-policy-file", &*path(dir, "audit.yaml")),
        ("audit-log-path", &*path(dir, AUDIT_LOG)),
        ("profiling", "false"),
    ];
    Part::new("apiserver", "kube-apiserver", &flags)
}

pub(super) fn containerd(dir: &Path) -> Part {
    Part {
        program: None,
        ..Part::new(
            "containerd",
            "",
            &[("config", &path(dir, "containerd.toml"))],
        )
    }
}

pub(super) fn controllers(dir: &Path) -> Part {
    let flags = [
        ("kubeconfig", &*path(dir, "controllers.kubeconfig")),
        (
            "service-account-private-key-file",
            &*path(dir, "pki/accounts.key"),
        ),
        ("root-ca-file", &*path(dir, "pki/apiserver.crt")),
        ("use-service-account-credentials", "true"),
        ("allocate-node-cidrs", "true"),
        ("cluster-cidr", POD_RANGE),
        ("service-cluster-ip-range", SERVICE_RANGE),
        ("leader-elect", "false"),
        ("bind-address", LOOPBACK),
    ];
    Part::new("controllers", "kube-controller-manager", &flags)
}

pub(super) fn scheduler(dir: &Path) -> Part {
    let flags = [
        ("kubeconfig", &*path(dir, "scheduler.kubeconfig")),
        ("leader-elect", "false"),
        ("bind-address", LOOPBACK),
    ];
    Part::new("scheduler", "kube-scheduler", &flags)
}

pub(super) fn kubelet(dir: &Path) -> Part {
    let flags = [
        ("config", &*path(dir, "kubelet.yaml")),
        ("kubeconfig", &*path(dir, "node.kubeconfig")),
        ("root-dir", &*path(dir, "kubelet")),
        ("hostname-override", "node"),
        ("node-ip", NODE_ADDRESS),
    ];
    Part::new("kubelet", "kubelet", &flags)
}

pub(super) fn proxy(dir: &Path) -> Part {
    Part::new(
        "proxy",
        "kube-proxy",
        &[("config", &path(dir, "proxy.yaml"))],
    )
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
