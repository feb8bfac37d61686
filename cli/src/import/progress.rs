//! A bar on stderr where that is a terminal, else a line now and then.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{msg:>8} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";

#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    what: &'static str,
    /// When the last line was written; `None` on a terminal.
    said: Option<Instant>,
}

impl Bar {
    /// `None`: nobody knows how many there are.
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
        let said = (!is_terminal).then(Instant::now);
        Self { bar, what, said }
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.bar.inc(by);
        if self.said.is_some_and(|said| said.elapsed() >= LINE_EVERY) {
            self.said = Some(Instant::now());
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
