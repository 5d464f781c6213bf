//! A lane: a connection in memory to one replica, on which one call at a time runs its commands.
//!
//! The replica serves it as any client's connection, so that what holds there (order, limits, CLIENT LIST and KILL,
//! `maxclients`, memory) holds for calls too. Lanes belong to one gRPC connection, are kept for its next calls, and end
//! with it. A lane on which a call has not ended well is dropped: what it has not read must not answer another call.

use std::net::SocketAddr;
use std::sync::Arc;

use fastness_resp::{ReplyExtent, Value, value};
use fastness_types::ShardId;
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use parking_lot::Mutex;
use tonic::Code;

use super::refusal::{ApiRefusal, reason};
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

/// Why a lane gives no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneError {
    /// The replica has closed it: it ends, or CLIENT KILL.
    Closed,
    /// The reply is longer than a message may be.
    TooLong,
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
    /// The next reply. One that is too long is read to its end and dropped, so that the next one is another command's.
    async fn reply(&mut self) -> Result<Value, LaneError> {
        let mut is_too_long = false;
        loop {
            // What is read was written by this process.
            if let Some(len) = self.extent.end(&self.buffer).map_err(|_| LaneError::Closed)? {
                let parsed = if is_too_long { None } else { Some(value::parse(&self.buffer[..len])) };
                self.buffer.drain(..len);
                if self.buffer.is_empty() {
                    self.buffer.shrink_to(BUFFER_BYTES_KEPT);
                }
                return match parsed {
                    None => Err(LaneError::TooLong),
                    Some(Ok(Some((value, _)))) => Ok(value),
                    Some(_) => Err(LaneError::Closed),
                };
            }
            is_too_long |= self.buffer.len() > GRPC_MESSAGE_BYTES_MAX;
            if is_too_long {
                let passed = self.extent.pass(self.buffer.len());
                self.buffer.drain(..passed);
            }
            self.end.read(&mut self.buffer).await?;
        }
    }

    /// The next replies. All of them are read, even if one is too long.
    pub(super) async fn replies(&mut self, count: usize) -> Result<Vec<Value>, LaneError> {
        let mut replies = Ok(Vec::with_capacity(count));
        for _ in 0..count {
            match (self.reply().await, &mut replies) {
                (Ok(reply), Ok(replies)) => replies.push(reply),
                (Err(LaneError::Closed), _) => return Err(LaneError::Closed),
                (Err(error), _) => replies = Err(error),
                (Ok(_), Err(_)) => {}
            }
        }
        replies
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) shard: ShardId,
    end: Arc<ClientEnd>,
    reader: LaneReader,
}

impl Lane {
    /// Opens one, for a caller that is authenticated.
    pub(super) async fn open(
        node: &Arc<NodeShared>,
        replica: &Running,
        shard: ShardId,
        (address, local_address): (SocketAddr, SocketAddr),
    ) -> Result<Lane, ApiRefusal> {
        let Some(slot) = node.take_client_slot() else {
            return Err(ApiRefusal::new(Code::ResourceExhausted, reason::MAX_CLIENTS, "max number of clients reached"));
        };
        let (end, replica_end) = pipe();
        let arrival =
            Arrival { id: node.next_client(), address, local_address, tls: true, fd: -1, authenticated: true };
        let incoming = Incoming { transport: Transport::Memory(replica_end), arrival, slot };
        if replica.mailbox.send(ToReplica::Connection(incoming)).await.is_err() {
            return Err(not_served(shard));
        }
        let end = Arc::new(end);
        let reader = LaneReader { end: end.clone(), buffer: Vec::new(), extent: ReplyExtent::default() };
        let mut lane = Lane { shard, end, reader };
        match lane.exchange(HELLO, 1).await.map(|mut replies| replies.pop()) {
            Ok(Some(Value::Map(_))) => Ok(lane),
            Ok(Some(Value::Error(text))) => Err(ApiRefusal::from_reply(&text)),
            Ok(_) | Err(_) => Err(not_served(shard)),
        }
    }

    /// Whether the replica has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.end.is_closed()
    }

    /// Sends commands and reads their replies.
    pub(super) async fn exchange(&mut self, commands: &[u8], replies: usize) -> Result<Vec<Value>, LaneError> {
        let write = async { self.end.write(commands).await.map_err(LaneError::from) };
        // At once: a replica that cannot send its replies reads no further.
        let ((), replies) = tokio::try_join!(write, self.reader.replies(replies))?;
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

/// The lanes of one gRPC connection that have no call.
#[derive(Debug, Default)]
pub struct Lanes {
    idle: Mutex<Vec<Lane>>,
}

impl Lanes {
    pub(super) fn take(&self, shard: ShardId) -> Option<Lane> {
        let mut idle = self.idle.lock();
        idle.retain(|lane| !lane.is_closed());
        let at = idle.iter().rposition(|lane| lane.shard == shard)?;
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
