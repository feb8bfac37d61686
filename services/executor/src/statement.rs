//! One statement: its sources, its process, its answer.

use std::{io, path::PathBuf, time::Duration};

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::{
    sync::mpsc,
    task,
    time::{Instant, timeout_at},
};
use warm_tier::{
    remote::{Client, RunFiles},
    sql::{
        Job, RowStream, RunRows, Select, SqlError, TableSources,
        remote::{Execution, ParseRequest, PartitionPlan, TablePlan},
        slices_in_place,
    },
};

use crate::{
    pool::{Life, Pool, Process},
    rows::{Received, Scanned},
};

/// Chunks of an answer that wait for its reader: what it does not read stays in the process.
const QUEUED_CHUNKS: usize = 2;

/// Runs statements.
#[derive(Clone)]
pub(crate) struct Statements {
    /// The data folder of the compactor.
    pub(crate) data: PathBuf,
    pub(crate) compactor: Client,
    pub(crate) pool: Pool,
}

/// The rows of each table that come with a request.
pub(crate) type OwnRows = Vec<mpsc::Receiver<io::Result<Bytes>>>;

impl Statements {
    /// Returns what a statement reads.
    pub(crate) async fn parse(&self, request: ParseRequest) -> Result<Select, SqlError> {
        let limit = request.limits.timeout;
        let deadline = Instant::now() + limit;
        let Process { mut caller, life } =
            within(deadline, limit, self.pool.take(&request.tenant)).await?;
        let (parsed, caller) = blocking(deadline, limit, move || {
            let parsed = caller.parse(&request.sql, request.limits);
            Ok((parsed, caller))
        })
        .await?;
        let is_well = matches!(
            &parsed,
            Ok(_) | Err(SqlError::Invalid(_) | SqlError::NotAllowed(_))
        );
        if is_well {
            self.pool.give(Process { caller, life });
        }
        parsed
    }

    /// Runs a statement, whose tables have the rows `own` besides.
    pub(crate) async fn run(&self, execution: Execution, own: OwnRows) -> Result<Answer, SqlError> {
        let limit = execution.limits.timeout;
        let deadline = Instant::now() + limit;
        let process = self.pool.take(&execution.tenant);
        let sources = self.sources(&execution, own);
        let both = async { tokio::try_join!(process, sources) };
        let (Process { caller, life }, tables) = within(deadline, limit, both).await?;
        let job = Job {
            sql: execution.sql,
            limits: execution.limits,
            encoding: execution.encoding,
        };
        let mut chunks = blocking(deadline, limit, move || caller.run(job, tables)).await?;
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let forward = task::spawn_blocking(move || {
            for chunk in chunks.by_ref() {
                if sender.blocking_send(chunk).is_err() {
                    return None;
                }
            }
            chunks.into_process()
        });
        Ok(Answer {
            receiver,
            forward,
            life,
            pool: self.pool.clone(),
        })
    }

    /// The slices of each table, and the rows that are in none.
    async fn sources(
        &self,
        execution: &Execution,
        own: OwnRows,
    ) -> Result<Vec<(TableSources, Vec<RowStream>)>, SqlError> {
        let mut own = own.into_iter();
        let mut tables = Vec::new();
        for plan in &execution.tables {
            let slices = self.slices(plan).await?;
            let (runs, mut rows) = self.scans(plan).await?;
            rows.extend(own.next().map(Received::stream));
            let sources = TableSources {
                table: plan.table,
                columns: plan.columns.clone(),
                tenant: execution.tenant.clone(),
                slices,
                runs,
            };
            tables.push((sources, rows));
        }
        Ok(tables)
    }

    async fn slices(&self, plan: &TablePlan) -> Result<Vec<warm_tier::sql::SliceRows>, SqlError> {
        let (data, partitions) = (self.data.clone(), plan.partitions.clone());
        let found = task::spawn_blocking(move || {
            let mut slices = Vec::new();
            for PartitionPlan {
                partition,
                slices: wanted,
                ..
            } in &partitions
            {
                slices.extend(slices_in_place(&data, *partition, wanted)?);
            }
            Ok(slices)
        });
        found.await.map_err(|_| SqlError::Died)?
    }

    /// Asks the compactor for what is in no slice; all partitions at once. Most of it lies in files.
    async fn scans(&self, plan: &TablePlan) -> Result<(Vec<RunRows>, Vec<RowStream>), SqlError> {
        let whole = plan.table.schema();
        let fields = plan
            .columns
            .iter()
            .map(|name| whole.field_with_name(name).cloned());
        let fields: Result<Vec<_>, _> = fields.collect();
        let engine = |error: arrow::error::ArrowError| SqlError::Engine(error.to_string());
        let schema = std::sync::Arc::new(Schema::new(fields.map_err(engine)?));
        let scans = plan.partitions.iter().filter_map(|own| own.scan.as_ref());
        let asked = scans
            .clone()
            .map(|scan| self.compactor.scan_beside_files(scan));
        let (mut runs, mut streams) = (Vec::new(), Vec::new());
        for (scan, scanned) in scans.zip(futures::future::join_all(asked).await) {
            let (files, batches) = scanned.map_err(|_| SqlError::Stale)?;
            if !files.is_empty() {
                runs.push(RunRows {
                    folders: files.iter().map(|run| run.folder(&self.data)).collect(),
                    rows: files.iter().map(RunFiles::rows).sum(),
                    ranges: scan.ranges.clone(),
                });
            }
            let rows = Scanned::stream(SchemaRef::clone(&schema), batches.boxed());
            streams.push(rows.map_err(engine)?);
        }
        Ok((runs, streams))
    }
}

/// The encoded answer of a statement. Dropping it kills the process.
pub(crate) struct Answer {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    forward: task::JoinHandle<
        Option<warm_tier::sql::Caller<std::process::ChildStdin, std::process::ChildStdout>>,
    >,
    life: Life,
    pool: Pool,
}

impl Answer {
    /// Returns the next chunk with the rest; `None` behind the last one, when the process waits for the next
    /// statement.
    pub(crate) async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(chunk) = self.receiver.recv().await {
            return Some((chunk, self));
        }
        if let Ok(Some(caller)) = self.forward.await {
            let life = self.life;
            self.pool.give(Process { caller, life });
        }
        None
    }
}

/// Waits for `work` until `deadline`.
async fn within<T>(
    deadline: Instant,
    limit: Duration,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let done = timeout_at(deadline, work).await;
    done.unwrap_or(Err(SqlError::Timeout(limit)))
}

/// Runs `work` on a blocking thread until `deadline`; after it, `work` ends when its process is killed.
async fn blocking<T: Send + 'static>(
    deadline: Instant,
    limit: Duration,
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let done = task::spawn_blocking(work);
    within(deadline, limit, async {
        done.await.unwrap_or(Err(SqlError::Died))
    })
    .await
}
