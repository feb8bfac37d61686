//! `isotherm dev`: runs all of Isotherm on one machine, without a cluster.

mod child;
mod children;
mod cold;
pub(crate) mod exec;
mod folder;
mod log_guard;
mod ports;
pub(crate) mod programs;
mod restarts;
mod servers;
mod services;
mod time_scale;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use event::PartitionCount;
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::{output, value};
use child::{CpuSettings, Layer, Start};
use children::Children;
use folder::DataFolder;
use ports::Ports;
use programs::SearchPaths;
use services::DevConfig;
use time_scale::TimeScale;

/// Time in which each program must become ready; no reason but not to wait for ever.
const START_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data folder; a second start finds every event there.
    #[arg(long, value_name = "DIR", default_value = ".isotherm")]
    data: PathBuf,
    /// The cold tier: a folder or s3://bucket/prefix, its keys in AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY. The data folder keeps that of its first start [default: DIR/cold].
    #[arg(long, value_name = "URL")]
    cold: Option<String>,
    /// An S3 service that is not Amazon's, as http://127.0.0.1:9000.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    s3_endpoint: Option<String>,
    /// The number of partitions of the log. Fixed at the first start on a data folder, where it is 1:
    /// each request is synced to disk once per partition, so one is the fastest on one machine.
    #[arg(long, value_parser = value::partitions)]
    partitions: Option<u16>,
    /// Ports are counted from here: ingest +1, query +2, NATS +22, Valkey +23.
    #[arg(long, value_name = "PORT", default_value = "7400", value_parser = value::port)]
    port_base: u16,
    /// Let policies pass faster: with 3600x an hour takes a second.
    #[arg(long, value_name = "FACTOR", default_value = "1x")]
    accelerate: TimeScale,
    /// The interval at which sealed segments go to the cold tier, before acceleration.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = value::interval)]
    archive_every: humantime::Duration,
    /// RetentionPolicy objects to apply at the start.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The folder whose bin has nats-server and valkey-server [default: the .tools of the checkout in
    /// which this program was built, then the PATH].
    #[arg(long, value_name = "DIR", env = "ISOTHERM_TOOLS")]
    tools: Option<PathBuf>,
    /// A name besides localhost under which clients call this machine; may be repeated.
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// A web page's origin, as http://localhost:3000, whose scripts may read and store; may be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
}

/// Starts all programs, waits for a signal or until one of them ends again and again, and stops all of
/// them.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let rules = args
        .policy
        .as_deref()
        .map(crate::policy::compile_file)
        .transpose()?;
    let ports = Ports::new(args.port_base)?;
    cold::check(args.cold.as_deref())?;
    // What everyone said is nobody else's to read: of the folders and files made here and by the children.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let folder = DataFolder::open(&args.data)?;
    let log_options = LogOptions {
        rules,
        partitions: args.partitions,
    };
    let result = run_on(folder.path().to_owned(), ports, args, log_options, started).await;
    if result.is_err() {
        folder.remove_if_unused();
    }
    result
}

async fn run_on(
    data: PathBuf,
    ports: Ports,
    args: Args,
    log_options: LogOptions,
    started: Instant,
) -> anyhow::Result<()> {
    let config = DevConfig {
        cold_url: cold::url(args.cold, &data)?,
        s3_endpoint: args.s3_endpoint,
        data,
        ports,
        archive_every: args.archive_every.into(),
        time_scale: args.accelerate,
        monitor_path: format!("/{}", Uuid::now_v7().simple()),
        allowed_hosts: args.allowed_hosts,
        cors_origins: args.cors_origins,
    };
    let paths = SearchPaths::new(args.tools)?;
    let programs = Programs::find(&paths)?;
    ports.check().await?;

    let mut children = Children::new(config.data.join("logs"), paths.library_path());
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let result = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        result = serve(&mut children, &programs, &config, log_options, started) => result,
    };
    output::note("stopping");
    children.stop().await;
    result
}

async fn serve(
    children: &mut Children,
    programs: &Programs,
    config: &DevConfig,
    log_options: LogOptions,
    started: Instant,
) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let ports = config.ports;
    let servers = [
        ("nats", &programs.nats, servers::nats(config)?),
        ("valkey", &programs.valkey, servers::valkey(config)?),
    ];
    for (name, program, args) in servers {
        children.start(Start {
            name,
            layer: Layer::Server,
            program: program.clone(),
            args,
            cpu: CpuSettings::default(),
        })?;
    }
    let health = format!("{}/healthz", services::nats_monitor_url(config));
    children
        .wait_ready("nats", START_TIMEOUT, async || {
            servers::http_ok(&http, &health).await
        })
        .await?;
    children
        .wait_ready("valkey", START_TIMEOUT, async || {
            servers::valkey_answers(ports.valkey()).await
        })
        .await?;
    let partitions = prepare_log(config, log_options).await?;
    let services = services::all(config, partitions);
    let mut ready = Vec::new();
    for (service, program) in services.into_iter().zip(&programs.services) {
        let url = format!("http://127.0.0.1:{}/readyz", service.admin_port);
        ready.push((service.name, url));
        children.start(Start {
            name: service.name,
            layer: Layer::Service,
            program: program.clone(),
            args: service.args,
            cpu: service.cpu,
        })?;
    }
    for (name, url) in &ready {
        children
            .wait_ready(name, START_TIMEOUT, async || {
                servers::http_ok(&http, url).await
            })
            .await?;
    }
    output::text(&welcome(config, started.elapsed()))?;
    loop {
        let stuck = log_guard::until_stuck_with_room(&http, &health, &config.data);
        tokio::select! {
            ended = children.watch() => return ended.map(|never| match never {}),
            () = stuck => {
                output::note("NATS stopped writing when its disk was full; there is room again");
                children.terminate("nats");
            }
        }
    }
}

/// The arguments about the log; `None` keeps what is stored in it, or the default.
struct LogOptions {
    rules: Option<retention::RuleSet>,
    partitions: Option<u16>,
}

/// Stores the policy of the command line and the time scale in the log before any service reads them.
/// Returns the number of partitions to start with.
async fn prepare_log(config: &DevConfig, log_options: LogOptions) -> anyhow::Result<u16> {
    let log = crate::policy::connect(&services::nats_url(config.ports)).await?;
    crate::policy::start_with(&log, log_options.rules, config.time_scale.factor()).await?;
    let known = log.partition_count().await?.map(PartitionCount::get);
    let existing = log.existing_partitions().await?;
    let known = known.or(Some(existing).filter(|existing| *existing > 0));
    Ok(log_options.partitions.or(known).unwrap_or(1))
}

/// The paths of all programs.
#[derive(Debug)]
struct Programs {
    nats: PathBuf,
    valkey: PathBuf,
    /// In the order of [`services::NAMES`].
    services: Vec<PathBuf>,
}

impl Programs {
    /// Finds all of them before the first is started.
    fn find(paths: &SearchPaths) -> anyhow::Result<Self> {
        let services = services::NAMES.iter();
        let services = services.map(|name| paths.service(name));
        Ok(Self {
            nats: paths.server(&["nats-server"])?,
            valkey: paths.server(&["valkey-server", "redis-server"])?,
            services: services.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn welcome(config: &DevConfig, took: Duration) -> String {
    let ports = config.ports;
    let accelerated = match config.time_scale {
        time_scale if time_scale.is_accelerated() => {
            format!(
                "\n  time     {} times faster than the policies say",
                time_scale.factor()
            )
        }
        _ => String::new(),
    };
    format!(
        "Isotherm\n\
         \n\
         \x20 ingest   http://127.0.0.1:{ingest}\n\
         \x20 query    http://127.0.0.1:{query}\n\
         \x20 NATS     {nats}\n\
         \x20 Valkey   {redis}\n\
         \x20 data     {data}\n\
         \x20 cold     {cold}\n\
         \x20 logs     {data}/logs{accelerated}\n\
         \n\
         {hint}Try:  isotherm run --conversation demo -- ls -l\n\
         \x20     isotherm get demo\n\
         \n\
         ready in {took:.1} s\n",
        ingest = ports.ingest(),
        query = ports.query(),
        nats = services::nats_url(ports),
        redis = services::redis_url(ports),
        data = config.data.display(),
        cold = config.cold_url,
        hint = hint(ports),
        took = took.as_secs_f64(),
    )
}

/// The environment that other commands need when the ports are not the default ones; else empty.
fn hint(ports: Ports) -> String {
    if ports.are_default() {
        return String::new();
    }
    format!(
        "First:  export ISOTHERM_URL=http://127.0.0.1:{} ISOTHERM_INGEST_URL=http://127.0.0.1:{} \
         ISOTHERM_NATS_URL={}\n",
        ports.query(),
        ports.ingest(),
        services::nats_url(ports),
    )
}
