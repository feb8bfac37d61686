//! The number of events in each tier: bars on a terminal, lines elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::view::Tier;
use crate::run;

/// Interval of the lines, which are for logs.
const SECONDS_PER_LINE: u64 = 10;

#[derive(Debug)]
pub(super) struct Bars {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    lines: u64,
}

impl Bars {
    pub(super) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let style =
                ProgressStyle::with_template("{msg:>5} {wide_bar} {human_pos:>9} events {prefix}")
                    .expect("the template is well formed");
            let one = |_| all.add(ProgressBar::new(1).with_style(style.clone()));
            let bars = (0..3).map(one).collect();
            (all, bars)
        });
        Self { bars, lines: 0 }
    }

    pub(super) fn show(&mut self, tiers: &[Tier], elapsed: Duration) {
        let most = tiers
            .iter()
            .map(|tier| tier.events)
            .max()
            .unwrap_or(0)
            .max(1);
        if let Some((_, bars)) = &self.bars {
            for (bar, tier) in bars.iter().zip(tiers) {
                bar.set_length(most);
                bar.set_message(tier.tier.clone());
                bar.set_prefix(format!("{:>6.1} MB", megabytes(tier.bytes)));
                bar.set_position(tier.events);
            }
            return;
        }
        if elapsed.as_secs() / SECONDS_PER_LINE >= self.lines {
            self.lines = elapsed.as_secs() / SECONDS_PER_LINE + 1;
            let tiers = tiers
                .iter()
                .map(|tier| format!("{} {:>7}", tier.tier, tier.events));
            let tiers = tiers.collect::<Vec<_>>().join("   ");
            run::say(&format!("{:>4} s   {tiers}   events", elapsed.as_secs()));
        }
    }

    pub(super) fn finish(&self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars) {
            bar.finish();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
