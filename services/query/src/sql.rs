//! One statement: read it, scan what it needs, run it in a sandbox and a process of its own.

mod process;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use arrow::datatypes::{Schema, SchemaRef};
use event::{PartitionId, TenantId};
use tokio::time::Instant;
use warm_tier::sql::{
    Answer, Columns, Job, Limits, Pushdown, Rows, Sandbox, Select, SqlError, Table,
};

use crate::{
    error::{Problem, Result},
    plan::Source,
    read::Missing,
    scan::{Budget, Request, judged},
    service::Service,
};

pub(crate) use process::{is_one as is_process, serve as serve_process};

/// No statement that a person wrote is longer.
pub(crate) const MAX_STATEMENT_BYTES: usize = 64 * 1024;

/// Rows and how far they can be trusted.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) answer: Answer,
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
}

impl Service {
    /// Runs `sql` for `tenant`; reads at most `max_scan_bytes` and takes at most `timeout`.
    pub(crate) async fn run_sql(
        &self,
        tenant: TenantId,
        sql: String,
        max_scan_bytes: u64,
        timeout: Duration,
    ) -> Result<Ran> {
        let deadline = Instant::now() + timeout;
        let late = |_| Problem::from(SqlError::Timeout(timeout));
        let slot = tokio::time::timeout_at(deadline, Arc::clone(&self.sql_slots).acquire_owned());
        let Ok(Ok(slot)) = slot.await else {
            let detail = "other statements are running; come back later";
            return Err(Problem::unavailable("too_many_statements", detail));
        };
        let limits = self.sql.limits;
        let (sql, select) = blocking(move || parse(limits, sql)).await?;
        let scans = self.scan_tables(&tenant, &select, max_scan_bytes);
        let (tables, sources, missing) = tokio::time::timeout_at(deadline, scans)
            .await
            .map_err(late)??;
        let left = deadline.saturating_duration_since(Instant::now());
        let job = Job {
            sql,
            limits: Limits {
                timeout: left,
                ..limits
            },
            tables,
        };
        let answer = process::run(job, slot, deadline).await;
        let answer = answer.map_err(|error| match error {
            SqlError::Timeout(_) => SqlError::Timeout(timeout),
            error => error,
        });
        Ok(Ran {
            answer: answer?,
            sources,
            missing,
        })
    }

    async fn scan_tables(
        &self,
        tenant: &TenantId,
        select: &Select,
        max_bytes: u64,
    ) -> Result<(Vec<Rows>, BTreeSet<Source>, Vec<(PartitionId, Missing)>)> {
        let (mut tables, mut sources, mut missing) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut budget = Budget::new(max_bytes);
        for table in select.tables.iter().copied() {
            let request = Request {
                tenant: tenant.clone(),
                table,
                schema: self.schema(table, &select.columns),
                pushdown: match table {
                    Table::Events => select.pushdown.clone(),
                    Table::HourlyStats | Table::ConversationSummary => Pushdown::default(),
                },
                budget,
            };
            let scanned = self.scan(&request).await?;
            sources.extend(scanned.sources);
            missing.extend(scanned.missing);
            tables.push(Rows {
                table,
                schema: request.schema,
                batches: scanned.batches,
            });
            budget = request.budget;
        }
        Ok((tables, sources, missing))
    }

    /// The columns of `table` that are needed for the statement and for hiding rows.
    fn schema(&self, table: Table, columns: &Columns) -> SchemaRef {
        let whole = match table {
            Table::Events => segment::events_schema(),
            Table::HourlyStats => return segment::hourly_stats_schema(),
            Table::ConversationSummary => return segment::conversation_summary_schema(),
        };
        let judged = judged(&self.sources.rules());
        let needed = |name: &str| columns.needs(name) || judged.contains(&name) || name == "seq";
        let fields = whole.fields().iter().filter(|field| needed(field.name()));
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }
}

fn parse(limits: Limits, sql: String) -> Result<(String, Select), SqlError> {
    let select = Sandbox::open(limits)?.parse(&sql)?;
    Ok((sql, select))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.context("run a statement")??)
}
