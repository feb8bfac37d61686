//! Progress on stderr: a bar on a terminal, else a line every ten seconds.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Interval between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{msg:>8} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";

/// Progress of one step of an import.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    what: &'static str,
    /// Time of the last line; `None` on a terminal.
    last_line: Option<Instant>,
}

impl Bar {
    /// Starts a bar; `total` is `None` when it is unknown.
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well formed");
        bar.set_style(style);
        bar.set_message(what);
        let last_line = (!is_terminal).then(Instant::now);
        Self {
            bar,
            what,
            last_line,
        }
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.bar.inc(by);
        if self
            .last_line
            .is_some_and(|at| at.elapsed() >= LINE_INTERVAL)
        {
            self.last_line = Some(Instant::now());
            let of = self
                .bar
                .length()
                .map(|length| format!(" of {length}"))
                .unwrap_or_default();
            output::note(&format!("{}: {}{of}", self.what, self.bar.position()));
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
