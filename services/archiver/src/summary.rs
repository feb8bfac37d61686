//! The summary of one run, for people and for programs.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
};

use cold_tier::ColdFile;
use serde::Serialize;

use crate::config::Output;

/// The totals of one run: numbers of events unless the name says otherwise. Its JSON is an
/// interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// The hash of the rules that the run followed.
    pub(crate) policy: String,
    pub(crate) archived: u64,
    /// Events of classes that the rules keep out of the cold tier.
    pub(crate) not_archived: u64,
    pub(crate) files_written: u64,
    pub(crate) bytes_written: u64,
    pub(crate) sampled_out: u64,
    pub(crate) expired: u64,
    #[serde(rename = "files_joined")]
    pub(crate) files_merged: u64,
    pub(crate) objects_vacuumed: u64,
    pub(crate) bytes_vacuumed: u64,
    /// Events in the cold tier after the run.
    pub(crate) kept: u64,
    pub(crate) kept_bytes: u64,
    /// Objects that were missing or cut and were put again from warm.
    pub(crate) restored: u64,
    /// Live files that cannot be read, as `table/path`. They stay as they are.
    pub(crate) damaged: BTreeSet<String>,
    /// The steps that failed; the others were done.
    pub(crate) errors: Vec<String>,
}

impl Summary {
    pub(crate) fn succeeded(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn record_error(&mut self, step: &str, error: &anyhow::Error) {
        self.errors.push(format!("{step}: {error:#}"));
    }

    /// Records that the live `file` cannot be read, once.
    pub(crate) fn record_damage(&mut self, file: &ColdFile, error: &dyn std::fmt::Display) {
        let path = format!("{}/{}", file.table.name(), file.path);
        if self.damaged.insert(path.clone()) {
            self.errors.push(format!("read {path}: {error}"));
        }
    }

    pub(crate) fn into_result(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.errors.is_empty(), "{}", self.errors.join("; "));
        Ok(())
    }

    /// Logs one line when anything was changed, and returns the errors of the run.
    pub(crate) fn log(self) -> anyhow::Result<()> {
        if self.files_written + self.expired + self.objects_vacuumed > 0 {
            tracing::info!(
                archived = self.archived,
                files = self.files_written,
                sampled_out = self.sampled_out,
                expired = self.expired,
                vacuumed = self.objects_vacuumed,
                "archived"
            );
        }
        self.into_result()
    }

    pub(crate) fn print(&self, output: Option<Output>) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        let output = output.unwrap_or(if is_terminal {
            Output::Table
        } else {
            Output::Json
        });
        match output {
            Output::Json => writeln!(stdout, "{}", serde_json::to_string(self)?)?,
            Output::Table => {
                for (label, count) in self.lines() {
                    writeln!(stdout, "{label:<24}{count:>16}")?;
                }
            }
        }
        Ok(())
    }

    fn lines(&self) -> [(&'static str, u64); 12] {
        [
            ("archived", self.archived),
            ("not to be archived", self.not_archived),
            ("sampled out", self.sampled_out),
            ("expired", self.expired),
            ("files written", self.files_written),
            ("bytes written", self.bytes_written),
            ("small files merged", self.files_merged),
            ("objects vacuumed", self.objects_vacuumed),
            ("objects put again", self.restored),
            ("damaged files", self.damaged.len() as u64),
            ("now in cold", self.kept),
            ("bytes in cold", self.kept_bytes),
        ]
    }
}
