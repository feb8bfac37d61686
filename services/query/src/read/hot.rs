//! The part of a conversation that the hot tier has.

use hot_tier::{Bounds, HotRead};

use crate::{merge::ReadOrder, rows::ReadRequest, sources::Sources};

/// Reads up to `limit` rows of the hot tier; `None` when it is `excluded` or does not answer.
pub(super) async fn read_hot(
    sources: &Sources,
    request: &ReadRequest,
    limit: usize,
    excluded: bool,
) -> Option<HotRead> {
    if excluded {
        return None;
    }
    let bounds = Bounds {
        after: request.after,
        before: request.before,
    };
    let order = match request.order {
        ReadOrder::Asc => hot_tier::Order::Ascending,
        ReadOrder::Desc => hot_tier::Order::Descending,
    };
    let (partition, tenant, conversation) =
        (request.partition, &request.tenant, &request.conversation);
    let read = sources
        .hot
        .read(partition, tenant, conversation, bounds, order, limit);
    match read.await {
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
    }
}
