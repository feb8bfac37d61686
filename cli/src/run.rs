//! `isotherm run`: runs any program, passes its output through, and keeps it as events.
//!
//! Order: a byte goes to our own stdout or stderr first, at once; then into a bounded queue; then
//! to ingest, with an id chosen before the first try, again and again until it is acknowledged.

mod chunks;
mod deliver;
mod events;
mod pass;

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

use crate::{args::Common, client::Client, output, sender::Sender, value};
use events::Events;

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

pub(crate) async fn run(args: Args, common: &Common) -> anyhow::Result<ExitCode> {
    // Before the program runs: its output could not be stored.
    value::conversation(&args.conversation)
        .map_err(|error| anyhow!("--conversation {:?}: {error}", args.conversation))?;
    let sender = Sender::new(Client::ingest(common)?, None);
    let mut events = Events::new(args.conversation, args.task);
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

    let mut reads = pass::through(&mut child);
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

/// Ctrl-C is for the program, which gets it from the terminal; we stay to keep its last words.
/// SIGTERM and SIGHUP come to us alone, so they are handed on.
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
                // It may have ended meanwhile.
                let _ = kill(child, send);
            }
        });
    }
    Ok(())
}

/// Once the program has ended, the next Ctrl-C or SIGTERM is for us.
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

/// As a shell says it: 128 + signal.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
