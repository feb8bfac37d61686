//! The first process (PID 1) of the cluster's namespaces: starts every part of a Kubernetes node and
//! ends when one of them does. The kernel then kills all other processes of the namespaces.

mod parts;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::sys::wait::waitpid;

use crate::run;
use parts::Part;

/// An address of the block for documentation, which no other machine has.
const NODE_ADDRESS: &str = "192.0.2.10";
const POD_RANGE: &str = "10.244.0.0/16";
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Path below the folder of the node.
pub(super) const AUDIT_LOG: &str = "log/audit.log";
pub(super) const SMALL_VOLUME: &str = "small";
const SMALL_VOLUME_SIZE: &str = "192m";
const API_SERVER_TIMEOUT: Duration = Duration::from_secs(90);
const API_SERVER_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Users of the API server: token prefix, name, group. Fixed tokens are enough, since the API server
/// can be reached from this network namespace only.
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("node", "system:node:node", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for all data of the node.
    #[arg(long)]
    dir: PathBuf,
    /// Folder of the programs.
    #[arg(long)]
    programs: PathBuf,
    #[arg(long)]
    kubectl: PathBuf,
    /// Parent of all its cgroups.
    #[arg(long)]
    cgroup: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    network().context("make the network")?;
    small_volume(&args.dir).context("make the small volume")?;
    let mut node = Node {
        args,
        running: BTreeMap::new(),
    };
    node.write_files().context("write the configuration")?;
    node.start_control_plane()?;
    node.start_workers()?;
    node.watch()
}

/// One address on a bridge without an uplink.
fn network() -> anyhow::Result<()> {
    // A /run of its own, which disappears with the node.
    run::check(words("mount -t tmpfs run /run"))?;
    run::check(words("ip link set lo up"))?;
    run::check(words("ip link add node0 type bridge"))?;
    run::check(words(&format!("ip addr add {NODE_ADDRESS}/24 dev node0")))?;
    run::check(words("ip link set node0 up"))?;
    run::check(words("ip route add default dev node0"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forward packets")
}

/// A volume of limited size, which a scenario can fill.
fn small_volume(dir: &Path) -> anyhow::Result<()> {
    let volume = dir.join(SMALL_VOLUME);
    fs::create_dir_all(&volume)?;
    let mut mount = words(&format!(
        "mount -t tmpfs -o size={SMALL_VOLUME_SIZE},mode=777 small"
    ));
    run::check({
        mount.arg(volume);
        mount
    })
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a line has a word"));
    command.args(words);
    command
}

struct Node<'a> {
    args: &'a Args,
    running: BTreeMap<i32, &'static str>,
}

impl Node<'_> {
    fn path(&self, name: &str) -> String {
        self.args.dir.join(name).display().to_string()
    }

    fn write_files(&self) -> anyhow::Result<()> {
        let dir = &self.args.dir;
        for folder in ["log", "cni", "pki", "kubelet"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        for (template, target) in [
            ("containerd.toml", "containerd.toml"),
            ("network.conflist", "cni/network.conflist"),
            ("kubelet.yaml", "kubelet.yaml"),
            ("proxy.yaml", "proxy.yaml"),
            ("audit.yaml", "audit.yaml"),
        ] {
            let text = fs::read_to_string(run::root().join("e2e/cluster").join(template))?;
            fs::write(dir.join(target), self.fill(&text)?)?;
        }
        // No DNS server outside can be reached.
        fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        let mut tokens = String::new();
        for (user, name, group) in USERS {
            tokens.push_str(&format!("{user}-token,{name},{user},\"{group}\"\n"));
            fs::write(
                dir.join(format!("{user}.kubeconfig")),
                self.kubeconfig(user),
            )?;
        }
        fs::write(dir.join("tokens.csv"), tokens)?;
        let mut key = words("openssl genrsa -out");
        key.arg(self.path("pki/accounts.key")).arg("2048");
        run::output(key).map(drop)
    }

    fn fill(&self, template: &str) -> anyhow::Result<String> {
        let plugins = ["/usr/lib/cni", "/opt/cni/bin"];
        let plugins = plugins
            .iter()
            .find(|dir| Path::new(dir).join("ptp").exists());
        Ok(template
            .replace("@DIR@", &self.args.dir.display().to_string())
            .replace("@CNI@", plugins.context("no CNI plugins are installed")?)
            .replace("@CGROUP@", &self.args.cgroup)
            .replace("@NODE@", NODE_ADDRESS))
    }

    fn kubeconfig(&self, user: &str) -> String {
        let certificate = self.path("pki/apiserver.crt");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: e2e\n\
             clusters:\n- {{name: e2e, cluster: {{server: \"https://{NODE_ADDRESS}:6443\", certificate-authority: \"{certificate}\"}}}}\n\
             users:\n- {{name: e2e, user: {{token: {user}-token}}}}\n\
             contexts:\n- {{name: e2e, context: {{cluster: e2e, user: e2e}}}}\n"
        )
    }

    fn start_control_plane(&mut self) -> anyhow::Result<()> {
        let dir = &self.args.dir;
        for part in [
            parts::etcd(dir),
            parts::api_server(dir),
            parts::containerd(dir),
        ] {
            self.start(part)?;
        }
        self.wait_for("the API server", &["get", "--raw", "/readyz"])?;
        self.start(parts::controllers(dir))?;
        self.start(parts::scheduler(dir))
    }

    fn start_workers(&mut self) -> anyhow::Result<()> {
        let dir = &self.args.dir;
        self.start(parts::kubelet(dir))?;
        self.start(parts::proxy(dir))
    }

    fn start(&mut self, part: Part) -> anyhow::Result<()> {
        let Part {
            name,
            program,
            flags,
        } = part;
        let log = File::create(self.args.dir.join(format!("log/{name}.log")))?;
        let program = program.map(|program| self.args.programs.join(program));
        let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from(name)));
        command.args(flags).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        self.running.insert(i32::try_from(child.id())?, name);
        Ok(())
    }

    fn wait_for(&self, what: &str, kubectl: &[&str]) -> anyhow::Result<()> {
        let deadline = Instant::now() + API_SERVER_TIMEOUT;
        loop {
            let mut command = Command::new(&self.args.kubectl);
            command
                .arg("--kubeconfig")
                .arg(self.path("admin.kubeconfig"))
                .args(kubectl);
            let Err(error) = run::output(command) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(error.context(format!("wait for {what}")));
            }
            std::thread::sleep(API_SERVER_CHECK_INTERVAL);
        }
    }

    /// Waits until a part of the node ends. PID 1 also inherits orphans, which are ignored.
    fn watch(&self) -> anyhow::Result<()> {
        loop {
            let ended = waitpid(None, None).context("wait for the parts of the node")?;
            let name = ended.pid().and_then(|pid| self.running.get(&pid.as_raw()));
            if let Some(name) = name {
                bail!("{name} ended: {ended:?}");
            }
        }
    }
}
