//! The answering side of one stream from one peer.
//!
//! While the log's queue is full, no frame with entries is read: the Raft core must not wait for the disk, so the peer
//! waits, by the back-pressure of the stream. At most one append request per peer, or the rest of one frame, exceeds
//! the bound of the queue. Heartbeats have a stream of their own and continue.
//!
//! Requests of one group reach its Raft core in the order in which they arrive. Answers are sent as they are ready.
//! Promises of the lease are checked here for votes and hand-overs: when a request arrives, and again before a granted
//! vote is sent (`lease/mod.rs` says why).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_types::{Epoch, GroupId, LogIndex, NodeId};
use fastness_wire::peer::v1::{self as pb, Frame};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::AppendEntriesResponse;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::group::state::{Group, Raft};
use crate::node::NodeCore;
use crate::peer::codec;
use crate::peer::frame::{Envelope, Joiner, Kind, Outbox, Urgency, lingered};
use crate::peer::link::send;
use crate::peer::transport::{Class, FrameStream, SILENCE_MAX};
use crate::raft::codec::DecodeError;
use crate::raft::types::{Types, Vote, epoch_of};
use crate::snapshot::receive::{ReceiveError, Transfer};

/// Requests of one stream that are being served. At the bound no more are read.
const SERVED_MAX: usize = 4096;

/// Lease answers that are sent together.
#[derive(Default)]
pub(crate) struct LeaseResponses {
    waiting: Mutex<Vec<pb::LeaseResponseGroup>>,
    wake: Notify,
}

impl LeaseResponses {
    /// Bound on collected answers. Further ones are dropped; the next heartbeat asks again.
    const WAITING_MAX: usize = 65_536;

    fn push(&self, answer: pb::LeaseResponseGroup) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < Self::WAITING_MAX {
            waiting.push(answer);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self, promise: Duration) -> Option<Frame> {
        let groups = std::mem::take(&mut *self.waiting.lock());
        if groups.is_empty() {
            return None;
        }
        let payload = codec::encode(&pb::LeaseResponse { groups, promise_ms: promise.as_millis() as u64 });
        Some(Envelope::new(GroupId::CONTROL, Kind::LeaseResponse, 0, payload).into_frame())
    }
}

/// Serves a stream until it ends or the node stops. `peer` is the node that the transport has verified.
pub(crate) async fn serve(node: Arc<NodeCore>, peer: NodeId, class: Class, stream: FrameStream) {
    let FrameStream { outgoing, mut incoming } = stream;
    let Some(first) = incoming.next().await else { return };
    let hello = first.messages.into_iter().next().filter(|message| message.kind == Kind::Hello as u32);
    // The hello is sent even if the peer's hello is refused: it may inform the peer that it runs on an old disk.
    let ours = Envelope::new(GroupId::CONTROL, Kind::Hello, 0, node.hello(peer)).into_frame();
    if outgoing.send(ours).await.is_err() {
        return;
    }
    let Some(hello) = hello else { return };
    let mut admitted = match node.verify_hello(peer, hello.payload).await {
        Ok(admitted) => admitted,
        Err(reason) => return node.record_refusal(peer, reason.to_string()),
    };
    let mut session = Session::new(node.clone(), peer);
    let mut joiner = Joiner::default();
    let mut next: Option<Frame> = None;
    let mut heard = Instant::now();
    let mut check = tokio::time::interval(SILENCE_MAX / 3);
    loop {
        if next.is_none() {
            next = session.next_frame();
        }
        let full = class == Class::Append && !node.log.has_capacity();
        let reads = !full && session.serving.len() < SERVED_MAX;
        tokio::select! {
            biased;
            sent = send(&outgoing, &mut next), if next.is_some() => if !sent { return },
            Some(answer) = session.serving.next(), if !session.serving.is_empty() => session.queue(answer),
            () = session.lease_responses.wake.notified(), if next.is_none() => {}
            () = lingered(session.outbox.leaves_at()), if next.is_none() => {}
            () = node.log.wait_for_capacity(), if full => {}
            frame = incoming.next(), if reads => {
                heard = Instant::now();
                let Some(frame) = frame else { return };
                if !node.identities.still_admits(peer, &mut admitted) {
                    return;
                }
                for message in frame.messages {
                    match joiner.push(message) {
                        Ok(Some(envelope)) => session.received(envelope),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%peer, %error, "a peer violates the protocol; the stream is closed");
                            return;
                        }
                    }
                }
            }
            // The caller pings far more often than this. While nothing is read, silence means nothing, and an
            // unsolicited pong answers the pings that are not read yet. Otherwise the caller would close the stream,
            // and send the same again on the next one.
            _ = check.tick() => if !reads {
                session.pong_due = Some(Bytes::new());
                heard = Instant::now();
            } else if heard.elapsed() > 2 * SILENCE_MAX {
                return;
            },
            () = node.until_stopped() => return,
        }
    }
}

struct Session {
    node: Arc<NodeCore>,
    peer: NodeId,
    outbox: Outbox,
    serving: FuturesUnordered<BoxFuture<'static, Answer>>,
    lease_responses: Arc<LeaseResponses>,
    pong_due: Option<Bytes>,
    /// Snapshots that arrive on this stream. Waiters for the lock are served in the order of their arrival.
    transfers: HashMap<GroupId, Arc<tokio::sync::Mutex<Transfer>>>,
}

/// Why a request is refused. The text is sent to the peer.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("this node has no replica of the group")]
    NoGroup,
    #[error("the group is starting")]
    Starting,
    #[error("this version does not know this kind of request")]
    UnknownKind,
    #[error("bound by a promise to a leader, or silent after a restart")]
    Bound,
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    #[error(transparent)]
    Snapshot(Box<ReceiveError>),
    #[error(transparent)]
    Raft(Box<RaftError<Types>>),
    #[error(transparent)]
    Stopped(Box<Fatal<Types>>),
}

impl From<ReceiveError> for ServeError {
    fn from(error: ReceiveError) -> ServeError {
        ServeError::Snapshot(Box::new(error))
    }
}

impl From<RaftError<Types>> for ServeError {
    fn from(error: RaftError<Types>) -> ServeError {
        ServeError::Raft(Box::new(error))
    }
}

impl From<Fatal<Types>> for ServeError {
    fn from(error: Fatal<Types>) -> ServeError {
        ServeError::Stopped(Box::new(error))
    }
}

/// The kind of the answer, its payload, and how soon it has to be sent.
type Served = Result<(Kind, Bytes, Urgency), ServeError>;

/// An answer as it is queued.
type Answer = (Envelope, Urgency);

impl Session {
    fn new(node: Arc<NodeCore>, peer: NodeId) -> Session {
        Session {
            node,
            peer,
            outbox: Outbox::default(),
            serving: FuturesUnordered::new(),
            lease_responses: Arc::default(),
            pong_due: None,
            transfers: HashMap::new(),
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if let Some(pong) = self.pong_due.take() {
            return Some(Envelope::new(GroupId::CONTROL, Kind::Pong, 0, pong).into_frame());
        }
        self.lease_responses.take(self.node.options.timers.lease).or_else(|| self.outbox.next_frame())
    }

    fn queue(&mut self, (answer, urgency): Answer) {
        if let Err(error) = self.outbox.push(answer, urgency) {
            // A peer that keeps its own bounds has fewer requests pending than the outbox holds. One that does not
            // waits for an answer that never arrives.
            tracing::warn!(peer = %self.peer, %error, "an answer was not sent");
        }
    }

    fn received(&mut self, envelope: Envelope) {
        let Envelope { group, kind, id, payload } = envelope;
        match Kind::from_number(kind) {
            Some(Kind::Ping) => self.pong_due = Some(self.node.pong(payload)),
            Some(Kind::LeaseRequest) => self.serve_lease_request(payload),
            kind => {
                let served = self.serve(group, kind, payload);
                let answer = async move {
                    match served.await {
                        Ok((kind, payload, urgency)) => (Envelope::new(group, kind, id, payload), urgency),
                        Err(error) => (Envelope::new(group, Kind::Refused, id, error.to_string().into()), Urgency::Now),
                    }
                };
                // Polled once here, so that the request is in the core's queue before the next one is read.
                // Unconstrained, because tokio's budget could delay that.
                let mut answer: BoxFuture<'static, Answer> = Box::pin(tokio::task::unconstrained(answer));
                match futures::FutureExt::now_or_never(&mut answer) {
                    Some(ready) => self.queue(ready),
                    None => self.serving.push(answer),
                }
            }
        }
    }

    fn transfer(&mut self, group: Arc<Group>) -> Arc<tokio::sync::Mutex<Transfer>> {
        let new = || Arc::new(tokio::sync::Mutex::new(Transfer::new(group.clone())));
        self.transfers.entry(group.id).or_insert_with(new).clone()
    }

    fn serve(&mut self, group: GroupId, kind: Option<Kind>, payload: Bytes) -> BoxFuture<'static, Served> {
        let refuse = |error: ServeError| -> BoxFuture<'static, Served> { Box::pin(std::future::ready(Err(error))) };
        let Some(found) = self.node.group(group) else { return refuse(ServeError::NoGroup) };
        let Some(raft) = found.raft().cloned() else { return refuse(ServeError::Starting) };
        match kind {
            Some(Kind::Append) => Box::pin(append(found, raft, payload)),
            Some(Kind::Vote) => Box::pin(vote(found, raft, payload, false)),
            Some(Kind::PreVote) => Box::pin(vote(found, raft, payload, true)),
            Some(Kind::Transfer) => Box::pin(transfer(found, raft, payload)),
            Some(Kind::Release) => Box::pin(std::future::ready(release(&found, self.peer, payload))),
            Some(Kind::SnapshotPart) => Box::pin(snapshot_part(self.transfer(found), payload)),
            Some(Kind::SnapshotEnd) => Box::pin(snapshot_end(self.transfer(found), raft, payload)),
            _ => refuse(ServeError::UnknownKind),
        }
    }

    fn serve_lease_request(&self, payload: Bytes) {
        let request = match pb::LeaseRequest::decode(payload) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(peer = %self.peer, %error, "a lease request cannot be decoded"),
        };
        for requested in request.groups {
            let Some(group) = self.node.group(GroupId(requested.group)) else { continue };
            let epoch = Epoch { term: requested.term, node: self.peer };
            for (member, position) in codec::acknowledged_in(&requested.acknowledged) {
                self.node.identities.acknowledged(member, group.id, position);
            }
            let (answers, driver, node) = (self.lease_responses.clone(), group.driver.clone(), self.node.clone());
            let (timestamp, bind) = (request.timestamp, requested.bind);
            group.lease_requested(epoch, bind, move || {
                let ready = driver.fit() && !node.log_stalls();
                let holding = driver.holding();
                answers.push(pb::LeaseResponseGroup {
                    group: requested.group,
                    term: requested.term,
                    timestamp,
                    bind,
                    ready,
                    held_index: Some(holding.index.0),
                    held_keys: holding.keys,
                    held_bytes: holding.bytes,
                    snapshot_index: holding.snapshot.0,
                });
            });
        }
    }
}

async fn append(group: Arc<Group>, raft: Raft, payload: Bytes) -> Served {
    let request = codec::decode_append(payload)?;
    // A leader that has not committed an entry of its own may not know yet what earlier leaders have committed.
    let committed = request.leader_commit.filter(|id| epoch_of(&request.vote) == id.leader_id).map(|id| id.index);
    // Nobody waits for the answer to a message that only reports the committed position.
    let urgency = if request.entries.is_empty() { Urgency::Lingers } else { Urgency::Now };
    let reply = raft.append_entries(request).await?;
    if let Some(index) = committed.filter(|_| !matches!(reply, AppendEntriesResponse::HigherVote(_))) {
        group.driver.set_leader_committed(LogIndex(index));
    }
    Ok((Kind::AppendReply, codec::encode_append_reply(&reply), urgency))
}

async fn vote(group: Arc<Group>, raft: Raft, payload: Bytes, pre: bool) -> Served {
    let request = codec::decode_vote(payload)?;
    let candidate: Vote = request.vote;
    if group.bars(&candidate) {
        return Err(ServeError::Bound);
    }
    let reply = if pre { raft.pre_vote(request).await } else { raft.vote(request).await };
    let reply = reply?;
    // A leader may already rely on a promise that was made meanwhile.
    if reply.vote_granted && group.bars(&candidate) {
        return Err(ServeError::Bound);
    }
    let kind = if pre { Kind::PreVoteReply } else { Kind::VoteReply };
    Ok((kind, codec::encode_vote_reply(&reply), Urgency::Now))
}

async fn transfer(group: Arc<Group>, raft: Raft, payload: Bytes) -> Served {
    let request = codec::decode_transfer(payload)?;
    if group.silent() {
        return Err(ServeError::Bound);
    }
    // All followers get the request, so that the target's candidacy is not hindered by them.
    if *request.to_node_id() == group.own.0 {
        group.record_transfer();
    }
    let reply = raft.handle_transfer_leader(request).await?;
    Ok((Kind::TransferReply, codec::encode_transfer_reply(&reply), Urgency::Now))
}

async fn snapshot_part(transfer: Arc<tokio::sync::Mutex<Transfer>>, payload: Bytes) -> Served {
    let reply = transfer.lock().await.part(payload).await?;
    Ok((Kind::SnapshotPartReply, reply, Urgency::Now))
}

async fn snapshot_end(transfer: Arc<tokio::sync::Mutex<Transfer>>, raft: Raft, payload: Bytes) -> Served {
    let reply = transfer.lock().await.finish(raft, payload).await?;
    Ok((Kind::SnapshotEndReply, reply, Urgency::Now))
}

fn release(group: &Group, peer: NodeId, payload: Bytes) -> Served {
    let request = pb::ReleaseRequest::decode(payload).map_err(DecodeError::from)?;
    group.release(Epoch { term: request.term, node: peer });
    Ok((Kind::ReleaseReply, codec::encode(&pb::ReleaseReply {}), Urgency::Now))
}
