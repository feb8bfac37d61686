//! One statement: read it, scan what it needs, run it in a sandbox of its own.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use arrow::datatypes::{Schema, SchemaRef};
use event::{PartitionId, TenantId};
use tokio::time::Instant;
use warm_tier::sql::{Answer, Columns, Limits, Pushdown, Sandbox, Select, SqlError, Table};

use crate::{
    error::{Problem, Result},
    plan::Source,
    read::Missing,
    scan::{Budget, Request, judged},
    service::Service,
};

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
        let slot = tokio::time::timeout_at(deadline, self.sql_slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            let detail = "other statements are running; come back later";
            return Err(Problem::unavailable("too_many_statements", detail));
        };
        let limits = self.sql.limits;
        let (sandbox, select) = blocking(move || parse(limits, &sql)).await?;
        let scans = self.scan_tables(&tenant, &select, max_scan_bytes);
        let (tables, sources, missing) = tokio::time::timeout_at(deadline, scans)
            .await
            .map_err(late)??;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = blocking(move || run(sandbox.within(left), &select, tables)).await?;
        Ok(Ran {
            answer,
            sources,
            missing,
        })
    }

    async fn scan_tables(
        &self,
        tenant: &TenantId,
        select: &Select,
        max_bytes: u64,
    ) -> Result<(Vec<Loaded>, BTreeSet<Source>, Vec<(PartitionId, Missing)>)> {
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
            tables.push(Loaded {
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

/// The rows of one table.
struct Loaded {
    table: Table,
    schema: SchemaRef,
    batches: Vec<arrow::record_batch::RecordBatch>,
}

fn parse(limits: Limits, sql: &str) -> Result<(Sandbox, Select), SqlError> {
    let sandbox = Sandbox::open(limits)?;
    let select = sandbox.parse(sql)?;
    Ok((sandbox, select))
}

fn run(sandbox: Sandbox, select: &Select, tables: Vec<Loaded>) -> Result<Answer, SqlError> {
    for Loaded {
        table,
        schema,
        batches,
    } in tables
    {
        sandbox.load(table, &schema, batches)?;
    }
    sandbox.run(select)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.context("run a statement")??)
}
