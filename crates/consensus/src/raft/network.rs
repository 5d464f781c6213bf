//! openraft's network on links: one client per group and peer.
//!
//! Appends are pipelined: up to [`APPENDS_IN_FLIGHT_MAX`] requests of [`APPEND_BYTES_IN_FLIGHT_MAX`] bytes are in
//! flight to one peer, and openraft gets the answers in the order of the requests. Vote requests are checked against
//! the promises of the lease: a node that is bound to a leader does not campaign against it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fastness_events::{Event, SnapshotFailure};
use fastness_types::{BootNs, LogIndex, NodeId, SpanHistogram};
use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::oneshot;

use crate::group::state::Group;
use crate::peer::codec;
use crate::peer::frame::{Envelope, Kind, Urgency};
use crate::peer::link::{Link, LinkError, answer_of};
use crate::peer::links::Links;
use crate::peer::transport::Class;
use crate::raft::codec::DecodeError;
use crate::raft::machine::{Snapshot, SnapshotData};
use crate::raft::types::{LogId, PeerNode, Types, Vote};
use crate::snapshot::send;

/// Append requests of one group in flight to one peer.
const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// Bytes of these requests. A larger request is sent alone.
const APPEND_BYTES_IN_FLIGHT_MAX: usize = 8 * 1024 * 1024;
/// Pauses after a peer could not be reached.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(300);

pub(crate) struct NetworkFactory {
    pub(crate) links: Arc<Links>,
    pub(crate) group: Arc<Group>,
}

impl NetworkFactory {
    fn client(&self, target: u64, at: &PeerNode, class: Class) -> Network {
        let link = self.links.to(NodeId(target), class, Some(&at.address));
        Network { links: self.links.clone(), group: self.group.clone(), peer: NodeId(target), link }
    }
}

impl RaftNetworkFactory<Types> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> Network {
        self.client(target, node, Class::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> Network {
        self.client(target, node, Class::Heartbeat)
    }
}

/// The client of one group for one peer.
pub(crate) struct Network {
    links: Arc<Links>,
    group: Arc<Group>,
    peer: NodeId,
    link: Arc<Link>,
}

type RpcError = RPCError<Types>;

fn unreachable(error: &LinkError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn not_understood(error: &DecodeError) -> RpcError {
    unreachable(&LinkError::Answer(error.to_string()))
}

impl Network {
    async fn call(&self, kind: Kind, payload: Bytes, option: &RPCOption) -> Result<Bytes, RpcError> {
        let answer = self.link.call(self.group.id, kind, payload, option.hard_ttl()).await;
        answer.map_err(|error| unreachable(&error))
    }

    /// Sends a vote request, unless a promise binds this node. An answer that arrives while a promise binds it is
    /// discarded.
    async fn campaign(
        &self,
        kind: Kind,
        rpc: VoteRequest<Types>,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let refused = |why: &str| unreachable(&LinkError::Refused(why.to_owned()));
        let bound = || refused("bound by a promise to a leader");
        let node = self.links.node();
        let candidate: Vote = rpc.vote;
        if self.group.bars(&candidate) {
            return Err(bound());
        }
        if !rpc.leadership_transfer && node.pulse.has_just_resumed(node.now()) {
            return Err(refused("this node did not run for a while, and listens before it campaigns"));
        }
        let reply = self.call(kind, codec::encode_vote(&rpc), option).await?;
        if self.group.bars(&candidate) {
            return Err(bound());
        }
        codec::decode_vote_reply(reply).map_err(|error| not_understood(&error))
    }
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let reply = self.call(Kind::Append, codec::encode_append(rpc), &option).await?;
        codec::decode_append_reply(reply).map_err(|error| not_understood(&error))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let pipeline = Pipeline {
            input: Some(input),
            group: self.group.clone(),
            link: self.link.clone(),
            times: self.links.node().observed.replication(self.peer),
            under_way: VecDeque::new(),
            bytes: 0,
            failed: None,
        };
        let stream: BoxStream<'s, _> = Box::pin(pipeline);
        Box::pin(std::future::ready(Ok(stream)))
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RpcError> {
        self.campaign(Kind::Vote, rpc, &option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RpcError> {
        self.campaign(Kind::PreVote, rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Some(files) = self.group.snapshots.clone() else {
            let error = LinkError::Refused("this group has no snapshots".to_owned());
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        };
        let link = self.links.to(self.peer, Class::Snapshot, None);
        let transfer = self.links.node().random();
        let sent = send::send(&self.group, files.as_ref(), &link, transfer, &vote, &snapshot.meta);
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|error| {
                let index = snapshot.meta.last_log_id.map(|id| LogIndex(id.index));
                let reason = format!("node {}: {error}", self.peer);
                let step = SnapshotFailure::Send;
                self.group.events().record(Event::SnapshotFailed { shard: self.group.id, step, index, reason });
                StreamingError::Unreachable(Unreachable::new(&error))
            }),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let reply = self.call(Kind::Transfer, codec::encode_transfer(&req), &option).await?;
        codec::decode_transfer_reply(reply).map_err(|error| not_understood(&error))
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses = std::iter::successors(Some(BACKOFF_MIN), |pause| Some((*pause * 2).min(BACKOFF_MAX)));
        Some(Backoff::new(pauses))
    }
}

/// A request in flight.
struct AppendUnderWay {
    previous: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
    /// When it was passed to the link; `None`: it has no entries.
    sent: Option<BootNs>,
    answer: oneshot::Receiver<Envelope>,
}

/// A stream of answers to a stream of requests, in order. The first answer other than a success ends it, as openraft
/// expects.
struct Pipeline<S> {
    input: Option<S>,
    group: Arc<Group>,
    link: Arc<Link>,
    /// Of requests with entries, the time until the answer.
    times: Arc<SpanHistogram>,
    under_way: VecDeque<AppendUnderWay>,
    bytes: usize,
    /// Why the link refused a request. Returned after the answers to earlier requests.
    failed: Option<LinkError>,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Pipeline<S> {
    fn fill(&mut self, cx: &mut Context<'_>) {
        while self.under_way.len() < APPENDS_IN_FLIGHT_MAX && (self.bytes < APPEND_BYTES_IN_FLIGHT_MAX) {
            let Some(input) = &mut self.input else { return };
            match input.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.input = None,
                Poll::Ready(Some(request)) => self.send(request),
            }
        }
    }

    fn send(&mut self, request: AppendEntriesRequest<Types>) {
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        // A request without entries only reports the committed position, so it may be sent with the next one.
        let urgency = if request.entries.is_empty() { Urgency::Lingers } else { Urgency::Now };
        let sent = (!request.entries.is_empty()).then(|| self.group.clock.boot());
        let payload = codec::encode_append(request);
        let bytes = payload.len();
        match self.link.request(self.group.id, Kind::Append, payload, urgency) {
            Ok(answer) => {
                self.bytes += bytes;
                self.under_way.push_back(AppendUnderWay { previous, last, bytes, sent, answer });
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: LinkError) {
        self.input = None;
        self.failed.get_or_insert(error);
    }

    fn take(
        &mut self,
        answer: Result<Envelope, oneshot::error::RecvError>,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let request = self.under_way.pop_front().expect("an answer was polled for the first request under way");
        self.bytes -= request.bytes;
        let reply = answer_of(answer).map_err(|error| unreachable(&error));
        let reply = reply.and_then(|reply| codec::decode_append_reply(reply).map_err(|error| not_understood(&error)));
        let reply = match reply {
            // The first request has no previous entry that could conflict.
            Ok(AppendEntriesResponse::Conflict) if request.previous.is_none() => {
                Err(not_understood(&DecodeError::Malformed("a conflict with nothing".to_owned())))
            }
            reply => reply,
        };
        let whole = match &reply {
            Ok(AppendEntriesResponse::Success) => true,
            Ok(AppendEntriesResponse::PartialSuccess(matched)) => *matched == request.last,
            _ => false,
        };
        if let Some(sent) = request.sent.filter(|_| whole) {
            self.times.record(self.group.clock.boot().since(sent));
        }
        if !whole {
            self.input = None;
            self.failed = None;
            self.under_way.clear();
        }
        Ok(reply?.into_stream_result(request.previous, request.last))
    }
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Unpin> Stream for Pipeline<S> {
    type Item = Result<StreamAppendResult<Types>, RpcError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.fill(cx);
        if let Some(front) = this.under_way.front_mut() {
            return match front.answer.poll_unpin(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(this.take(answer))),
                Poll::Pending => Poll::Pending,
            };
        }
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(unreachable(&error))));
        }
        if this.input.is_none() { Poll::Ready(None) } else { Poll::Pending }
    }
}
