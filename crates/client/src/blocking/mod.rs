//! A client for code that is not async: the same calls, which wait for their results.
//!
//! ```
//! # // The server needs a runtime; the client has its own.
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let server = runtime.block_on(fastness_client::testing::MockServer::start())?;
//! # let builder = server.client_builder();
//! // let builder = Client::builder().cluster_file("dev/cluster.json");
//! let client = builder.build_blocking()?;
//! client.set("greeting", "hello")?;
//! assert_eq!(client.get("greeting")?.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [Pipelines](BlockingPipeline) and [watches](BlockingWatch) are iterators over results and events.
//!
//! Use it from threads, of which any number can share one client. **Every call panics within an async context**, where
//! waiting would keep a thread of the runtime from running other tasks: use [`Client`](crate::Client) there, or
//! `tokio::task::spawn_blocking`, in which a blocking client works.

mod bitmap;
mod geo;
mod hyperloglog;
mod list;
mod pipeline;
mod runtime;
mod sets;
mod sorted_set;
mod stream;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::builder::ClientBuilder;
use crate::client::Client as AsyncClient;
use crate::error::ClientError;
use crate::operation::{Operation, OperationResult};
use crate::reply::{ExpiringValue, ReplyValue};
use crate::set::{SetOptions, SetOutcome};
use crate::settings::CallSettings;
use crate::txn::{Txn, TxnOutcome};

use runtime::OwnedRuntime;

pub use self::BlockingClient as Client;
pub use pipeline::{BlockingPipeline, BlockingPipelineResults, BlockingPipelineSender};
pub use runtime::WaitTimedOut;
pub use watch::{BlockingWatch, BlockingWatchStream};

/// A client whose calls wait for their results; see the [module](self). Clones are cheap; they share everything that
/// those of [`crate::Client`] share, and one thread that runs their connections.
///
/// Each call does what the one of the same name of [`crate::Client`] does.
///
/// # Panics
/// Every call panics within an async context.
#[derive(Debug, Clone)]
pub struct BlockingClient {
    client: AsyncClient,
    runtime: Arc<OwnedRuntime>,
}

impl ClientBuilder {
    /// Checks the options and builds a client for code that is not async, with a small runtime of its own. Connections
    /// are made when they are first used.
    ///
    /// # Errors
    /// As for [`ClientBuilder::build`]; [`ClientError::Invalid`] as well if no thread could be started.
    pub fn build_blocking(self) -> Result<BlockingClient, ClientError> {
        let client = self.build()?;
        Ok(BlockingClient { client, runtime: Arc::new(OwnedRuntime::start()?) })
    }
}

impl BlockingClient {
    fn wait<R>(&self, call: impl Future<Output = R>) -> R {
        self.runtime.wait(call)
    }

    /// A client whose calls have these settings. It shares everything with this one.
    #[must_use]
    pub fn with_options(&self, settings: CallSettings) -> BlockingClient {
        BlockingClient { client: self.client.with_options(settings), runtime: self.runtime.clone() }
    }

    /// The value of a string; see [`crate::Client::get`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.get(key))
    }

    /// The value of a string with its remaining time to live; see [`crate::Client::get_with_ttl`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get_with_ttl(&self, key: impl AsRef<[u8]>) -> Result<Option<ExpiringValue>, ClientError> {
        self.wait(self.client.get_with_ttl(key))
    }

    /// Sets a string; see [`crate::Client::set`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Result<(), ClientError> {
        self.wait(self.client.set(key, value))
    }

    /// Sets a string with an expiry, under a condition, or returning the value before; see [`crate::Client::set_with`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: SetOptions,
    ) -> Result<SetOutcome, ClientError> {
        self.wait(self.client.set_with(key, value, options))
    }

    /// Removes a key; returns whether there was one. See [`crate::Client::delete`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.wait(self.client.delete(key))
    }

    /// Removes keys that have one slot; returns how many there were. See [`crate::Client::delete_many`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        self.wait(self.client.delete_many(keys))
    }

    /// Adds to an integer, and returns the sum; see [`crate::Client::increment`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, ClientError> {
        self.wait(self.client.increment(key, by))
    }

    /// Makes a key expire after this time; returns whether there is such a key. See [`crate::Client::expire`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn expire(&self, key: impl AsRef<[u8]>, after: Duration) -> Result<bool, ClientError> {
        self.wait(self.client.expire(key, after))
    }

    /// Makes a key expire at this time; returns whether there is such a key. See [`crate::Client::expire_at`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn expire_at(&self, key: impl AsRef<[u8]>, at: SystemTime) -> Result<bool, ClientError> {
        self.wait(self.client.expire_at(key, at))
    }

    /// Makes a key not expire any more; returns whether it would have. See [`crate::Client::persist`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        self.wait(self.client.persist(key))
    }

    /// The value of one field of a hash; see [`crate::Client::hash_get`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hash_get(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.hash_get(key, field))
    }

    /// The values of several fields of a hash; see [`crate::Client::hash_get_many`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hash_get_many<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = N>,
    ) -> Result<BTreeMap<Bytes, Bytes>, ClientError> {
        self.wait(self.client.hash_get_many(key, fields))
    }

    /// All fields of a hash; see [`crate::Client::hash_get_all`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hash_get_all(&self, key: impl AsRef<[u8]>) -> Result<BTreeMap<Bytes, Bytes>, ClientError> {
        self.wait(self.client.hash_get_all(key))
    }

    /// Sets fields of a hash; returns how many are new. See [`crate::Client::hash_set`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hash_set<N: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.hash_set(key, fields))
    }

    /// Removes fields of a hash; returns how many there were. See [`crate::Client::hash_delete`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn hash_delete<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = N>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.hash_delete(key, fields))
    }

    /// Runs any command; see [`crate::Client::execute`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn execute<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<ReplyValue, ClientError> {
        self.wait(self.client.execute(args))
    }

    /// Runs a command that changes nothing; see [`crate::Client::execute_read`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn execute_read<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<ReplyValue, ClientError> {
        self.wait(self.client.execute_read(args))
    }

    /// Runs a transaction; see [`crate::Client::txn`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn txn(&self, txn: Txn) -> Result<TxnOutcome, ClientError> {
        self.wait(self.client.txn(txn))
    }

    /// Changes a string to what a function makes of it; see [`crate::Client::update`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        change: impl FnMut(Option<Bytes>) -> Option<Bytes>,
    ) -> Result<Option<Bytes>, ClientError> {
        self.wait(self.client.update(key, change))
    }

    /// Runs operations on any keys; returns a result for each, in the same order. See [`crate::Client::batch`].
    pub fn batch(&self, operations: impl IntoIterator<Item = Operation>) -> Vec<Result<OperationResult, ClientError>> {
        self.wait(self.client.batch(operations))
    }
}
