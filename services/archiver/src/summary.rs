//! What one run did, for people and for programs.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::config::Output;

/// Events unless another unit is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// The hash of the rules that the run followed.
    pub(crate) policy: String,
    pub(crate) archived: u64,
    /// Of classes that the rules keep out of the cold tier.
    pub(crate) not_archived: u64,
    pub(crate) files_written: u64,
    pub(crate) bytes_written: u64,
    pub(crate) sampled_out: u64,
    pub(crate) expired: u64,
    pub(crate) files_joined: u64,
    pub(crate) objects_vacuumed: u64,
    pub(crate) bytes_vacuumed: u64,
    /// In the cold tier after the run.
    pub(crate) kept: u64,
    pub(crate) kept_bytes: u64,
    /// What did not work; the rest was done.
    pub(crate) errors: Vec<String>,
}

impl Summary {
    pub(crate) fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn failed(&mut self, what: &str, error: &anyhow::Error) {
        self.errors.push(format!("{what}: {error:#}"));
    }

    pub(crate) fn into_result(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.errors.is_empty(), "{}", self.errors.join("; "));
        Ok(())
    }

    /// One line in the log when there was something to do.
    pub(crate) fn logged(self) -> anyhow::Result<()> {
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
        let table = stdout.is_terminal();
        let output = output.unwrap_or(if table { Output::Table } else { Output::Json });
        match output {
            Output::Json => writeln!(stdout, "{}", serde_json::to_string(self)?)?,
            Output::Table => {
                for (what, count) in self.lines() {
                    writeln!(stdout, "{what:<24}{count:>16}")?;
                }
            }
        }
        Ok(())
    }

    fn lines(&self) -> [(&'static str, u64); 10] {
        [
            ("archived", self.archived),
            ("not to be archived", self.not_archived),
            ("sampled out", self.sampled_out),
            ("expired", self.expired),
            ("files written", self.files_written),
            ("bytes written", self.bytes_written),
            ("small files joined", self.files_joined),
            ("objects vacuumed", self.objects_vacuumed),
            ("now in cold", self.kept),
            ("bytes in cold", self.kept_bytes),
        ]
    }
}
