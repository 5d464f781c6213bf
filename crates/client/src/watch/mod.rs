//! Watching changes: a stream of every committed change of keys, prefixes, or all keys.

mod change;
mod held;
mod position;
mod run;
mod shards;

pub use change::{ChangeCause, ChangedExpiry, ChangedValue, CurrentContent, CurrentValue, WatchChange, WatchEvent};
pub use position::{ParsePositionsError, WatchPosition, WatchPositions};

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fastness_wire::v1::WatchRequest;
use fastness_wire::v1::watch_request::Start;
use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::calls::{ClientCore, DEADLINE_MAX};
use crate::client::Client;
use crate::error::ClientError;
use crate::slots::key_slot;
use held::EventRoom;
use run::{ShardRun, WatchItem};

/// Events that were received and not taken, whatever their bytes are. Beyond it the client reads no further, and the
/// node keeps the rest in its log.
const EVENTS_MAX: usize = 16;

/// Where a watch starts.
#[derive(Debug, Clone, Default)]
enum WatchStart {
    #[default]
    Now,
    Oldest,
    After(WatchPositions),
}

/// What is watched, and from where on. Without a key and a prefix: every key. See [`Client::watch`].
#[derive(Clone)]
#[must_use = "a watch does nothing until it is started"]
pub struct Watch {
    client: Client,
    keys: Vec<Bytes>,
    prefixes: Vec<Bytes>,
    start: WatchStart,
    with_values: bool,
}

impl Client {
    /// Watches changes: of keys, of all keys with a prefix, or of every key.
    ///
    /// ```no_run
    /// # async fn example(client: fastness_client::Client) -> Result<(), fastness_client::ClientError> {
    /// let mut events = client.watch().prefix("user:").key("settings").start().await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{:?} at {}: {:?}", event.cause, event.position, event.changes);
    ///     // To continue here in another process, keep this text.
    ///     let _text = events.positions().to_string();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The stream has every change that has committed, once, and those of each shard (so of each key) in their order;
    /// shards are independent of each other. Changes that were lost with their primary are never shown. When a node
    /// fails, the stream continues on another replica where it was; only [`ClientError::PositionPurged`] says that
    /// changes are missed.
    pub fn watch(&self) -> Watch {
        Watch {
            client: self.clone(),
            keys: Vec::new(),
            prefixes: Vec::new(),
            start: WatchStart::Now,
            with_values: false,
        }
    }
}

impl Watch {
    /// Watches a key as well.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Watch {
        self.keys.push(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// Watches all keys with this prefix as well.
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Watch {
        self.prefixes.push(Bytes::copy_from_slice(prefix.as_ref()));
        self
    }

    /// Starts with the oldest changes that a node still has, instead of now.
    pub fn from_oldest(mut self) -> Watch {
        self.start = WatchStart::Oldest;
        self
    }

    /// Continues after these positions, which [`WatchStream::positions`] has returned. A shard that is not among them
    /// starts now.
    pub fn after(mut self, positions: WatchPositions) -> Watch {
        self.start = WatchStart::After(positions);
        self
    }

    /// Events come with the current values of the keys that they have changed ([`WatchEvent::values`]).
    pub fn with_values(mut self) -> Watch {
        self.with_values = true;
        self
    }

    /// Starts the watch. When this returns, every change that happens from then on will be in the stream.
    ///
    /// # Errors
    /// See [`ClientError`]: the user may not read what is watched, a position is purged, or a shard was not reached
    /// within the deadline of calls.
    pub async fn start(self) -> Result<WatchStream, ClientError> {
        let core = self.client.core.clone();
        let deadline = self.client.settings.deadline.unwrap_or(core.deadline).min(DEADLINE_MAX);
        let until = Instant::now() + deadline;
        let shards = shards::list_shards(&core, until).await?;
        let (to_stream, items) = mpsc::channel(EVENTS_MAX);
        let room = EventRoom::new(core.held_bytes);
        let request =
            WatchRequest { prefixes: self.prefixes.clone(), with_values: self.with_values, ..WatchRequest::default() };
        let (mut tasks, mut starts) = (JoinSet::new(), Vec::new());
        for shard in shards {
            let keys: Vec<Bytes> =
                self.keys.iter().filter(|key| shard.slots.contains(&u32::from(key_slot(key)))).cloned().collect();
            // Without prefixes, a shard that has none of the keys is not watched.
            if keys.is_empty() && self.prefixes.is_empty() && !self.keys.is_empty() {
                continue;
            }
            let start = match &self.start {
                WatchStart::Now => None,
                WatchStart::Oldest => Some(Start::FromOldest(true)),
                WatchStart::After(positions) => positions.get(shard.shard).map(|after| Start::After(after.into())),
            };
            let request = WatchRequest { keys, start, ..request.clone() };
            let (run, started) = ShardRun::new(core.clone(), shard, request, room.clone());
            tasks.spawn(run.run(to_stream.clone()));
            starts.push(started);
        }
        let mut positions = WatchPositions::default();
        for mut started in starts {
            // Without an answer in time, the newest reason is there.
            let _ = tokio::time::timeout_at(until, started.wait_for(run::StartStatus::is_final)).await;
            let status = started.borrow().clone();
            let (shard, position) = status.into_result()?;
            positions.set(shard, position);
        }
        Ok(WatchStream { items, positions, has_failed: false, _tasks: tasks, _core: core })
    }
}

/// The changes of a [`Watch`]. Dropping it ends the watch.
///
/// An error ends the stream: changes after it are not shown.
///
/// Of a stream that its caller does not read, at most 16 events are held in memory, and at most about as many bytes of
/// events as [`ClientBuilder::held_bytes`](crate::ClientBuilder::held_bytes) says; beside them, of each shard, the
/// response that was read last, and a change that comes in several of them. Nothing more is read until some are taken.
/// The stream can continue then as long as the logs of the nodes have what follows.
pub struct WatchStream {
    items: mpsc::Receiver<WatchItem>,
    positions: WatchPositions,
    has_failed: bool,
    /// Aborted when the stream is dropped.
    _tasks: JoinSet<()>,
    _core: Arc<ClientCore>,
}

impl WatchStream {
    /// The next event; absent after an error.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, ClientError>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Up to where each shard was taken from the stream: [`Watch::after`] continues there. Advances as well while
    /// nothing that is watched changes.
    #[must_use]
    pub fn positions(&self) -> &WatchPositions {
        &self.positions
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, ClientError>>> {
        while !self.has_failed {
            match ready!(self.items.poll_recv(cx)) {
                None => break,
                Some(WatchItem::Progress { shard, position }) => self.positions.set(shard, position),
                Some(WatchItem::Event { event, .. }) => {
                    self.positions.set(event.shard, event.position);
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(WatchItem::Failed(error)) => {
                    self.has_failed = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvent, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}
