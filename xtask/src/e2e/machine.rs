//! Checks that a cluster can be started on this machine, before anything is built.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use super::cgroup;
use crate::run;

/// Programs that a node needs, and the Debian packages that contain them.
const REQUIRED_PROGRAMS: [(&str, &str); 12] = [
    ("go", "golang (1.25 or later)"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("openssl", "openssl"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("tar", "tar"),
    BUILDAH,
    STRIP,
];
/// Needed to build images, for kind too.
const BUILDAH: (&str, &str) = ("buildah", "buildah");
const STRIP: (&str, &str) = ("strip", "binutils");
const CNI_PLUGINS: [&str; 2] = ["/usr/lib/cni/ptp", "/opt/cni/bin/ptp"];
const ALTERNATIVE: &str = "or set KUBECONFIG, or install Docker and kind";
/// The privileged operations with which a node starts.
const PROBE_SCRIPT: &str = "mount -t tmpfs probe /mnt && ip link add node0 type bridge && \
                     ip link set node0 up && iptables --table nat --list --numeric >/dev/null";

/// Checks that a node of our own can be started.
pub(super) fn require() -> anyhow::Result<()> {
    let mut missing = missing(&REQUIRED_PROGRAMS);
    if !CNI_PLUGINS.iter().any(|plugin| Path::new(plugin).exists()) {
        missing.push("containernetworking-plugins");
    }
    ensure!(
        missing.is_empty(),
        "to start a cluster here, these are missing: {0} (Debian and Ubuntu: `apt install {1}`); \
         {ALTERNATIVE}",
        missing.join(", "),
        missing.join(" ")
    );
    ensure!(
        fs::metadata("/proc/self")?.uid() == 0,
        "to start a cluster here takes root: run it with sudo, {ALTERNATIVE}"
    );
    probe().with_context(|| {
        format!(
            "this machine does not allow us to make namespaces and cgroups, which a cluster takes: run \
             it on a virtual machine or in a privileged container, {ALTERNATIVE}"
        )
    })
}

/// Checks that images can be built.
pub(super) fn require_for_images() -> anyhow::Result<()> {
    let missing = missing(&[BUILDAH, STRIP]).join(" ");
    ensure!(
        missing.is_empty(),
        "to make images takes {missing} (Debian and Ubuntu: `apt install {missing}`)"
    );
    Ok(())
}

fn missing(required: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = required.iter().filter(|(program, _)| !is_on_path(program));
    missing.map(|(_, package)| *package).collect()
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Tries to make namespaces and a cgroup; nothing of it is left afterwards.
fn probe() -> anyhow::Result<()> {
    let cgroup = format!("/isotherm-e2e-{}", std::process::id());
    cgroup::create(&cgroup)?;
    cgroup::remove(&cgroup);
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    unshare.args(["--mount-proc", "sh", "-c", PROBE_SCRIPT]);
    run::output(unshare).map(drop)
}
