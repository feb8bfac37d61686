//! One SQL statement: an executor parses it, its rows are planned here, and it runs where most of them lie.

mod answer;

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use event::{PartitionId, TenantId};
use futures::TryStreamExt as _;
use service_runtime::{ClientAddr, Reservation};
use tokio::time::Instant;
use warm_tier::sql::{
    Columns, Limits, Pushdown, Select, SqlError, Table,
    remote::{Execution, ExecutorError, OwnRows, ParseRequest, TablePlan},
};

use crate::{
    error::{QueryError, Result},
    format::Format,
    plan::Source,
    read::Missing,
    scan::{Budget, ScanRequest, retention_columns},
    service::QueryService,
    slots::{Slot, Turn},
};

pub(crate) use answer::EncodedAnswer;

/// Most bytes of a statement: more than a person writes.
pub(crate) const MAX_STATEMENT_BYTES: usize = 64 * 1024;

/// The encoded result of a statement, the sources of its rows, and the gaps by partition.
pub(crate) struct SqlAnswer {
    pub(crate) result: EncodedAnswer,
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
}

/// Attempts to run a statement while slices that it was planned with are merged or dropped.
const MAX_ATTEMPTS: usize = 4;

/// The tables that a statement names: what the executor reads of them, and the rows that were read here, with
/// their memory.
struct ScannedTables {
    tables: Vec<TablePlan>,
    rows: Vec<OwnRows>,
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
    /// Runs a statement and encodes its rows. It begins in the short slot; if it is not answered in its turn there
    /// and no long slot is free, it is ended, and begins again in its next turn.
    ///
    /// # Errors
    ///
    /// The answer to the client: all slots are taken, the statement is refused or fails, or it exceeds
    /// a limit.
    pub(crate) async fn run_sql(&self, statement: Statement) -> Result<SqlAnswer> {
        let deadline = Instant::now() + statement.timeout;
        let mut turn = Turn::First;
        loop {
            let slot = self.sql_slots.take(turn, statement.client, deadline);
            let slot = slot.await?;
            if !self.sql_slots.is_short(&slot) {
                return self.run_in(&statement, slot, deadline).await;
            }
            match self.run_turn(&statement, slot, turn, deadline).await? {
                Ok(answer) => return Ok(answer),
                Err(next) => turn = next,
            }
        }
    }

    /// Runs a statement in the short slot, and exchanges it for a long one if its turn ends first; `Err` with the
    /// next turn if none is free.
    async fn run_turn(
        &self,
        statement: &Statement,
        slot: Slot,
        turn: Turn,
        deadline: Instant,
    ) -> Result<Result<SqlAnswer, Turn>> {
        let mut next = std::pin::pin!(self.sql_slots.next_turn(turn));
        let mut run = std::pin::pin!(self.run_in(statement, slot.clone(), deadline));
        tokio::select! {
            answer = run.as_mut() => {
                let mut answer = answer?;
                let over = tokio::select! {
                    waits = answer.result.waits_for_client() => waits.then_some(Turn::Long),
                    next = next => Some(next),
                };
                Ok(match over {
                    Some(next) if !self.sql_slots.lengthen(&slot) => Err(next),
                    _ => Ok(answer),
                })
            }
            next = next.as_mut() => if self.sql_slots.lengthen(&slot) {
                run.await.map(Ok)
            } else {
                Ok(Err(next))
            },
        }
    }

    /// Runs a statement in `slot`, until `deadline`.
    async fn run_in(
        &self,
        statement: &Statement,
        slot: Slot,
        deadline: Instant,
    ) -> Result<SqlAnswer> {
        let timeout = statement.timeout;
        let limits = || Limits {
            timeout: deadline.saturating_duration_since(Instant::now()),
            ..self.sql.limits
        };
        // The limit that the client knows, whatever of it was left for a step.
        let named = |error| match error {
            ExecutorError::Sql(SqlError::Timeout(_)) => SqlError::Timeout(timeout).into(),
            error => QueryError::from(error),
        };
        let request = ParseRequest {
            tenant: statement.tenant.to_string(),
            sql: statement.sql.clone(),
            limits: limits(),
        };
        let select = self.executor.parse(&request);
        let select = within(deadline, timeout, select).await?.map_err(named)?;
        let mut attempt = 1;
        loop {
            let scans = self.scan_tables(statement, &select, attempt > 1);
            let scanned = within(deadline, timeout, scans).await??;
            let execution = Execution {
                tenant: statement.tenant.to_string(),
                sql: statement.sql.clone(),
                encoding: statement.format.content_type().to_owned(),
                limits: limits(),
                tables: scanned.tables,
            };
            let run = self.executor.run(&execution, scanned.rows);
            let chunks = match within(deadline, timeout, run).await? {
                Err(ExecutorError::Sql(SqlError::Stale)) if attempt < MAX_ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                chunks => chunks.map_err(named)?,
            };
            drop(scanned.memory);
            let chunks = chunks.map_err(|error| io::Error::other(error.to_string()));
            return Ok(SqlAnswer {
                result: EncodedAnswer::new(chunks, slot),
                sources: scanned.sources,
                missing: scanned.missing,
            });
        }
    }

    /// Reads the rows of every table that the statement names, within one budget.
    async fn scan_tables(
        &self,
        statement: &Statement,
        select: &Select,
        fresh: bool,
    ) -> Result<ScannedTables> {
        let pool = &self.sources.memory.scans;
        let mut all = ScannedTables {
            tables: Vec::new(),
            rows: Vec::new(),
            memory: pool.empty(),
            sources: BTreeSet::new(),
            missing: Vec::new(),
        };
        let mut budget = Budget::new(statement.max_scan_bytes);
        for table in select.tables.iter().copied() {
            let request = ScanRequest {
                tenant: statement.tenant.clone(),
                table,
                schema: self.schema(table, &select.columns),
                pushdown: match table {
                    Table::Events => select.pushdown.clone(),
                    Table::HourlyStats | Table::ConversationSummary => Pushdown::default(),
                },
                budget,
                in_place: true,
                fresh,
                through: None,
            };
            let scanned = self.scan(&request).await?;
            all.sources.extend(scanned.sources);
            all.missing.extend(scanned.missing);
            if let Some(memory) = scanned.memory {
                all.memory.merge(memory);
            }
            let columns = request.schema.fields().iter();
            all.tables.push(TablePlan {
                table,
                columns: columns.map(|field| field.name().clone()).collect(),
                partitions: scanned.in_place,
            });
            all.rows.push((request.schema, scanned.batches));
            budget = request.budget;
        }
        Ok(all)
    }

    /// Returns the columns of `table` that the statement and the retention filter need.
    fn schema(&self, table: Table, columns: &Columns) -> SchemaRef {
        let whole = table.schema();
        if table != Table::Events {
            return whole;
        }
        let filtered = retention_columns(&self.sources.rules());
        let needed = |name: &str| columns.needs(name) || filtered.contains(&name) || name == "seq";
        let fields = whole.fields().iter().filter(|field| needed(field.name()));
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }
}

/// Waits for `work` until `deadline`.
async fn within<T>(
    deadline: Instant,
    timeout: Duration,
    work: impl Future<Output = T>,
) -> Result<T> {
    let done = tokio::time::timeout_at(deadline, work).await;
    done.map_err(|_| SqlError::Timeout(timeout).into())
}
