//! One SQL statement: parse it, scan the rows that it needs, run it in a sandboxed process of its own.

mod process;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use event::{PartitionId, TenantId};
use service_runtime::{ClientAddr, Reservation};
use tokio::time::Instant;
use warm_tier::sql::{Columns, Job, Limits, Pushdown, Select, SqlError, Table, TableRows};

use crate::{
    error::{QueryError, Result},
    format::Format,
    plan::Source,
    read::Missing,
    scan::{Budget, ScanRequest, retention_columns},
    service::QueryService,
    slots::Slot,
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

/// The rows of the tables that a statement names, with their memory.
struct ScannedTables {
    tables: Vec<TableRows>,
    memory: Reservation,
    sources: BTreeSet<Source>,
    missing: Vec<(PartitionId, Missing)>,
}

/// A statement as its client sent it.
pub(crate) struct Statement {
    pub(crate) client: ClientAddr,
    pub(crate) tenant: TenantId,
    pub(crate) sql: String,
    pub(crate) format: Format,
    pub(crate) max_scan_bytes: u64,
    /// Includes the time that it waits for a slot.
    pub(crate) timeout: Duration,
}

impl QueryService {
    /// Runs a statement and encodes its rows. It begins in the short slot; if it is not answered soon and no
    /// long slot is free, it is ended, and begins again when it is its client's turn.
    ///
    /// # Errors
    ///
    /// The answer to the client: all slots are taken, the statement is refused or fails, or it exceeds
    /// a limit.
    pub(crate) async fn run_sql(&self, statement: Statement) -> Result<SqlAnswer> {
        let deadline = Instant::now() + statement.timeout;
        let slot = self.sql_slots.begin(statement.client, deadline).await?;
        {
            let mut run = std::pin::pin!(self.run_in(&statement, slot.clone(), deadline));
            let mut answered = tokio::select! {
                answer = run.as_mut() => Some(answer?),
                () = self.sql_slots.short_time() => None,
            };
            let takes_longer = match &mut answered {
                Some(answer) => tokio::select! {
                    waits = answer.result.waits_for_client() => waits,
                    () = self.sql_slots.short_time() => true,
                },
                None => true,
            };
            let needs_long = takes_longer && self.sql_slots.is_short(&slot);
            let may_stay = !needs_long || self.sql_slots.lengthen(&slot);
            match answered {
                Some(answer) if may_stay => return Ok(answer),
                None if may_stay => return run.await,
                _ => {}
            }
        }
        drop(slot);
        let slot = self.sql_slots.long(statement.client, deadline).await?;
        self.run_in(&statement, slot, deadline).await
    }

    /// Runs a statement in `slot`, until `deadline`.
    async fn run_in(
        &self,
        statement: &Statement,
        slot: Slot,
        deadline: Instant,
    ) -> Result<SqlAnswer> {
        let timeout = statement.timeout;
        let timed_out = |_| QueryError::from(SqlError::Timeout(timeout));
        let job = Job {
            sql: statement.sql.clone(),
            limits: Limits {
                timeout: deadline.saturating_duration_since(Instant::now()),
                ..self.sql.limits
            },
            encoding: statement.format.content_type().to_owned(),
        };
        // The limit that the client knows, whatever of it was left for a step.
        let named = |error| match error {
            SqlError::Timeout(_) => SqlError::Timeout(timeout),
            error => error,
        };
        let (select, process) = process::parse(job, slot, deadline).await.map_err(named)?;
        let scans = self.scan_tables(&statement.tenant, &select, statement.max_scan_bytes);
        let scanned = tokio::time::timeout_at(deadline, scans)
            .await
            .map_err(timed_out)??;
        let ScannedTables {
            tables,
            memory,
            sources,
            missing,
        } = scanned;
        let result = process.run(tables, memory, deadline).await;
        Ok(SqlAnswer {
            result: result.map_err(named)?,
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
    ) -> Result<ScannedTables> {
        let pool = &self.sources.memory.scans;
        let mut all = ScannedTables {
            tables: Vec::new(),
            memory: pool.empty(),
            sources: BTreeSet::new(),
            missing: Vec::new(),
        };
        let most = u64::try_from(pool.bytes()).unwrap_or(u64::MAX);
        let mut budget = Budget::new(max_bytes.min(most));
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
            all.sources.extend(scanned.sources);
            all.missing.extend(scanned.missing);
            if let Some(memory) = scanned.memory {
                all.memory.merge(memory);
            }
            all.tables.push(TableRows {
                table,
                schema: request.schema,
                batches: scanned.batches,
            });
            budget = request.budget;
        }
        Ok(all)
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
