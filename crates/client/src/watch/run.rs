//! The task that watches one shard: which node serves it, and what follows the end of a stream.
//!
//! Invariants:
//! - A stream starts after the last unit that was passed on as a whole, and units are passed on in the order of their
//!   positions: nothing is missed or doubled, whichever node serves.
//! - Only a user error, a refusal for good, or a position that no node has any more ends the task.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::v1::watch_request::Start;
use fastness_wire::v1::watch_service_client::WatchServiceClient;
use fastness_wire::v1::{self, WatchRequest, WatchResponse};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::change::{CurrentValue, WatchEvent, time};
use super::held::EventRoom;
use super::position::WatchPosition;
use super::shards::{SILENCE_MAX, ShardReplicas, list_shards, silent};
use crate::calls::ClientCore;
use crate::channels::NodeChannel;
use crate::error::ClientError;
use crate::verdict::{CallKind, Disposition, disposition};

/// How long a node that does not answer is tried after another one has said that it has purged the position.
const PURGED_WAIT_MAX: Duration = Duration::from_secs(30);
/// Reasons after which the same stream may be served a moment later, or elsewhere.
const PASSING: [&str; 3] = ["WATCH_TOO_SLOW", "MAX_WATCHERS", "NO_MEMORY"];
const POSITION_PURGED: &str = "POSITION_PURGED";

/// What a task passes to the stream.
pub(super) enum WatchItem {
    Event {
        event: WatchEvent,
        /// What it takes until the caller takes it.
        _room: OwnedSemaphorePermit,
    },
    /// Everything up to here was passed on.
    Progress {
        shard: u32,
        position: WatchPosition,
    },
    Failed(ClientError),
}

/// How far the start of a task has come.
#[derive(Debug, Clone)]
pub(super) enum StartStatus {
    /// With the newest reason.
    Waits(Option<ClientError>),
    Started {
        shard: u32,
        position: WatchPosition,
    },
    Failed(ClientError),
}

impl StartStatus {
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, StartStatus::Waits(_))
    }

    /// Where it has started.
    ///
    /// # Errors
    /// It has failed, or not started yet.
    pub(super) fn into_result(self) -> Result<(u32, WatchPosition), ClientError> {
        match self {
            StartStatus::Started { shard, position } => Ok((shard, position)),
            StartStatus::Failed(error) | StartStatus::Waits(Some(error)) => Err(error),
            StartStatus::Waits(None) => {
                let message = "no node has accepted the watch within the deadline".to_owned();
                Err(ClientError::DeadlineExceeded { message })
            }
        }
    }
}

type WatchClient = WatchServiceClient<NodeChannel>;

/// The generated client of one node.
fn service(core: &ClientCore, address: &Arc<str>) -> Result<WatchClient, ClientError> {
    Ok(WatchClient::new(core.pool.channel(address)?).max_decoding_message_size(16 * 1024 * 1024))
}

/// How a try has ended.
enum TryEnd {
    /// The stream is not read any more.
    Dropped,
    /// Another node is named.
    Moved(Arc<str>, ClientError),
    /// Another try may succeed.
    Again(Duration, ClientError),
    /// This node has purged the position.
    Purged(ClientError),
    Failed(ClientError),
}

/// See the module.
pub(super) struct ShardRun {
    core: Arc<ClientCore>,
    shard: u32,
    /// Where it is served.
    addresses: Vec<Arc<str>>,
    /// Which of them is tried.
    turn: usize,
    /// As it is sent before there is a position.
    request: WatchRequest,
    /// After the last unit that was passed on.
    position: Option<WatchPosition>,
    /// A unit of which parts were received.
    open: Option<v1::WatchUnit>,
    /// Whole units since the last position, whose values may follow.
    events: Vec<WatchEvent>,
    /// Tries without a response since the last one.
    failures: u32,
    /// Nodes among these tries that had purged the position, and since when there is one.
    purged: HashSet<Arc<str>>,
    purged_since: Option<Instant>,
    room: EventRoom,
    started: watch::Sender<StartStatus>,
}

impl ShardRun {
    /// A task, and how its start proceeds.
    pub(super) fn new(
        core: Arc<ClientCore>,
        replicas: ShardReplicas,
        request: WatchRequest,
        room: EventRoom,
    ) -> (ShardRun, watch::Receiver<StartStatus>) {
        let (started, follows) = watch::channel(StartStatus::Waits(None));
        let addresses = replicas.addresses;
        // The node that is known to serve the shard has a connection already. The first one is the primary, whose
        // memory has changes that have not committed: current values are read from another one.
        let slot = u16::try_from(*replicas.slots.start()).unwrap_or_default();
        let known = core.slots.read().address(slot).cloned();
        let known = addresses.iter().position(|address| Some(address) == known.as_ref()).unwrap_or(0);
        let turn = if request.with_values { 1 % addresses.len().max(1) } else { known };
        let run = ShardRun {
            core,
            shard: replicas.shard,
            addresses,
            turn,
            request: WatchRequest { shard: replicas.shard, ..request },
            position: None,
            open: None,
            events: Vec::new(),
            failures: 0,
            purged: HashSet::new(),
            purged_since: None,
            room,
            started,
        };
        (run, follows)
    }

    /// Runs until the stream is dropped, or fails for good.
    pub(super) async fn run(mut self, to_stream: mpsc::Sender<WatchItem>) {
        let mut moved_to = None;
        loop {
            let address = match moved_to.take().or_else(|| self.addresses.get(self.turn).cloned()) {
                Some(address) => address,
                None => self.core.pool.any(),
            };
            let (after, error) = match self.attempt(&address, &to_stream).await {
                TryEnd::Dropped => return,
                TryEnd::Failed(error) => return self.fail(error, &to_stream).await,
                TryEnd::Moved(to, error) => {
                    // Nodes that name each other are tried no faster than others.
                    moved_to = (self.failures == 0).then_some(to);
                    (Duration::ZERO, error)
                }
                TryEnd::Again(after, error) => (after, error),
                TryEnd::Purged(error) => {
                    self.purged.insert(address);
                    if self.is_gone() {
                        return self.fail(error, &to_stream).await;
                    }
                    (Duration::ZERO, error)
                }
            };
            tracing::debug!(target: "fastness_client", shard = self.shard, %error, "a watch continues");
            self.started.send_if_modified(|status| {
                let waits = !status.is_final();
                if waits {
                    *status = StartStatus::Waits(Some(error));
                }
                waits
            });
            if to_stream.is_closed() {
                return;
            }
            if moved_to.is_none() {
                self.next_address(after).await;
            } else {
                self.failures += 1;
            }
        }
    }

    /// Whether the position counts as purged: on all nodes, or on those that answer.
    fn is_gone(&mut self) -> bool {
        let since = *self.purged_since.get_or_insert_with(Instant::now);
        self.addresses.iter().all(|address| self.purged.contains(address)) || since.elapsed() >= PURGED_WAIT_MAX
    }

    async fn fail(&self, error: ClientError, to_stream: &mpsc::Sender<WatchItem>) {
        self.started.send_if_modified(|status| {
            let waits = !status.is_final();
            if waits {
                *status = StartStatus::Failed(error.clone());
            }
            waits
        });
        // Nobody may be reading any more.
        let _ = to_stream.send(WatchItem::Failed(error)).await;
    }

    /// Turns to the next node. The first one is tried at once, further ones after a pause.
    async fn next_address(&mut self, after: Duration) {
        self.turn += 1;
        if self.turn >= self.addresses.len() {
            self.turn = 0;
            self.learn_addresses().await;
        }
        let retries = self.failures.saturating_sub(1);
        let wait = self.core.retries.wait(retries, rand::random::<f64>(), after);
        if self.failures > 0 {
            tokio::time::sleep(wait).await;
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Nodes may have been replaced.
    async fn learn_addresses(&mut self) {
        let until = Instant::now() + SILENCE_MAX / 10;
        let Ok(shards) = list_shards(&self.core, until).await else { return };
        if let Some(found) = shards.into_iter().find(|found| found.shard == self.shard) {
            self.addresses = found.addresses;
        }
    }

    fn request(&self) -> WatchRequest {
        let start = self.position.map(|after| Start::After(after.into())).or(self.request.start);
        WatchRequest { start, ..self.request.clone() }
    }

    /// Reads one stream to its end.
    async fn attempt(&mut self, address: &Arc<str>, to_stream: &mpsc::Sender<WatchItem>) -> TryEnd {
        self.open = None;
        self.events.clear();
        let mut service = match service(&self.core, address) {
            Ok(service) => service,
            Err(error) => return TryEnd::Again(Duration::ZERO, error),
        };
        let call = service.watch(self.core.authorized(self.request()));
        let stream = tokio::select! {
            stream = timeout(SILENCE_MAX, call) => stream,
            () = to_stream.closed() => return TryEnd::Dropped,
        };
        let mut stream = match stream {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return self.ended(address, &status),
            Err(_) => return self.lost(address),
        };
        loop {
            let next = tokio::select! {
                next = timeout(SILENCE_MAX, stream.message()) => next,
                () = to_stream.closed() => return TryEnd::Dropped,
            };
            let response = match next {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return self.lost(address),
                Ok(Err(status)) => return self.ended(address, &status),
                Err(_) => return self.lost(address),
            };
            self.failures = 0;
            self.purged.clear();
            self.purged_since = None;
            if self.pass_on(response, to_stream).await.is_none() {
                return TryEnd::Dropped;
            }
        }
    }

    fn lost(&self, address: &str) -> TryEnd {
        self.core.pool.failed(address);
        TryEnd::Again(Duration::ZERO, silent(address))
    }

    /// What the status at the end of a stream leads to.
    fn ended(&self, address: &str, status: &Status) -> TryEnd {
        match disposition(CallKind::Read, status) {
            Disposition::Moved { address, error, .. } => TryEnd::Moved(address, error),
            Disposition::Again { after, error } | Disposition::Contended { after, error } => {
                self.core.pool.failed(address);
                TryEnd::Again(after, error)
            }
            Disposition::Refused(error) if PASSING.contains(&error.reason()) => TryEnd::Again(Duration::ZERO, error),
            Disposition::Refused(error) if error.reason() == POSITION_PURGED => {
                TryEnd::Purged(ClientError::PositionPurged { shard: self.shard, message: error.to_string() })
            }
            Disposition::Refused(error) | Disposition::Lost(error) => TryEnd::Failed(error),
        }
    }

    /// Passes on what a response completes; absent: the stream is dropped.
    async fn pass_on(&mut self, response: WatchResponse, to_stream: &mpsc::Sender<WatchItem>) -> Option<()> {
        for unit in response.units {
            self.receive(unit);
        }
        for value in response.values {
            let value = CurrentValue::from(value);
            let changes =
                |event: &WatchEvent| event.changes.iter().any(|change| change.keys().any(|key| *key == value.key));
            if let Some(event) = self.events.iter_mut().rev().find(|event| changes(event)) {
                event.values.push(value);
            }
        }
        let reached = WatchPosition::from(response.position?);
        let whole = self.events.partition_point(|event| event.position <= reached);
        for event in self.events.drain(..whole) {
            let position = event.position;
            // Meanwhile nothing is read.
            let room = self.room.take(&event).await?;
            to_stream.send(WatchItem::Event { event, _room: room }).await.ok()?;
            self.position = Some(position);
        }
        let position = self.position.map_or(reached, |last| last.max(reached));
        self.position = Some(position);
        let shard = self.shard;
        self.started.send_if_modified(|status| {
            let waits = !status.is_final();
            if waits {
                *status = StartStatus::Started { shard, position };
            }
            waits
        });
        // A stream that is not read gets the position with its next event.
        match to_stream.try_send(WatchItem::Progress { shard, position }) {
            Ok(()) | Err(TrySendError::Full(_)) => Some(()),
            Err(TrySendError::Closed(_)) => None,
        }
    }

    /// Takes a unit or a part of one.
    fn receive(&mut self, unit: v1::WatchUnit) {
        let unit = match self.open.take() {
            Some(mut open) => {
                open.changes.extend(unit.changes);
                open.continued = unit.continued;
                open
            }
            None => unit,
        };
        if unit.continued {
            self.open = Some(unit);
            return;
        }
        let position = WatchPosition::from(unit.position.unwrap_or_default());
        // Was passed on before: a node that ignores the start of the stream.
        if self.position.is_some_and(|last| position <= last) {
            return;
        }
        self.events.push(WatchEvent {
            shard: self.shard,
            position,
            time: time(unit.time_ms),
            cause: unit.cause().into(),
            changes: unit.changes.into_iter().map(Into::into).collect(),
            values: Vec::new(),
        });
    }
}
