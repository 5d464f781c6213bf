//! A lane: a connection in memory to one replica, on which one call at a time runs its commands.
//!
//! The replica serves it as any client's connection, so that what holds there (order, limits, CLIENT LIST and KILL,
//! `maxclients`, memory) holds for calls too. Lanes belong to one gRPC connection, are kept for its next calls, and end
//! with it. A lane on which a call has not ended well is dropped: what it has not read must not answer another call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use fastness_connection::attribute::TraceParent;
use fastness_resp::{ReplyExtent, Value, value};
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use fastness_types::{BootNs, Clock as _, ShardId, SystemClock};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;

use super::memory::{MessageMemory, ReplyRoom, Reservations};
use super::operation::Prepared;
use super::refusal::{ApiRefusal, reason};
use crate::accounts::Account;
use crate::auth::Origin;
use crate::mailbox::{Incoming, ToReplica, Transport};
use crate::replicas::Running;
use crate::resp_server::clients::Arrival;
use crate::resp_server::pipe::{ClientEnd, PipeClosed, pipe};
use crate::shared::NodeShared;

/// Lanes without a call that a gRPC connection keeps.
const IDLE_LANES_MAX: usize = 64;
/// Capacity that the buffer of a lane keeps between two calls.
const BUFFER_BYTES_KEPT: usize = 16 * 1024;
/// The first command on each lane, and the name under which CLIENT LIST shows it.
const HELLO: &[u8] = b"*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$4\r\ngrpc\r\n";

/// The second command on a lane for reads that any replica may answer.
const READONLY: &[u8] = b"*1\r\n$8\r\nREADONLY\r\n";

/// Who may answer the commands of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LaneKind {
    /// The primary; another replica refuses them.
    Primary,
    /// Any replica: a connection after READONLY.
    Replica,
}

impl LaneKind {
    /// The kind for an operation.
    pub(super) fn of(prepared: &Prepared) -> LaneKind {
        if prepared.on_replica() { LaneKind::Replica } else { LaneKind::Primary }
    }
}

/// Why a lane gives no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneError {
    /// The replica has closed it: it ends, or CLIENT KILL.
    Closed,
    /// The reply is longer than a message may be.
    TooLong,
    /// Other messages take too much of the node's memory.
    NoMemory,
}

impl From<PipeClosed> for LaneError {
    fn from(_: PipeClosed) -> LaneError {
        LaneError::Closed
    }
}

/// Where replies are read from. One reader.
#[derive(Debug)]
pub(super) struct LaneReader {
    end: Arc<ClientEnd>,
    buffer: Vec<u8>,
    extent: ReplyExtent,
}

impl LaneReader {
    /// The next reply, after others of the same call that have `before` bytes and values. One that is too long, or
    /// finds no room, is read to its end and dropped, so that the next one is another command's.
    async fn reply(&mut self, room: &mut ReplyRoom, before: &mut (usize, usize)) -> Result<Value, LaneError> {
        let mut dropped = None;
        loop {
            // What is read was written by this process.
            let end = self.extent.end(&self.buffer).map_err(|_| LaneError::Closed)?;
            let (bytes, values) = (end.map_or(self.buffer.len(), |(len, _)| len), end.map_or(0, |(_, values)| values));
            if dropped.is_none() && bytes > GRPC_MESSAGE_BYTES_MAX {
                dropped = Some(LaneError::TooLong);
            }
            if dropped.is_none() && !room.grow_to(before.0 + bytes, before.1 + values) {
                dropped = Some(LaneError::NoMemory);
            }
            if let Some((len, values)) = end {
                let parsed = if dropped.is_some() { None } else { Some(value::parse(&self.buffer[..len])) };
                *before = (before.0 + len, before.1 + values);
                self.buffer.drain(..len);
                if self.buffer.is_empty() {
                    self.buffer.shrink_to(BUFFER_BYTES_KEPT);
                }
                return match (parsed, dropped) {
                    (_, Some(error)) => Err(error),
                    (Some(Ok(Some((value, _)))), None) => Ok(value),
                    _ => Err(LaneError::Closed),
                };
            }
            if dropped.is_some() {
                let passed = self.extent.pass(self.buffer.len());
                self.buffer.drain(..passed);
            }
            self.end.read(&mut self.buffer).await?;
        }
    }

    /// The next replies, with what they have reserved. All of them are read, even if one is too long.
    pub(super) async fn replies(
        &mut self,
        count: usize,
        memory: &Arc<MessageMemory>,
    ) -> Result<(Vec<Value>, Option<OwnedSemaphorePermit>), LaneError> {
        let (mut room, mut before) = (memory.reply(), (0, 0));
        let mut replies = Ok(Vec::with_capacity(count));
        for _ in 0..count {
            match (self.reply(&mut room, &mut before).await, &mut replies) {
                (Ok(reply), Ok(replies)) => replies.push(reply),
                (Err(LaneError::Closed), _) => return Err(LaneError::Closed),
                (Err(error), _) => replies = Err(error),
                (Ok(_), Err(_)) => {}
            }
        }
        replies.map(|replies| (replies, room.into_permit()))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    to: (ShardId, LaneKind),
    /// Whose it is.
    account: Arc<Account>,
    end: Arc<ClientEnd>,
    reader: LaneReader,
}

impl Lane {
    /// Opens one for a caller.
    pub(super) async fn open(
        node: &Arc<NodeShared>,
        replica: &Running,
        to: (ShardId, LaneKind),
        caller: &Caller,
    ) -> Result<Lane, ApiRefusal> {
        let (shard, kind) = to;
        let ((address, local_address), account) = (caller.addresses, caller.account.clone());
        let Some(slot) = node.take_client_slot() else {
            return Err(ApiRefusal::new(Code::ResourceExhausted, reason::MAX_CLIENTS, "max number of clients reached"));
        };
        let (end, replica_end) = pipe();
        let arrival = Arrival {
            id: node.next_client(),
            address,
            local_address,
            tls: true,
            fd: -1,
            account: Some(account.clone()),
            origin: Origin::default(),
        };
        let incoming = Incoming { transport: Transport::Memory(replica_end), arrival, slot };
        if replica.mailbox.send(ToReplica::Connection(incoming)).await.is_err() {
            return Err(not_served(shard));
        }
        let end = Arc::new(end);
        let reader = LaneReader { end: end.clone(), buffer: Vec::new(), extent: ReplyExtent::default() };
        let mut lane = Lane { to, account, end, reader };
        let first = match kind {
            LaneKind::Primary => vec![HELLO],
            LaneKind::Replica => vec![HELLO, READONLY],
        };
        let replies = lane.exchange(&first.concat(), first.len(), caller).await.map_err(|_| not_served(shard))?;
        match replies.into_iter().find_map(|reply| if let Value::Error(text) = reply { Some(text) } else { None }) {
            Some(text) => Err(ApiRefusal::from_reply(&text)),
            None => Ok(lane),
        }
    }

    /// Whether the replica has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.end.is_closed()
    }

    /// Sends commands and reads their replies; what these have reserved is held.
    pub(super) async fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        caller: &Caller,
    ) -> Result<Vec<Value>, LaneError> {
        let write = async { self.end.write(commands).await.map_err(LaneError::from) };
        // At once: a replica that cannot send its replies reads no further.
        let ((), (replies, permit)) = tokio::try_join!(write, self.reader.replies(replies, &caller.memory))?;
        caller.held.keep(permit);
        Ok(replies)
    }

    /// The two halves, for a stream of operations.
    pub(super) fn split(self) -> (Arc<ClientEnd>, LaneReader) {
        (self.end, self.reader)
    }
}

/// No replica runs here.
pub(super) fn not_served(shard: ShardId) -> ApiRefusal {
    ApiRefusal::unavailable(reason::NOT_SERVED, format!("this node's replica of shard {shard} does not run"))
}

/// Why a response is not delivered.
pub(super) fn dropped(error: LaneError) -> ApiRefusal {
    match error {
        LaneError::NoMemory => {
            let text = "the reply found no room in this node's memory for messages (grpc-memory); if it is that of a \
                        write, the write has happened";
            ApiRefusal::new(Code::ResourceExhausted, reason::REPLY_DROPPED, text)
        }
        LaneError::TooLong | LaneError::Closed => {
            let text = format!(
                "the reply is longer than {GRPC_MESSAGE_BYTES_MAX} bytes; if it is that of a write, the write has happened"
            );
            ApiRefusal::new(Code::ResourceExhausted, reason::REPLY_TOO_LONG, text)
        }
    }
}

/// Who calls: its user, its connection's lanes, and both ends' addresses.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) account: Arc<Account>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) addresses: (SocketAddr, SocketAddr),
    /// What messages may take.
    pub(super) memory: Arc<MessageMemory>,
    /// What this call's take.
    pub(super) held: Reservations,
    /// Whether another node has passed the call on.
    pub(super) is_forwarded: bool,
    /// When its client stops waiting, if it has said so.
    pub(super) until: Option<Instant>,
    /// The client's span, if it traces.
    pub(super) trace_parent: Option<TraceParent>,
}

impl Caller {
    /// When what has not run yet is refused instead, because nobody waits for it.
    pub(super) fn deadline(&self) -> Option<BootNs> {
        let left = self.until?.saturating_duration_since(Instant::now());
        Some(SystemClock.boot().plus(left))
    }
}

/// The lanes of one gRPC connection that have no call.
#[derive(Debug, Default)]
pub struct Lanes {
    idle: Mutex<Vec<Lane>>,
}

impl Lanes {
    /// One to this shard of this user, whatever its rules have become.
    pub(super) fn take(&self, to: (ShardId, LaneKind), account: &Account) -> Option<Lane> {
        let mut idle = self.idle.lock();
        idle.retain(|lane| !lane.is_closed());
        let at = idle.iter().rposition(|lane| lane.to == to && lane.account.name == account.name)?;
        Some(idle.swap_remove(at))
    }

    /// Keeps a lane whose call has ended well.
    pub(super) fn keep(&self, lane: Lane) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_LANES_MAX {
            idle.push(lane);
        }
    }
}
