//! The task of one stream: reads the log, and fills the outbox.

use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::{GroupHandle, Role};
use fastness_shard::batch::UnitKind;
use fastness_shard::changes::{
    ChangeError, ChangeFilter, ChangePosition, ChangeReader, ChangeStart, CommittedBatch, CommittedUnit, effects,
};
use fastness_types::limits::{WATCH_LARGE_TIME_MAX, WATCH_MESSAGE_BYTES, WATCH_STALL_MAX};
use fastness_types::{BootNs, Clock, ShardId};
use fastness_wire::v1::{WatchCause, WatchChange, WatchResponse, WatchUnit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Code;

use super::changes::{changes_of, write_position};
use super::outbox::{Outbox, Unsent, WatchResponses};
use super::request::{Keys, Watched};
use super::values::ChangedKeys;
use crate::access::{Lacking, Refused};
use crate::api::gateway::Gateway;
use crate::api::lane::{Caller, not_served};
use crate::api::refusal::{ApiRefusal, reason};
use crate::auth::AuthRefusal;
use crate::replicas::Running;
use crate::shared::{NodeShared, Phase};

/// How often the rights of the user, the phase of the node and its contact with the primary are checked, at least.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// Time between two responses while nothing that is watched changes.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How long a position is waited for that the replica has not reached.
const AHEAD_MAX: Duration = Duration::from_secs(2);
/// How long a replica may have no contact with a primary: longer than an election takes.
const CONTACT_LOST_MAX: Duration = Duration::from_secs(5);
/// The least time between two looks at the log: a shard that commits all the time is not read for every batch.
const READ_EVERY: Duration = Duration::from_millis(1);
/// What a response, and a change or value in it, take beside their bytes.
const RESPONSE_COST: usize = 256;
const CHANGE_COST: usize = 128;
/// Bytes of the log that are looked through before other tasks have their turn.
const LOOK_THROUGH_BYTES: usize = 64 * 1024;

/// Starts a stream.
pub(super) async fn start(
    gateway: &Gateway,
    caller: Caller,
    watched: Watched,
    clock: Arc<dyn Clock>,
) -> Result<WatchResponses, ApiRefusal> {
    let node = gateway.node.clone();
    let Watched { shard, start, keys, with_values } = watched;
    let place = node.watchers.take_place().ok_or_else(|| {
        let refusal = ApiRefusal::unavailable(reason::MAX_WATCHERS, "this node has as many watchers as it serves");
        ApiRefusal { code: Code::ResourceExhausted, ..refusal }
    })?;
    // Before the rights are checked: a change after that is noticed.
    let generation = node.accounts.generation();
    check_rights(&node, &keys, &caller)?;
    let replica = gateway.replicas.get(shard).ok_or_else(|| not_served(shard))?;
    let handle = node.group(shard).ok_or_else(|| not_served(shard))?;
    let large = node.watchers.large.clone();
    let reader = open(handle.clone(), start, large, shard).await?;
    let outbox = Arc::new(Outbox::default());
    let mut stream = WatchStream {
        contact: clock.boot(),
        filter: keys.filter(),
        sent: reader.position(),
        confirmed: reader.position(),
        sent_at: None,
        changed: with_values.then(ChangedKeys::default),
        replica,
        read_at: Instant::now(),
        large_until: None,
        message: WatchMessage::default(),
        outbox: outbox.clone(),
        node,
        shard,
        keys,
        caller,
        generation,
        handle,
        reader,
        clock,
        _place: place,
    };
    tokio::spawn(async move { stream.run().await });
    Ok(WatchResponses::new(outbox))
}

async fn open(
    handle: GroupHandle,
    start: ChangeStart,
    large: Arc<Semaphore>,
    shard: ShardId,
) -> Result<ChangeReader, ApiRefusal> {
    let mut reader = ChangeReader::open(handle, start, large).await.map_err(|error| refusal(error, shard))?;
    let reached = async {
        while !reader.is_reached() {
            reader.moved().await;
        }
    };
    if tokio::time::timeout(AHEAD_MAX, reached).await.is_err() && !reader.is_reached() {
        let text = "this node's replica has not reached the position yet";
        return Err(ApiRefusal::unavailable(reason::POSITION_AHEAD, text));
    }
    Ok(reader)
}

fn check_rights(node: &NodeShared, keys: &Keys, caller: &Caller) -> Result<(), ApiRefusal> {
    if node.accounts.is_outdated() {
        return Err(ApiRefusal::from_reply(AuthRefusal::Outdated.to_string().as_bytes()));
    }
    if keys.are_allowed(&caller.account, node.accounts.table()) {
        return Ok(());
    }
    node.note_refused(Refused {
        lacking: Lacking::Key,
        context: "toplevel",
        object: keys.object(),
        user: caller.account.name.clone().into_bytes(),
        client: format!("addr={} cmd=grpc-watch", caller.addresses.0).into_bytes(),
    });
    let text = "NOPERM No permissions to read all that is watched (DUMP, and read access to these keys)";
    Err(ApiRefusal::from_reply(text.as_bytes()))
}

fn refusal(error: ChangeError, shard: ShardId) -> ApiRefusal {
    match error {
        ChangeError::Purged { oldest } => {
            let text = format!("the log of this replica of shard {shard} starts at index {}", oldest.0);
            ApiRefusal::new(Code::OutOfRange, reason::POSITION_PURGED, text)
                .with("oldest_index", oldest.0)
                .with("shard", shard)
        }
        ChangeError::NotServing => not_served(shard),
        ChangeError::Batch { .. } | ChangeError::Log { .. } => {
            tracing::error!(%shard, %error, "a watcher cannot read the log");
            ApiRefusal::new(Code::Internal, reason::LOG_UNREADABLE, error.to_string())
        }
    }
}

/// A response that is being filled.
#[derive(Default)]
struct WatchMessage {
    units: Vec<WatchUnit>,
    bytes: usize,
    changes: usize,
}

/// How a stream ends.
enum StreamEnd {
    /// The client is gone.
    Closed,
    /// The client takes nothing.
    Stalled,
    Refused(ApiRefusal),
}

impl From<ApiRefusal> for StreamEnd {
    fn from(refusal: ApiRefusal) -> StreamEnd {
        StreamEnd::Refused(refusal)
    }
}

impl From<Unsent> for StreamEnd {
    fn from(unsent: Unsent) -> StreamEnd {
        match unsent {
            Unsent::Closed => StreamEnd::Closed,
            Unsent::Stalled => StreamEnd::Stalled,
        }
    }
}

struct WatchStream {
    node: Arc<NodeShared>,
    shard: ShardId,
    keys: Keys,
    filter: ChangeFilter,
    caller: Caller,
    /// Of the accounts with which the rights were checked.
    generation: u64,
    handle: GroupHandle,
    reader: ChangeReader,
    clock: Arc<dyn Clock>,
    /// When the replica was last in contact with a primary.
    contact: BootNs,
    outbox: Arc<Outbox>,
    message: WatchMessage,
    /// Everything up to here is in the outbox or in the message.
    sent: ChangePosition,
    /// The position in the last response.
    confirmed: ChangePosition,
    /// Keys whose current values are sent, if that was requested.
    changed: Option<ChangedKeys>,
    replica: Running,
    /// When the last response was added to the outbox.
    sent_at: Option<Instant>,
    /// When the log was looked at last.
    read_at: Instant,
    /// Until when a batch of several entries must be received.
    large_until: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl WatchStream {
    async fn run(&mut self) {
        let Err(end) = self.follow().await;
        match end {
            StreamEnd::Closed => {}
            StreamEnd::Refused(refusal) => self.outbox.end(refusal),
            StreamEnd::Stalled => {
                self.node.watchers.count_cut_off();
                let seconds = WATCH_STALL_MAX.as_secs();
                tracing::info!(shard = %self.shard, user = self.caller.account.name, "a watcher is cut off because it takes nothing");
                self.outbox.cut_off(|taken| {
                    let text = format!("the client took nothing for {seconds} s; what was not sent is dropped");
                    ApiRefusal::new(Code::ResourceExhausted, reason::WATCH_TOO_SLOW, text)
                        .with("shard", self.shard)
                        .with("index", taken.index.0)
                        .with("unit", taken.unit)
                });
            }
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, StreamEnd> {
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.check()?;
            self.send_progress().await?;
            let next = tokio::select! {
                biased;
                next = self.reader.next() => next.map_err(|error| refusal(error, self.shard))?,
                _ = check.tick() => continue,
            };
            match next {
                Some(batch) => self.send_batch(&batch).await?,
                None => {
                    self.sent = self.reader.position();
                    self.flush().await?;
                    tokio::select! {
                        () = self.reader.moved() => tokio::time::sleep_until(self.read_at + READ_EVERY).await,
                        () = self.outbox.changed() => {}
                        _ = check.tick() => {}
                    }
                    self.read_at = Instant::now();
                }
            }
        }
    }

    /// Checks what ends a stream beside its client.
    fn check(&mut self) -> Result<(), StreamEnd> {
        if self.outbox.is_closed() {
            return Err(StreamEnd::Closed);
        }
        let generation = self.node.accounts.generation();
        if generation != self.generation {
            let account = self.node.accounts.load().get(self.caller.account.name.as_bytes()).cloned();
            let gone = || ApiRefusal::from_reply(b"NOPERM The user was deleted");
            self.caller.account = account.ok_or_else(gone)?;
            check_rights(&self.node, &self.keys, &self.caller)?;
            self.generation = generation;
        }
        let now = self.clock.boot();
        let has_contact = match &**self.handle.role() {
            Role::Leader { lease, .. } => lease.holds(now),
            Role::Follower { .. } => self.handle.hears_leader(now),
            Role::Stopped { .. } => return Err(not_served(self.shard).into()),
        };
        if has_contact {
            self.contact = now;
        } else if now.since(self.contact) > CONTACT_LOST_MAX {
            let text = format!("this node's replica of shard {} has lost contact with the primary", self.shard);
            return Err(ApiRefusal::unavailable(reason::NOT_SERVED, text).into());
        }
        // What was committed until now was sent, or is read from another replica.
        if self.node.phase() >= Phase::Waiting {
            return Err(not_served(self.shard).into());
        }
        Ok(())
    }

    async fn send_batch(&mut self, batch: &CommittedBatch) -> Result<(), StreamEnd> {
        let shard = self.shard;
        let mut looked_through = 0;
        self.large_until = batch.is_assembled().then(|| Instant::now() + WATCH_LARGE_TIME_MAX);
        for unit in batch.units().map_err(|error| refusal(error, shard))? {
            looked_through += unit.unit.effects.len();
            self.send_unit(&unit).await?;
            self.sent = unit.position;
        }
        self.sent = ChangePosition::end_of(batch.index());
        if self.message.bytes >= WATCH_MESSAGE_BYTES || batch.is_assembled() {
            self.flush().await?;
        }
        self.large_until = None;
        if looked_through >= LOOK_THROUGH_BYTES {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Adds the changes of a unit to the message. A long one is sent in parts.
    async fn send_unit(&mut self, unit: &CommittedUnit<'_>) -> Result<(), StreamEnd> {
        let cause = match unit.unit.kind {
            UnitKind::Write => WatchCause::Command,
            UnitKind::Expiry => WatchCause::Expiry,
            UnitKind::Mode | UnitKind::Time | UnitKind::Setting | UnitKind::Leave => return Ok(()),
        };
        let mut is_open = false;
        for effect in effects(unit.unit.effects) {
            let effect = effect.map_err(|error| {
                tracing::error!(shard = %self.shard, %error, "a watcher cannot read the log");
                ApiRefusal::new(Code::Internal, reason::LOG_UNREADABLE, error.to_string())
            })?;
            for (change, bytes) in changes_of(&effect, &self.filter) {
                if self.message.bytes >= WATCH_MESSAGE_BYTES {
                    if is_open && let Some(last) = self.message.units.last_mut() {
                        last.continued = true;
                    }
                    self.flush().await?;
                    is_open = false;
                }
                if !is_open {
                    self.begin_unit(unit, cause);
                    is_open = true;
                }
                self.add(change, bytes);
            }
        }
        if is_open {
            self.node.watchers.count_unit();
        }
        Ok(())
    }

    fn begin_unit(&mut self, unit: &CommittedUnit<'_>, cause: WatchCause) {
        self.message.units.push(WatchUnit {
            position: Some(write_position(unit.position)),
            time_ms: unit.unit.timestamp.0,
            cause: cause.into(),
            changes: Vec::new(),
            continued: false,
        });
    }

    fn add(&mut self, change: WatchChange, bytes: usize) {
        if let Some(changed) = &mut self.changed {
            changed.add(&change);
        }
        if let Some(unit) = self.message.units.last_mut() {
            unit.changes.push(change);
        }
        self.message.bytes += bytes;
        self.message.changes += 1;
    }

    /// Passes the message to the outbox, if it has units.
    async fn flush(&mut self) -> Result<(), StreamEnd> {
        if self.message.units.is_empty() { Ok(()) } else { self.send().await }
    }

    /// Sends the position, if nothing was sent for a while. The first response says where the stream starts.
    async fn send_progress(&mut self) -> Result<(), StreamEnd> {
        let is_due = self.sent_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY);
        // A client that has not taken the last one needs no further one.
        if is_due && (self.sent_at.is_none() || self.outbox.is_empty()) {
            self.send().await?;
        }
        Ok(())
    }

    /// Passes the message to the outbox, with the values that belong to it. Values that have no room in it follow, and
    /// only the last response has the new position.
    async fn send(&mut self) -> Result<(), StreamEnd> {
        let WatchMessage { units, mut bytes, mut changes } = std::mem::take(&mut self.message);
        let mut response = WatchResponse { units, ..WatchResponse::default() };
        while let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() > 0) {
            let keys = changed.take();
            for (value, length) in changed.read(&self.replica, keys, self.reader.position().index).await {
                if bytes >= WATCH_MESSAGE_BYTES {
                    self.send_response(std::mem::take(&mut response), (bytes, changes), self.confirmed).await?;
                    (bytes, changes) = (0, 0);
                }
                (bytes, changes) = (bytes + length, changes + 1);
                response.values.push(value);
            }
        }
        self.send_response(response, (bytes, changes), self.sent).await?;
        if self.confirmed != self.sent
            && let Some(changed) = &mut self.changed
        {
            changed.reset();
        }
        self.confirmed = self.sent;
        Ok(())
    }

    async fn send_response(
        &mut self,
        mut response: WatchResponse,
        (bytes, changes): (usize, usize),
        position: ChangePosition,
    ) -> Result<(), StreamEnd> {
        if self.large_until.is_some_and(|until| Instant::now() > until) {
            return Err(StreamEnd::Stalled);
        }
        let cost = RESPONSE_COST + bytes + changes * CHANGE_COST;
        let permit = self.node.watchers.reserve(cost).await.ok_or_else(|| {
            let text = "too much of this node's memory is taken by watchers that do not take their responses";
            let refusal = ApiRefusal::unavailable(reason::NO_MEMORY, text);
            ApiRefusal { code: Code::ResourceExhausted, ..refusal }
        })?;
        response.position = Some(write_position(position));
        self.outbox.send(response, cost, permit).await?;
        self.sent_at = Some(Instant::now());
        Ok(())
    }
}
