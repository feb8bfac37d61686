//! The part of a conversation that the hot tier has.

use hot_tier::{Bounds, HotRead};

use crate::{
    error::Result,
    memory::{HOT_READ_BYTES, MEMORY_WAIT},
    merge::ReadOrder,
    read_limit::ReadLimit,
    rows::ReadRequest,
    sources::Sources,
};

/// Reads the first rows of the hot tier up to `limit`; `None` when it is `excluded` or does not answer.
///
/// # Errors
///
/// `overloaded` when there is no memory for what it answers.
pub(super) async fn read_hot(
    sources: &Sources,
    request: &ReadRequest,
    limit: ReadLimit,
    excluded: bool,
) -> Result<Option<HotRead>> {
    if excluded {
        return Ok(None);
    }
    let reads = &sources.memory.reads;
    let _memory = reads.reserve(HOT_READ_BYTES, MEMORY_WAIT).await?;
    let bounds = Bounds {
        after: request.after,
        before: request.before,
        max_bytes: Some(limit.content_bytes()),
    };
    let order = match request.order {
        ReadOrder::Asc => hot_tier::Order::Ascending,
        ReadOrder::Desc => hot_tier::Order::Descending,
    };
    let (partition, tenant, conversation) =
        (request.partition, &request.tenant, &request.conversation);
    let read = sources
        .hot
        .read(partition, tenant, conversation, bounds, order, limit.rows);
    Ok(match read.await {
        Ok(read) => read,
        Err(error) => {
            // That it is unreachable is reported by the readiness check, not by every read.
            if !error.is_transient() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "hot tier not read"
                );
            }
            None
        }
    })
}
