//! The streams: created or verified by ingest; read and purged by the other services.

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

/// The largest message, in bytes: twice the largest event, so that a frame of one such event fits.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// For so long the log recognizes a message id that it has stored.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(5 * 60);
const PARTITION_COUNT_KEY: &str = "partitions";
/// The number of streams that are created or verified concurrently: no reason but to bound the load.
const MAX_CONCURRENT_SETUPS: usize = 8;

/// The extent of a partition's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The first sequence that is left; `last + 1` if none is.
    pub first: Seq,
    /// The last sequence ever assigned; 0 before the first.
    pub last: Seq,
    /// The number of messages that are left.
    pub messages: u64,
    /// Their bytes in the log.
    pub bytes: u64,
}

impl EventLog {
    /// Creates every stream of the first generation, or verifies the configuration of those that
    /// exist. The first caller fixes the partition count. `max_bytes` is the limit of one stream; it
    /// is the only setting that may change.
    ///
    /// # Errors
    /// [`Error::Setup`] if the log has another partition count or configuration, or the server
    /// refuses it: permanent. [`Error::Unavailable`]: retry.
    pub async fn ensure_streams(
        &self,
        count: PartitionCount,
        replicas: usize,
        max_bytes: Option<i64>,
    ) -> Result<()> {
        let shared = [self.meta(), self.policy_bucket(), self.watermark_bucket()];
        let decisions = [self.gap_bucket(), self.closed_bucket()];
        for bucket in shared.into_iter().chain(decisions) {
            bucket.ensure(replicas).await?;
        }
        // First: who sees the number of partitions can rely on it.
        let existing = self.existing_partitions().await?;
        self.ensure_store_id(existing == 0).await?;
        if let Err(error) = self.ensure_dead_letters(replicas).await {
            // It is needed when something cannot be read, and then a consumer tries again.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "stream of dead letters not created");
        }
        self.fix_partition_count(count, existing).await?;
        stream::iter(count.all())
            .map(|partition| self.ensure_stream(config(partition, replicas, max_bytes)))
            .buffer_unordered(MAX_CONCURRENT_SETUPS)
            .try_collect::<()>()
            .await
    }

    /// Reads the number of partitions of the log; `None` before ingest has created it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if the number cannot be parsed: permanent.
    pub async fn partition_count(&self) -> Result<Option<PartitionCount>> {
        let Some(text) = self.meta().get(PARTITION_COUNT_KEY).await? else {
            return Ok(None);
        };
        let count = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
        match count.and_then(PartitionCount::new) {
            Some(count) => Ok(Some(count)),
            None => Err(Error::Damaged {
                what: PARTITION_COUNT_KEY.to_owned(),
                source: "not a partition count".into(),
            }),
        }
    }

    /// Reads the current extent of the stream of `partition`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also if the stream does not exist: retry.
    pub async fn state(&self, partition: PartitionId) -> Result<LogState> {
        let state = self.stream(partition).await?.cached_info().state.clone();
        Ok(LogState {
            first: state.first_sequence.max(1),
            last: state.last_sequence,
            messages: state.messages,
            bytes: state.bytes,
        })
    }

    /// Reads the last sequence assigned; 0 before the first.
    ///
    /// # Errors
    /// The same as [`EventLog::state`].
    pub async fn last_seq(&self, partition: PartitionId) -> Result<Seq> {
        Ok(self.state(partition).await?.last)
    }

    /// Reads the first sequence that is left; `last + 1` if none is.
    ///
    /// # Errors
    /// The same as [`EventLog::state`].
    pub async fn first_seq(&self, partition: PartitionId) -> Result<Seq> {
        Ok(self.state(partition).await?.first)
    }

    /// Purges everything up to and including `seq`, but never the last message. Does nothing if that
    /// was purged before.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Regressed`], [`Error::Replaced`]: the partition is latched.
    pub async fn purge_through(&self, partition: PartitionId, seq: Seq) -> Result<()> {
        self.check_identity(partition).await?;
        let stream = self.stream(partition).await?;
        let last = stream.cached_info().state.last_sequence;
        let keep_from = seq.saturating_add(1).min(last);
        if keep_from <= stream.cached_info().state.first_sequence {
            return Ok(());
        }
        let purged = stream.purge().sequence(keep_from).await;
        purged.map_err(|error| Error::unavailable("purge a stream", error))?;
        self.forget_closed(partition, keep_from).await
    }

    pub(crate) async fn stream(&self, partition: PartitionId) -> Result<Stream> {
        let stream = self.jetstream().get_stream(names::stream(partition));
        self.answer("look up a stream", stream).await
    }

    /// Returns how many partitions the log has streams of; 0 before ingest has created one. Whoever deletes their
    /// number does not delete them.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn existing_partitions(&self) -> Result<u16> {
        let names = self.jetstream().stream_names();
        let own = names.try_filter(|name| std::future::ready(names::is_stream(name)));
        let own: Vec<String> = (own.try_collect().await)
            .map_err(|error| Error::unavailable("list the streams", error))?;
        Ok(u16::try_from(own.len()).unwrap_or(u16::MAX))
    }

    /// Stores the partition count, or verifies that it is the one stored, and that of the `existing` streams.
    async fn fix_partition_count(&self, count: PartitionCount, existing: u16) -> Result<()> {
        let known = self.partition_count().await?.map(PartitionCount::get);
        let found = known.or(Some(existing).filter(|existing| *existing > 0));
        if let Some(found) = found.filter(|found| *found != count.get()) {
            return Err(Error::Setup(format!(
                "the log was made with {found} partitions and cannot have {} now; start with --partitions {found}",
                count.get(),
            )));
        }
        let text = count.get().to_string();
        match self.meta().create(PARTITION_COUNT_KEY, text).await? {
            true => Ok(()),
            // Another ingest may have been faster.
            false => match self.partition_count().await? {
                Some(found) if found != count => Err(Error::unavailable(
                    "store the number of partitions",
                    "another ingest stored another one",
                )),
                _ => Ok(()),
            },
        }
    }

    /// Creates one stream, or verifies the existing one and sets its `max_bytes`.
    async fn ensure_stream(&self, expected: Config) -> Result<()> {
        let refused = match self.jetstream().create_stream(expected.clone()).await {
            Ok(stream) => return verify(&stream.cached_info().config, &expected),
            Err(error) => error,
        };
        // A server without room for another stream refuses one that exists, too.
        let mut config = match self.jetstream().get_stream(&expected.name).await {
            Ok(found) => found.cached_info().config.clone(),
            Err(error) if already_exists(&refused) => {
                return Err(Error::unavailable("look up a stream", error));
            }
            Err(_) => {
                return Err(no_room(&refused, &expected)
                    .unwrap_or_else(|| Error::setup("create a stream", refused)));
            }
        };
        if config.max_bytes != expected.max_bytes {
            // The one setting that may change: it does not affect what is already stored.
            config.max_bytes = expected.max_bytes;
            let updated = self.jetstream().update_stream(&config).await;
            updated.map_err(|error| {
                no_room(&error, &expected)
                    .unwrap_or_else(|| Error::unavailable("update a stream", error))
            })?;
        }
        verify(&config, &expected)
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

/// Fails if the configuration of an existing stream lacks a guarantee that the log relies on.
fn verify(found: &Config, expected: &Config) -> Result<()> {
    let checks = [
        ("subjects", found.subjects == expected.subjects),
        ("retention limits", found.retention == expected.retention),
        ("file storage", found.storage == expected.storage),
        ("discard new", found.discard == expected.discard),
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
            found.max_message_size == expected.max_message_size,
        ),
        (
            "duplicate_window",
            found.duplicate_window == expected.duplicate_window,
        ),
        ("replicas", found.num_replicas == expected.num_replicas),
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

/// The error of a server that cannot reserve the size of a stream; `None` for another error.
fn no_room(error: &CreateStreamError, stream: &Config) -> Option<Error> {
    let CreateStreamErrorKind::JetStream(refusal) = error.kind() else {
        return None;
    };
    let says_so = refusal.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED;
    says_so.then(|| {
        Error::Setup(format!(
            "the NATS server has no room for {} bytes of each partition: raise its max_file_store, or \
             lower --log-max-bytes",
            stream.max_bytes
        ))
    })
}

fn already_exists(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}
