//! The connection: made when it is first used, made again by itself when it broke.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};

use crate::error::{Error, Result};

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const OLDEST_MAJOR: u32 = 7;

/// A connection whose calls may take `limit`.
pub(crate) fn connect(url: &str, limit: Duration) -> Result<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_response_timeout(Some(limit))
        // Our callers retry; this only decides how long one call holds them up.
        .set_number_of_retries(1);
    Ok(ConnectionManager::new_lazy_with_config(
        client(url)?,
        config,
    )?)
}

/// Connections that one call has alone while it runs: a transaction watches keys for all of its
/// connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnConnections {
    client: Client,
    config: AsyncConnectionConfig,
    idle: Arc<Mutex<Vec<MultiplexedConnection>>>,
}

impl OwnConnections {
    pub(crate) fn new(url: &str, limit: Duration) -> Result<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(limit));
        Ok(Self {
            client: client(url)?,
            config,
            idle: Arc::default(),
        })
    }

    /// One that nobody else has. Give it back when everything went well, and drop it otherwise: what
    /// it watches is forgotten with it.
    pub(crate) async fn take(&self) -> Result<MultiplexedConnection> {
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

    pub(crate) fn give_back(&self, connection: MultiplexedConnection) {
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<MultiplexedConnection>> {
        self.idle
            .lock()
            .expect("nothing panics while it holds this")
    }
}

fn client(url: &str) -> Result<Client> {
    Client::open(url)
        .map_err(|error| Error::Setup(format!("the URL of the hot tier is not valid: {error}")))
}

/// Verifies that the server does not throw events away, and says what to set when it may.
///
/// Returns what should be set and need not be.
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
    if major.is_some_and(|major: u32| major < OLDEST_MAJOR) {
        return Err(Error::Setup(format!(
            "the hot tier needs Redis {OLDEST_MAJOR} or Valkey, this is Redis {version}"
        )));
    }
    let asked = redis::cmd("CONFIG")
        .arg("GET")
        .arg(&["maxmemory-policy", "appendonly"])
        .query_async::<HashMap<String, String>>(&mut connection)
        .await
        .map_err(Error::from);
    match asked {
        Ok(config) => advice(&config),
        Err(Error::Refused(_)) => Ok(vec![
            "CONFIG GET is not allowed: make sure of maxmemory-policy noeviction and appendonly yes"
                .to_owned(),
        ]),
        Err(error) => Err(error),
    }
}

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
    fn a_server_that_may_evict_is_refused_and_one_without_a_file_is_told() {
        assert!(advice(&config("noeviction", "yes")).unwrap().is_empty());
        assert_eq!(advice(&config("noeviction", "no")).unwrap().len(), 1);
        let error = advice(&config("allkeys-lru", "yes")).unwrap_err();
        assert!(error.to_string().contains("noeviction"), "{error}");
    }
}
