//! `isotherm run`: runs any program, passes its output through, and keeps it as events.
//!
//! Order: each byte is written to our own stdout or stderr at once; then it goes into a bounded queue;
//! then to ingest, with an id chosen before the first attempt and retried until it is acknowledged.

mod chunks;
mod deliver;
mod events;
mod passthrough;

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, anyhow};
use event::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{client::Client, common::Common, output, sender::Sender, value};
use events::RunEvents;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The conversation that the output goes to.
    #[arg(long, value_name = "ID")]
    conversation: String,
    /// The task that the output belongs to.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the program and stores its output. Returns its exit status, or 126 or 127 when it could not be
/// started.
pub(crate) async fn run(args: Args, common: &Common) -> anyhow::Result<ExitCode> {
    // Checked before the program runs: with an invalid id its output could not be stored.
    value::conversation(&args.conversation)
        .map_err(|error| anyhow!("--conversation {:?}: {error}", args.conversation))?;
    let sender = Sender::new(Client::ingest(common)?, None);
    let mut events = RunEvents::new(args.conversation, args.task);
    let mut child = match start(&args.command) {
        Ok(child) => child,
        Err(error) => {
            let program = args.command[0].to_string_lossy();
            output::note(&format!("error: start {program}: {error}"));
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if missing { 127 } else { 126 }));
        }
    };
    let started = Timestamp::now();
    let mut delivery = deliver::start(sender);
    delivery
        .push(events.started(&args.command, child.id(), started))
        .await;
    forward_signals(child.id())?;

    let mut reads = passthrough::start(&mut child);
    deliver::chunks(&mut reads, &mut events, &mut delivery).await;
    let status = tokio::task::spawn_blocking(move || child.wait()).await?;
    let status = status.context("wait for the program")?;
    delivery
        .push(events.exited(status, started, Timestamp::now()))
        .await;

    let stored = tokio::select! {
        stored = delivery.finish() => stored,
        () = interrupted() => Err(anyhow!("stopped before everything was stored")),
    };
    match (exit_code(status), stored) {
        (code, Ok(())) => Ok(ExitCode::from(code)),
        (0, Err(error)) => Err(error),
        (code, Err(error)) => {
            output::note(&format!("error: {error:#}"));
            Ok(ExitCode::from(code))
        }
    }
}

fn start(command: &[OsString]) -> std::io::Result<Child> {
    Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Ignores SIGINT, which the terminal sends to the program too: this process keeps running to store the
/// rest of its output. SIGTERM and SIGHUP reach only this process and are forwarded.
fn forward_signals(child: u32) -> anyhow::Result<()> {
    let child = Pid::from_raw(child.cast_signed());
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move { while interrupt.recv().await.is_some() {} });
    for (kind, send) in [
        (SignalKind::terminate(), Signal::SIGTERM),
        (SignalKind::hangup(), Signal::SIGHUP),
    ] {
        let mut received = signal(kind)?;
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                // It fails when the program has ended.
                let _ = kill(child, send);
            }
        });
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM; used once the program has ended, to stop waiting for ingest.
async fn interrupted() {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The exit status as a shell reports it: 128 + n after signal n.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
