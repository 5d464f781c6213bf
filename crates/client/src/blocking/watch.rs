//! Watches of blocking clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::BlockingClient;
use super::runtime::{OwnedRuntime, WaitTimedOut};
use crate::error::ClientError;
use crate::watch::{Watch, WatchEvent, WatchPositions, WatchStream};

/// What is watched, and from where on. Without a key and a prefix: every key. See [`BlockingClient::watch`].
#[derive(Clone)]
#[must_use = "a watch does nothing until it is started"]
pub struct BlockingWatch {
    watch: Watch,
    runtime: Arc<OwnedRuntime>,
}

/// The changes of a [`BlockingWatch`]: an iterator over its events, which waits for each and ends after an error.
/// Dropping it ends the watch. See [`crate::WatchStream`].
///
/// # Panics
/// Waiting for an event panics within an async context, as every call of a blocking client.
pub struct BlockingWatchStream {
    stream: WatchStream,
    runtime: Arc<OwnedRuntime>,
}

impl BlockingClient {
    /// Watches changes: of keys, of all keys with a prefix, or of every key. See [`crate::Client::watch`].
    ///
    /// ```
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # let server = runtime.block_on(fastness_client::testing::MockServer::start())?;
    /// # let client = server.client_builder().build_blocking()?;
    /// use std::time::Duration;
    ///
    /// let mut events = client.watch().prefix("user:").key("settings").start()?;
    /// client.set("user:7", "ada")?;
    /// client.set("other", "1")?;
    /// client.delete("user:7")?;
    /// for event in events.by_ref().take(2) {
    ///     let event = event?;
    ///     println!("{:?} at {}: {:?}", event.cause, event.position, event.changes);
    /// }
    /// // Waits no longer than that.
    /// assert!(events.next_timeout(Duration::from_millis(10)).is_err());
    /// // To continue here in another process, keep this text.
    /// let _text = events.positions().to_string();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> BlockingWatch {
        BlockingWatch { watch: self.client.watch(), runtime: self.runtime.clone() }
    }
}

impl BlockingWatch {
    fn with(self, change: impl FnOnce(Watch) -> Watch) -> BlockingWatch {
        BlockingWatch { watch: change(self.watch), runtime: self.runtime }
    }

    /// Watches a key as well.
    pub fn key(self, key: impl AsRef<[u8]>) -> BlockingWatch {
        self.with(|watch| watch.key(key))
    }

    /// Watches all keys with this prefix as well.
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> BlockingWatch {
        self.with(|watch| watch.prefix(prefix))
    }

    /// Starts with the oldest changes that a node still has, instead of now.
    pub fn from_oldest(self) -> BlockingWatch {
        self.with(Watch::from_oldest)
    }

    /// Continues after these positions, which [`BlockingWatchStream::positions`] has returned. A shard that is not
    /// among them starts now.
    pub fn after(self, positions: WatchPositions) -> BlockingWatch {
        self.with(|watch| watch.after(positions))
    }

    /// Events come with the current values of the keys that they have changed ([`WatchEvent::values`]).
    pub fn with_values(self) -> BlockingWatch {
        self.with(Watch::with_values)
    }

    /// Starts the watch. When this returns, every change that happens from then on will be in the stream.
    ///
    /// # Errors
    /// As for [`crate::Watch::start`].
    pub fn start(self) -> Result<BlockingWatchStream, ClientError> {
        let BlockingWatch { watch, runtime } = self;
        let stream = runtime.wait(watch.start())?;
        Ok(BlockingWatchStream { stream, runtime })
    }
}

impl BlockingWatchStream {
    /// As `next`, but waits no longer than this.
    ///
    /// # Errors
    /// There is no event by then.
    pub fn next_timeout(&mut self, span: Duration) -> Result<Option<Result<WatchEvent, ClientError>>, WaitTimedOut> {
        self.runtime.wait_within(span, self.stream.next())
    }

    /// Up to where each shard was taken from the stream; see [`crate::WatchStream::positions`]. While nothing that is
    /// watched changes, it advances with the calls that wait for an event.
    #[must_use]
    pub fn positions(&self) -> &WatchPositions {
        self.stream.positions()
    }
}

impl fmt::Debug for BlockingWatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingWatchStream").field("positions", self.positions()).finish_non_exhaustive()
    }
}

impl Iterator for BlockingWatchStream {
    type Item = Result<WatchEvent, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.wait(self.stream.next())
    }
}
