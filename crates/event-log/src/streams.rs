//! The streams themselves: made or verified by ingest, looked at and purged by the others.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use event::{PartitionCount, PartitionId, Seq};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    error::{Error, Result},
    log::EventLog,
    names,
};

/// The largest message: a frame with the largest event in it, and room to spare.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(5 * 60);
const PARTITIONS: &str = "partitions";
/// Streams made or verified at the same time.
const AT_ONCE: usize = 8;

/// What a partition's log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The first sequence still there; `last + 1` when nothing is.
    pub first: Seq,
    /// The last sequence ever given out; 0 before the first.
    pub last: Seq,
    pub messages: u64,
    pub bytes: u64,
}

impl EventLog {
    /// Makes every stream of the first generation, or verifies that it is as it must be. The
    /// partition count is fixed by whoever comes first.
    ///
    /// # Errors
    /// [`Error::Setup`] when the log was made with another partition count or configuration.
    pub async fn ensure_streams(
        &self,
        count: PartitionCount,
        replicas: usize,
        max_bytes: Option<i64>,
    ) -> Result<()> {
        for bucket in [self.meta(), self.policy_bucket(), self.watermark_bucket()] {
            bucket.ensure(replicas).await?;
        }
        self.claim(count).await?;
        self.name_store().await?;
        stream::iter(count.all())
            .map(|partition| self.ensure_stream(config(partition, replicas, max_bytes)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// How many partitions the log has; `None` before ingest made it.
    pub async fn partition_count(&self) -> Result<Option<PartitionCount>> {
        let Some(text) = self.meta().get(PARTITIONS).await? else {
            return Ok(None);
        };
        let count = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
        match count.and_then(PartitionCount::new) {
            Some(count) => Ok(Some(count)),
            None => Err(Error::Damaged {
                what: PARTITIONS.to_owned(),
                source: "not a partition count".into(),
            }),
        }
    }

    /// What `partition` holds at this moment.
    pub async fn state(&self, partition: PartitionId) -> Result<LogState> {
        let state = self.stream(partition).await?.cached_info().state.clone();
        Ok(LogState {
            first: state.first_sequence.max(1),
            last: state.last_sequence,
            messages: state.messages,
            bytes: state.bytes,
        })
    }

    /// The last sequence given out; 0 before the first.
    pub async fn last_seq(&self, partition: PartitionId) -> Result<Seq> {
        Ok(self.state(partition).await?.last)
    }

    /// The first sequence still there; `last + 1` when nothing is.
    pub async fn first_seq(&self, partition: PartitionId) -> Result<Seq> {
        Ok(self.state(partition).await?.first)
    }

    /// Removes everything up to and with `seq`, but never the last message.
    pub async fn purge_through(&self, partition: PartitionId, seq: Seq) -> Result<()> {
        let stream = self.stream(partition).await?;
        let last = stream.cached_info().state.last_sequence;
        let keep_from = seq.saturating_add(1).min(last);
        if keep_from <= stream.cached_info().state.first_sequence {
            return Ok(());
        }
        let purged = stream.purge().sequence(keep_from).await;
        purged.map_err(|error| Error::unavailable("purge a stream", error))?;
        Ok(())
    }

    pub(crate) async fn stream(&self, partition: PartitionId) -> Result<Stream> {
        let stream = self.jetstream().get_stream(names::stream(partition)).await;
        stream.map_err(|error| Error::unavailable("look at a stream", error))
    }

    async fn claim(&self, count: PartitionCount) -> Result<()> {
        if self
            .meta()
            .create(PARTITIONS, count.get().to_string())
            .await?
        {
            return Ok(());
        }
        match self.partition_count().await? {
            Some(found) if found != count => Err(Error::Setup(format!(
                "the log was made with {} partitions and cannot have {} now; start with --partitions {}",
                found.get(),
                count.get(),
                found.get()
            ))),
            _ => Ok(()),
        }
    }

    async fn ensure_stream(&self, wanted: Config) -> Result<()> {
        match self.jetstream().create_stream(wanted.clone()).await {
            Ok(stream) => return verify(&stream.cached_info().config, &wanted),
            Err(error) if exists(&error) => {}
            Err(error) => return Err(Error::setup("create a stream", error)),
        }
        let found = self.jetstream().get_stream(&wanted.name).await;
        let found = found.map_err(|error| Error::unavailable("look at a stream", error))?;
        let mut config = found.cached_info().config.clone();
        if config.max_bytes != wanted.max_bytes {
            // The one setting that may change: it decides nothing about what is stored.
            config.max_bytes = wanted.max_bytes;
            let updated = self.jetstream().update_stream(&config).await;
            updated.map_err(|error| Error::unavailable("update a stream", error))?;
        }
        verify(&config, &wanted)
    }
}

fn config(partition: PartitionId, replicas: usize, max_bytes: Option<i64>) -> Config {
    Config {
        name: names::stream(partition),
        subjects: vec![names::subject(partition)],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_bytes: max_bytes.unwrap_or(-1),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_age: Duration::ZERO,
        max_message_size: i32::try_from(MAX_MESSAGE_BYTES).expect("512 KiB fit"),
        num_replicas: replicas,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// Whether what is there keeps the promises of what we would make.
fn verify(found: &Config, wanted: &Config) -> Result<()> {
    let checks = [
        ("subjects", found.subjects == wanted.subjects),
        ("retention limits", found.retention == wanted.retention),
        ("file storage", found.storage == wanted.storage),
        ("discard new", found.discard == wanted.discard),
        ("no max_age", found.max_age.is_zero()),
        ("no max_msgs", found.max_messages < 0),
        (
            "no max_msgs_per_subject",
            found.max_messages_per_subject < 0,
        ),
        ("deny_delete", found.deny_delete),
        ("allow_direct", found.allow_direct),
        (
            "max_msg_size",
            found.max_message_size == wanted.max_message_size,
        ),
        (
            "duplicate_window",
            found.duplicate_window == wanted.duplicate_window,
        ),
        ("replicas", found.num_replicas == wanted.num_replicas),
    ];
    let wrong: Vec<_> = checks.iter().filter(|(_, ok)| !ok).map(|c| c.0).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "stream {} is not as it must be: {}",
        found.name,
        wrong.join(", ")
    )))
}

fn exists(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}
