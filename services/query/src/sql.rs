//! One SQL statement: parse it, scan the rows that it needs, run it in a sandboxed process of its own.

mod process;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use event::{PartitionId, TenantId};
use tokio::time::Instant;
use warm_tier::sql::{Columns, Job, Limits, Pushdown, Select, SqlError, Table, TableRows};

use crate::{
    error::{QueryError, Result},
    format::Format,
    plan::Source,
    read::Missing,
    scan::{Budget, ScanRequest, retention_columns},
    service::QueryService,
};

pub(crate) use process::{EncodedAnswer, check_locks, entry};

/// Most bytes of a statement: more than a person writes.
pub(crate) const MAX_STATEMENT_BYTES: usize = 64 * 1024;

/// The encoded result of a statement, the sources of its rows, and the gaps by partition.
pub(crate) struct SqlAnswer {
    pub(crate) result: EncodedAnswer,
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
}

impl QueryService {
    /// Runs `sql` for `tenant` and encodes its rows in `format`; reads at most `max_scan_bytes` and takes at most `timeout`.
    ///
    /// # Errors
    ///
    /// The answer to the client: all slots are taken, the statement is refused or fails, or it exceeds
    /// a limit.
    pub(crate) async fn run_sql(
        &self,
        tenant: TenantId,
        sql: String,
        format: Format,
        max_scan_bytes: u64,
        timeout: Duration,
    ) -> Result<SqlAnswer> {
        let deadline = Instant::now() + timeout;
        let timed_out = |_| QueryError::from(SqlError::Timeout(timeout));
        let slot = tokio::time::timeout_at(deadline, Arc::clone(&self.sql_slots).acquire_owned());
        let Ok(Ok(slot)) = slot.await else {
            let detail = "all statement slots are in use; retry later";
            return Err(QueryError::unavailable("too_many_statements", detail));
        };
        let job = Job {
            sql,
            limits: Limits {
                timeout: deadline.saturating_duration_since(Instant::now()),
                ..self.sql.limits
            },
            encoding: format.content_type().to_owned(),
        };
        // The limit that the client knows, whatever of it was left for a step.
        let named = |error| match error {
            SqlError::Timeout(_) => SqlError::Timeout(timeout),
            error => error,
        };
        let (select, process) = process::parse(job, slot, deadline).await.map_err(named)?;
        let scans = self.scan_tables(&tenant, &select, max_scan_bytes);
        let (tables, sources, missing) = tokio::time::timeout_at(deadline, scans)
            .await
            .map_err(timed_out)??;
        let result = process.run(tables, deadline).await.map_err(named)?;
        Ok(SqlAnswer {
            result,
            sources,
            missing,
        })
    }

    /// Reads the rows of every table that the statement names, within one budget.
    async fn scan_tables(
        &self,
        tenant: &TenantId,
        select: &Select,
        max_bytes: u64,
    ) -> Result<(
        Vec<TableRows>,
        BTreeSet<Source>,
        Vec<(PartitionId, Missing)>,
    )> {
        let (mut tables, mut sources, mut missing) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut budget = Budget::new(max_bytes);
        for table in select.tables.iter().copied() {
            let request = ScanRequest {
                tenant: tenant.clone(),
                table,
                schema: self.schema(table, &select.columns),
                pushdown: match table {
                    Table::Events => select.pushdown.clone(),
                    Table::HourlyStats | Table::ConversationSummary => Pushdown::default(),
                },
                budget,
                through: None,
            };
            let scanned = self.scan(&request).await?;
            sources.extend(scanned.sources);
            missing.extend(scanned.missing);
            tables.push(TableRows {
                table,
                schema: request.schema,
                batches: scanned.batches,
            });
            budget = request.budget;
        }
        Ok((tables, sources, missing))
    }

    /// Returns the columns of `table` that the statement and the retention filter need.
    fn schema(&self, table: Table, columns: &Columns) -> SchemaRef {
        let whole = match table {
            Table::Events => segment::events_schema(),
            Table::HourlyStats => return segment::hourly_stats_schema(),
            Table::ConversationSummary => return segment::conversation_summary_schema(),
        };
        let filtered = retention_columns(&self.sources.rules());
        let needed = |name: &str| columns.needs(name) || filtered.contains(&name) || name == "seq";
        let fields = whole.fields().iter().filter(|field| needed(field.name()));
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }
}
