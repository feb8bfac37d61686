//! An executor, its processes, and statements for it.

use std::{fs, time::Duration};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use tempfile::TempDir;
use testkit::{Service, eventually, free_port};
use tonic::Status;
use warm_tier::sql::{
    Limits,
    remote::{Execution, Executor, ExecutorError, TablePlan},
};

pub(crate) const PROCESSES: usize = 3;

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) executor: Executor,
    _data: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let data = TempDir::new().unwrap();
        let [listen, admin, compactor] =
            [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let args = [
            ["--listen", &listen],
            ["--admin-addr", &admin],
            ["--compactor-url", &format!("http://{compactor}")],
            ["--data", &data.path().display().to_string()],
            ["--processes", &PROCESSES.to_string()],
            ["--memory-bytes", "134217728"],
        ];
        let world = Self {
            service: Service::start(env!("CARGO_BIN_EXE_executor"), args.concat()),
            executor: Executor::new(&format!("http://{listen}")).unwrap(),
            _data: data,
        };
        eventually("the executor answers", async || {
            world.answer("a", "SELECT 1").await.is_ok()
        })
        .await;
        world
    }

    /// Runs a statement and returns the lines of its answer.
    pub(crate) async fn answer(&self, tenant: &str, sql: &str) -> Result<String, ExecutorError> {
        let chunks = self.run(&execution(tenant, sql)).await?;
        let chunks: Vec<Bytes> = chunks.try_collect().await.unwrap();
        Ok(String::from_utf8(chunks.concat()).unwrap())
    }

    pub(crate) async fn run(
        &self,
        execution: &Execution,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + use<>, ExecutorError> {
        self.executor.run(execution, Vec::new()).await
    }

    /// The ids of the processes of statements that live now, ascending.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.service.pid())).unwrap();
        let children = tasks.filter_map(|task| {
            let path = task.unwrap().path().join("children");
            fs::read_to_string(path).ok()
        });
        let children = children.collect::<Vec<_>>().join(" ");
        let mut ids: Vec<u32> = children
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    }
}

pub(crate) fn execution(tenant: &str, sql: &str) -> Execution {
    Execution {
        tenant: tenant.to_owned(),
        sql: sql.to_owned(),
        encoding: "application/x-ndjson".to_owned(),
        limits: Limits {
            memory_bytes: 128 << 20,
            timeout: Duration::from_secs(20),
            ..Limits::default()
        },
        tables: Vec::<TablePlan>::new(),
    }
}
