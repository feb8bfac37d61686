//! Our own cluster: one node in Linux namespaces of its own, from programs built once. It has no
//! network to the outside. The kernel ends all of it when its first process, or this one, dies.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    cgroup,
    node::{AUDIT_LOG, SMALL_VOLUME},
    programs,
};
use crate::{process::Process, run, run::say};

const START_TIMEOUT: Duration = Duration::from_secs(120);
const END_TIMEOUT: Duration = Duration::from_secs(30);
const STATE_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Numbers of volumes made in advance, by access mode: ReadWriteOncePod may not be mixed with others.
const VOLUME_COUNTS: [(&str, usize); 2] = [("ReadWriteOnce", 60), ("ReadWriteOncePod", 20)];

#[derive(Debug)]
pub(crate) struct OwnCluster {
    dir: PathBuf,
    cgroup: String,
    /// The process `unshare`, which keeps the namespaces open; `None` after the end.
    namespaces: Option<Process>,
}

impl OwnCluster {
    /// Starts the cluster and waits until it is ready. With `keep` it outlives this process.
    pub(crate) fn start(keep: bool) -> anyhow::Result<Self> {
        let programs = programs::build()?;
        let name = format!("isotherm-e2e-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(&dir)?;
        let cgroup = format!("/{name}");
        cgroup::create(&cgroup)?;
        let mut cluster = Self {
            dir,
            cgroup,
            namespaces: None,
        };
        cluster.namespaces = Some(cluster.unshare(&programs, keep)?);
        cluster.wait_until_ready().map_err(|error| {
            let log = fs::read_to_string(cluster.dir.join("node.log")).unwrap_or_default();
            error.context(format!("start the cluster: {}", log.trim()))
        })?;
        Ok(cluster)
    }

    fn unshare(&self, programs: &Path, keep: bool) -> anyhow::Result<Process> {
        // A copy: cargo may have replaced the file of this program in the meantime.
        let executable = self.dir.join("xtask");
        fs::copy("/proc/self/exe", &executable)?;
        let mut command = match keep {
            true => Command::new("setsid"),
            false => Command::new("setpriv"),
        };
        if !keep {
            command.args(["--pdeathsig", "KILL"]);
        }
        command
            .args([
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .arg("--mount-proc")
            .arg(&executable)
            .args(["node", "--cgroup", &self.cgroup])
            .arg("--dir")
            .arg(&self.dir)
            .arg("--programs")
            .arg(programs)
            .arg("--kubectl")
            .arg(kubectl())
            .current_dir(run::root())
            .stdin(Stdio::null());
        let log = File::create(self.dir.join("node.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let process = Process::start(command)?;
        fs::write(self.dir.join("pid"), process.id().to_string())?;
        Ok(process)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        self.retry_until(
            deadline,
            &["wait", "--for=condition=Ready", "node/node", "--timeout=1s"],
        )?;
        for image in ["pause", "coredns"] {
            self.import(&programs::image(image))?;
        }
        self.apply(&fs::read_to_string(
            run::root().join("e2e/cluster/base.yaml"),
        )?)?;
        self.apply(&self.volumes()?)?;
        self.retry_until(
            deadline,
            &[
                "-n",
                "kube-system",
                "rollout",
                "status",
                "deployment/dns",
                "--timeout=5s",
            ],
        )
    }

    fn retry_until(&mut self, deadline: Instant, args: &[&str]) -> anyhow::Result<()> {
        loop {
            let mut command = self.enter(kubectl());
            command.args(args);
            let Err(error) = run::output(command) else {
                return Ok(());
            };
            let namespaces = self.namespaces.as_mut().expect("it was started");
            ensure!(!namespaces.has_ended(), "its first process ended");
            if Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(STATE_CHECK_INTERVAL);
        }
    }

    fn volumes(&self) -> anyhow::Result<String> {
        let mut objects = String::new();
        for (mode, count) in VOLUME_COUNTS {
            for n in 0..count {
                let name = format!("{}-{n}", mode.to_lowercase());
                let path = self.dir.join("volumes").join(&name);
                fs::create_dir_all(&path)?;
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
                objects.push_str(&volume(&name, "standard", mode, &path));
            }
        }
        let small = self.dir.join(SMALL_VOLUME);
        objects.push_str(&volume("small", "small", "ReadWriteOncePod", &small));
        Ok(objects)
    }

    /// Environment variables with the paths that the scenarios read from outside of the cluster.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let namespaces = self.namespaces.as_ref().expect("it was started");
        let volume = self.dir.join(SMALL_VOLUME);
        let volume = format!("{}:{}", namespaces.id(), volume.display());
        let audit_log = self.dir.join(AUDIT_LOG).display().to_string();
        [
            ("ISOTHERM_E2E_AUDIT_LOG", audit_log),
            ("ISOTHERM_E2E_SMALL_VOLUME", volume),
        ]
    }

    fn apply(&self, objects: &str) -> anyhow::Result<()> {
        let file = self.dir.join("apply.yaml");
        fs::write(&file, objects)?;
        let mut command = self.enter(kubectl());
        command.args(["apply", "--server-side", "-f"]).arg(file);
        run::output(command).map(drop)
    }

    /// Imports an image from an archive into the node.
    pub(crate) fn import(&self, archive: &Path) -> anyhow::Result<()> {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.dir.join("containerd.sock"));
        ctr.args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive);
        run::output(ctr).map(drop)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// A command that runs `program` in the network of the cluster; it is killed when this process ends.
    pub(crate) fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let namespaces = self.namespaces.as_ref().expect("it was started");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/proc/{}/ns/net", namespaces.id()))
            .arg(program)
            .env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Leaves the cluster running, and prints how to use it and how to end it.
    pub(crate) fn leave(mut self) {
        let Some(namespaces) = self.namespaces.take() else {
            return;
        };
        let id = namespaces.id();
        namespaces.detach();
        say(&format!(
            "the cluster is left running:\n  nsenter --net=/proc/{id}/ns/net env KUBECONFIG={} {} get pods -A\n\
             end it with:\n  kill -9 {id}",
            self.kubeconfig().display(),
            kubectl().display()
        ));
        std::mem::forget(self);
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let Some(namespaces) = self.namespaces.take() else {
            return Ok(());
        };
        let id = namespaces.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let first = fs::read_to_string(children).unwrap_or_default();
        drop(namespaces);
        let deadline = Instant::now() + END_TIMEOUT;
        let has_ended = |pid: &str| !Path::new("/proc").join(pid).exists();
        while !first.split_whitespace().all(has_ended) {
            if Instant::now() >= deadline {
                bail!(
                    "process {} did not end within {END_TIMEOUT:?}",
                    first.trim()
                );
            }
            std::thread::sleep(STATE_CHECK_INTERVAL);
        }
        cgroup::remove(&self.cgroup);
        fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say(&format!(
                "warning: the cluster could not be ended: {error:#}"
            ));
        }
    }
}

fn volume(name: &str, class: &str, mode: &str, path: &Path) -> String {
    let path = path.display();
    format!(
        "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\n\
         spec: {{capacity: {{storage: 20Gi}}, accessModes: [{mode}], storageClassName: {class}, \
         persistentVolumeReclaimPolicy: Retain, hostPath: {{path: \"{path}\"}}}}\n"
    )
}

/// Removes the folders and cgroups of runs that were killed.
pub(super) fn remove_leftovers() -> anyhow::Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((kind, id)) = name.rsplit_once('-') else {
            continue;
        };
        let owner = fs::read_to_string(entry.path().join("pid")).unwrap_or_else(|_| id.to_owned());
        let is_ours = ["isotherm-e2e", "isotherm-image"].contains(&kind);
        if is_ours && !Path::new("/proc").join(owner.trim()).exists() {
            cgroup::remove(&format!("/{name}"));
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn kubectl() -> PathBuf {
    run::root().join(".tools/kubernetes/bin/kubectl")
}
