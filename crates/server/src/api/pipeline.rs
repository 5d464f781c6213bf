//! Streams of operations.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fastness_types::limits::{GRPC_PIPELINE_BYTES_MAX, GRPC_PIPELINE_MAX};
use fastness_types::{ShardId, Slot};
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{PipelineRequest, PipelineResponse};
use futures::{Stream, StreamExt as _};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use super::gateway::{Forwarding, Gateway, failed};
use super::lane::{Caller, LaneKind, LaneReader};
use super::operation::{Prepared, Target, elements_bytes};
use super::refusal::ApiRefusal;
use crate::resp_server::pipe::ClientEnd;

/// Where operations run: those of one place have an order.
type Place = (ShardId, LaneKind);

/// The two halves of a lane: operations are written to one while replies are read from the other.
type SharedLane = (Arc<ClientEnd>, Arc<Mutex<LaneReader>>);

/// An operation of a stream whose response is due.
enum Due {
    /// Its replies come on this lane.
    On {
        prepared: Box<Prepared>,
        replies: usize,
        shard: ShardId,
        reader: Arc<Mutex<LaneReader>>,
        /// What it takes until its response has left.
        kept: Kept,
    },
    /// It was not sent to a replica here: it is passed on when its turn comes, or refused.
    Refused { refusal: ApiRefusal, forwarding: Option<Forwarding>, kept: Kept },
}

/// What an operation has reserved, until its response has left.
#[derive(Default)]
pub(super) struct Kept {
    /// Its part of the bytes that may wait in this stream.
    of_stream: Vec<OwnedSemaphorePermit>,
    /// Its part of the node's memory for messages.
    pub(super) of_node: Vec<OwnedSemaphorePermit>,
}

/// A response, and what is kept until it has left.
pub(super) type Answer = (Result<PipelineResponse, Status>, Kept);

/// The responses of a stream, for the connection. What one keeps is released when the next one is asked for: by then it
/// is on its way.
pub(super) struct AnswerStream {
    answers: mpsc::Receiver<Answer>,
    last: Kept,
}

impl AnswerStream {
    pub(super) fn new(answers: mpsc::Receiver<Answer>) -> AnswerStream {
        AnswerStream { answers, last: Kept::default() }
    }
}

impl Stream for AnswerStream {
    type Item = Result<PipelineResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.last = Kept::default();
        let answer = ready!(self.answers.poll_recv(cx));
        Poll::Ready(answer.map(|(response, kept)| {
            self.last = kept;
            response
        }))
    }
}

/// Serves one stream until either side ends it. Operations are sent as they come, without waiting for the responses to
/// those before them, at most [`GRPC_PIPELINE_MAX`] ahead and [`GRPC_PIPELINE_BYTES_MAX`] together. Responses leave in
/// the order of the requests.
pub(super) async fn run(
    gateway: Gateway,
    caller: Caller,
    requests: impl Stream<Item = Result<PipelineRequest, Status>> + Send + Unpin,
    to_client: mpsc::Sender<Answer>,
) {
    let (due, dues) = mpsc::channel(GRPC_PIPELINE_MAX);
    let send = send_all(&gateway, &caller, requests, due);
    let answer = answer_all(&gateway, &caller, dues, &to_client);
    // A client that is gone takes no responses: nothing more of it is sent to the shards.
    let (broken, ()) = tokio::select! {
        both = async { tokio::join!(send, answer) } => both,
        () = to_client.closed() => return,
    };
    if let Some(status) = broken {
        // The client may be gone.
        let _ = to_client.send((Err(status), Kept::default())).await;
    }
}

/// Sends operations until the client ends the stream; returns the status with which it broke.
async fn send_all(
    gateway: &Gateway,
    caller: &Caller,
    mut requests: impl Stream<Item = Result<PipelineRequest, Status>> + Unpin,
    due: mpsc::Sender<Due>,
) -> Option<Status> {
    let mut places = StreamPlaces::default();
    let unanswered = Arc::new(Semaphore::new(GRPC_PIPELINE_BYTES_MAX));
    loop {
        let request = match requests.next().await {
            Some(Ok(request)) => request,
            None => return None,
            Some(Err(status)) => return Some(status),
        };
        let forwarding = request.operation.as_ref().and_then(|operation| Forwarding::of(caller, operation));
        let elements = request.operation.as_ref().map_or(0, elements_bytes);
        let (elements, outcome) = match caller.memory.reserve_elements(elements) {
            Ok(elements) => (elements, prepare(gateway, caller, request, forwarding.is_some(), &mut places).await),
            Err(refusal) => (None, Err(refusal)),
        };
        let sent = match outcome {
            Ok((prepared, place)) => {
                let ((end, reader), shard) = (&places.lanes[&place], place.0);
                let commands = prepared.commands();
                let encoded = commands.encoded();
                // The operation keeps its message until its response has left. The longest one waits for all others.
                let len = encoded.len().min(GRPC_PIPELINE_BYTES_MAX) as u32;
                let Ok(bytes) = unanswered.clone().acquire_many_owned(len).await else { return None };
                let of_node = caller.held.next().into_iter().chain(elements).collect();
                let kept = Kept { of_stream: vec![bytes], of_node };
                let (prepared, replies, reader) = (Box::new(prepared), commands.count, reader.clone());
                // In this order: a lane that takes no more waits for its replies to be read.
                let sent = due.send(Due::On { prepared, replies, shard, reader, kept }).await;
                // A lane that is closed fails its next reply.
                let _ = end.write(&encoded).await;
                sent
            }
            Err(refusal) => {
                // What is passed on is kept until its response has left, as what is sent to a replica.
                let (len, held) = (forwarding.as_ref().map_or(0, Forwarding::bytes), caller.held.next());
                let len = len.min(GRPC_PIPELINE_BYTES_MAX) as u32;
                let Ok(bytes) = unanswered.clone().acquire_many_owned(len).await else { return None };
                let of_node = held.into_iter().chain(elements).filter(|_| forwarding.is_some()).collect();
                let kept = Kept { of_stream: vec![bytes], of_node };
                due.send(Due::Refused { refusal, forwarding, kept }).await
            }
        };
        if sent.is_err() {
            return None;
        }
    }
}

/// Where the operations of a stream run.
#[derive(Default)]
struct StreamPlaces {
    lanes: HashMap<Place, SharedLane>,
    /// Of each shard with an operation that may be passed on: whether all are, decided with the first of them. If some
    /// ran here and others elsewhere, while the primary changes, they could change places.
    passed_on: HashMap<ShardId, bool>,
}

impl StreamPlaces {
    /// Refuses an operation on the primary of this slot's shard, if those of this shard are passed on.
    fn check(&mut self, gateway: &Gateway, slot: Slot, forwards: bool) -> Result<(), ApiRefusal> {
        let shard = gateway.shard_of(slot)?;
        let is_elsewhere = || gateway.node.leader(shard) != Some(gateway.node.node);
        let passes_on = match (self.passed_on.get(&shard), forwards) {
            (Some(decided), _) => *decided,
            (None, true) => *self.passed_on.entry(shard).or_insert_with(is_elsewhere),
            (None, false) => false,
        };
        if passes_on { Err(gateway.moved(slot)) } else { Ok(()) }
    }
}

/// Prepares an operation, and opens the lane that it runs on.
async fn prepare(
    gateway: &Gateway,
    caller: &Caller,
    request: PipelineRequest,
    forwards: bool,
    places: &mut StreamPlaces,
) -> Result<(Prepared, Place), ApiRefusal> {
    let operation = request.operation.ok_or_else(|| ApiRefusal::invalid("operation: not given, or unknown"))?;
    let prepared = gateway.prepare(operation)?.due_by(caller.deadline()).within(caller.trace_parent);
    if !prepared.on_replica()
        && let Target::Slot(slot) = prepared.target
    {
        places.check(gateway, slot, forwards)?;
    }
    let lanes = &mut places.lanes;
    let (shard, replica) = gateway.replica(prepared.target)?;
    let place = (shard, LaneKind::of(&prepared));
    if lanes.get(&place).is_none_or(|(end, _)| end.is_closed()) {
        let (end, reader) = gateway.lane(caller, place, &replica).await?.split();
        lanes.insert(place, (end, Arc::new(Mutex::new(reader))));
    }
    Ok((prepared, place))
}

async fn answer_all(
    gateway: &Gateway,
    caller: &Caller,
    mut dues: mpsc::Receiver<Due>,
    to_client: &mpsc::Sender<Answer>,
) {
    let unsent = Arc::new(Semaphore::new(GRPC_PIPELINE_BYTES_MAX));
    while let Some(due) = dues.recv().await {
        let (outcome, kept) = match due {
            Due::Refused { refusal, forwarding, kept } => {
                (gateway.or_forward(caller, Err(refusal), forwarding).await, kept)
            }
            Due::On { prepared, replies, shard, reader, mut kept } => {
                let replies = reader.lock().await.replies(replies, &caller.memory).await;
                let outcome = match replies {
                    Ok((replies, permit)) => {
                        // The next reply is read once there is room for this one.
                        let len = permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
                        let room = unsent.clone().acquire_many_owned(len.min(GRPC_PIPELINE_BYTES_MAX) as u32).await;
                        kept.of_stream.extend(room);
                        kept.of_node.extend(permit);
                        gateway.outcome(*prepared, replies)
                    }
                    Err(error) => Err(failed(prepared.writes, shard, error)),
                };
                (outcome, kept)
            }
        };
        let outcome = outcome.unwrap_or_else(|refusal| Outcome::Error(refusal.into()));
        if to_client.send((Ok(PipelineResponse { outcome: Some(outcome) }), kept)).await.is_err() {
            return;
        }
    }
}
