//! Connections to the server: opened at first use, reopened after a failure.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};

use crate::error::{Error, Result};

/// No reason for the number but to bound how long a call to a dead server takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The first Redis that runs scripts with `#!lua` flags.
const MIN_REDIS_MAJOR: u32 = 7;

/// Opens a shared connection lazily; each of its calls may take up to `timeout`.
pub(crate) fn connect(url: &str, timeout: Duration) -> Result<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(timeout))
        // Callers retry on their own; one retry here bounds how long a single call blocks them.
        .set_number_of_retries(1);
    Ok(ConnectionManager::new_lazy_with_config(
        client(url)?,
        config,
    )?)
}

/// A pool of connections that are not shared while in use, as WATCH needs: it applies to the whole
/// connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ExclusiveConnections {
    client: Client,
    config: AsyncConnectionConfig,
    idle: Arc<Mutex<Vec<MultiplexedConnection>>>,
}

impl ExclusiveConnections {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(timeout));
        Ok(Self {
            client: client(url)?,
            config,
            idle: Arc::default(),
        })
    }

    /// Takes an idle connection, or opens one. Release it after success and drop it otherwise, because
    /// it may still watch keys.
    pub(crate) async fn acquire(&self) -> Result<MultiplexedConnection> {
        let idle = self.idle().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => {
                let new = self
                    .client
                    .get_multiplexed_async_connection_with_config(&self.config);
                Ok(new.await?)
            }
        }
    }

    pub(crate) fn release(&self, connection: MultiplexedConnection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

fn client(url: &str) -> Result<Client> {
    Client::open(url)
        .map_err(|error| Error::Setup(format!("the URL of the hot tier is not valid: {error}")))
}

/// Verifies the server's version and that it does not evict keys. Returns recommendations about
/// settings that are not required.
pub(crate) async fn check_server(mut connection: ConnectionManager) -> Result<Vec<String>> {
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut connection)
        .await?;
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .unwrap_or("unknown");
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_some_and(|major: u32| major < MIN_REDIS_MAJOR) {
        return Err(Error::Setup(format!(
            "the hot tier needs Redis {MIN_REDIS_MAJOR} or Valkey, this is Redis {version}"
        )));
    }
    let config = redis::cmd("CONFIG")
        .arg("GET")
        .arg(&["maxmemory-policy", "appendonly"])
        .query_async::<HashMap<String, String>>(&mut connection)
        .await
        .map_err(Error::from);
    match config {
        Ok(config) => advice(&config),
        Err(Error::Refused(_)) => Ok(vec![
            "CONFIG GET is not allowed: make sure of maxmemory-policy noeviction and appendonly yes"
                .to_owned(),
        ]),
        Err(error) => Err(error),
    }
}

/// Recommendations about `config`, or an error when the server may evict keys.
fn advice(config: &HashMap<String, String>) -> Result<Vec<String>> {
    let get = |name: &str| config.get(name).map_or("unknown", String::as_str);
    let policy = get("maxmemory-policy");
    if policy != "noeviction" {
        return Err(Error::Setup(format!(
            "the hot tier would throw events away: maxmemory-policy is {policy}, set it to noeviction"
        )));
    }
    if get("appendonly") != "yes" {
        return Ok(vec![
            "appendonly is off: a restart of the server empties the hot tier, set appendonly yes"
                .to_owned(),
        ]);
    }
    Ok(Vec::new())
}

/// Takes the next of the replies to a transaction; nil when there is none.
pub(crate) fn reply<T: redis::FromRedisValue>(replies: &mut VecDeque<Value>) -> Result<T> {
    let reply = replies.pop_front().unwrap_or(Value::Nil);
    Ok(redis::from_redis_value(reply).map_err(redis::RedisError::from)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::advice;

    fn config(policy: &str, appendonly: &str) -> HashMap<String, String> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        [
            pair("maxmemory-policy", policy),
            pair("appendonly", appendonly),
        ]
        .into()
    }

    #[test]
    fn a_server_that_may_evict_is_refused_and_one_without_appendonly_gets_advice() {
        assert!(advice(&config("noeviction", "yes")).unwrap().is_empty());
        assert_eq!(advice(&config("noeviction", "no")).unwrap().len(), 1);
        let error = advice(&config("allkeys-lru", "yes")).unwrap_err();
        assert!(error.to_string().contains("noeviction"), "{error}");
    }
}
