//! The memory that messages of the data API take, on the whole node: requests while they are received and run, replies
//! until they are sent.
//!
//! - A request reserves its length once that is known, before it is read. While there is no room, its call is not read,
//!   for `RESERVE_MAX`; then it is refused, with nothing done. Once begun, a message is waited for at most
//!   `MESSAGE_TIME_MAX`. What its elements take beside its bytes is reserved when it is decoded, or it is refused.
//! - A reply reserves as it grows, without waiting: whoever waits for it holds what others wait for. One that finds no
//!   room is read to its end and dropped, as one that is too long.
//! - A reservation ends when the response has been taken by the connection. A client that does not read keeps its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::codegen::Service;
use tonic::{Code, Status};

use super::refusal::{ApiRefusal, reason};

/// How long a request waits for room.
const RESERVE_MAX: Duration = Duration::from_secs(1);
/// How long a message may take from its first byte to its last one.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);
/// What a message takes beside its bytes, bytes.
const MESSAGE_COST: usize = 256;
/// Elements of a request that take no more than this are part of that.
const ELEMENTS_FREE: usize = 1024;
/// What a value of a reply takes beside its bytes, while it is converted, bytes.
const VALUE_COST: usize = 192;
/// How often the bytes of a reply exist at once: received, as a value, encoded.
const REPLY_COPIES: usize = 3;
/// A reply reserves at least this much more at a time, bytes.
const REPLY_STEP: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct MessageMemory {
    requests: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    each_max: usize,
    refused: AtomicU64,
}

impl MessageMemory {
    /// For `bytes` in all (`grpc-memory`): one half for requests, the other one for replies.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<MessageMemory> {
        let each_max = usize::try_from(bytes / 2).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let half = || Arc::new(Semaphore::new(each_max));
        Arc::new(MessageMemory { requests: half(), replies: half(), each_max, refused: AtomicU64::new(0) })
    }

    /// Bytes in use: for requests, and for replies.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let used = |half: &Semaphore| self.each_max - half.available_permits().min(self.each_max);
        (used(&self.requests), used(&self.replies))
    }

    /// Messages that found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// For a reply, as it grows.
    pub(super) fn reply(self: &Arc<Self>) -> ReplyRoom {
        ReplyRoom { memory: self.clone(), permit: None }
    }

    /// Reserves what the elements of a request take beside its bytes, once it is decoded. Without waiting: it is in
    /// memory already.
    ///
    /// # Errors
    /// There is no room. Nothing has been done.
    pub(super) fn reserve_elements(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ApiRefusal> {
        if bytes <= ELEMENTS_FREE {
            return Ok(None);
        }
        let permits = u32::try_from(bytes.min(self.each_max)).unwrap_or(u32::MAX);
        let room = self.requests.clone().try_acquire_many_owned(permits);
        room.map(Some).map_err(|_| self.no_memory())
    }

    fn no_memory(&self) -> ApiRefusal {
        self.note_refused();
        let text = "too much of this node's memory is taken by other messages (grpc-memory)";
        ApiRefusal { code: Code::ResourceExhausted, ..ApiRefusal::unavailable(reason::NO_MEMORY, text) }
    }

    async fn reserve_request(self: Arc<Self>, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let permits = u32::try_from(bytes.min(self.each_max)).unwrap_or(u32::MAX);
        let room = self.requests.clone().acquire_many_owned(permits);
        match tokio::time::timeout(RESERVE_MAX, room).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.no_memory().into()),
        }
    }
}

/// What one reply, or the replies of one call, has reserved.
#[derive(Debug)]
pub(super) struct ReplyRoom {
    memory: Arc<MessageMemory>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ReplyRoom {
    /// Reserves for so many bytes and values in all; `false`: there is no room.
    pub(super) fn grow_to(&mut self, bytes: usize, values: usize) -> bool {
        let cost = bytes.saturating_mul(REPLY_COPIES).saturating_add(values.saturating_mul(VALUE_COST));
        let reserved = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = cost.checked_sub(reserved).filter(|more| *more > 0) else { return true };
        let more = more.max(if reserved == 0 { 0 } else { REPLY_STEP });
        let more = u32::try_from(more).ok().and_then(|n| self.memory.replies.clone().try_acquire_many_owned(n).ok());
        match (more, &mut self.permit) {
            (None, _) => {
                self.memory.note_refused();
                return false;
            }
            (Some(more), Some(permit)) => permit.merge(more),
            (Some(more), none) => *none = Some(more),
        }
        true
    }

    /// The reservation.
    pub(super) fn into_permit(self) -> Option<OwnedSemaphorePermit> {
        self.permit
    }
}

/// What the messages of one call have reserved, until its response is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Reservations(Arc<Mutex<VecDeque<OwnedSemaphorePermit>>>);

impl Reservations {
    /// The reservation of the next request of a stream, in the order in which they came.
    pub(super) fn next(&self) -> Option<OwnedSemaphorePermit> {
        self.0.lock().pop_front()
    }

    /// Keeps one more until the response is sent.
    pub(super) fn keep(&self, permit: Option<OwnedSemaphorePermit>) {
        self.0.lock().extend(permit);
    }
}

/// A service whose messages are counted.
#[derive(Debug, Clone)]
pub struct Metered<S> {
    pub(super) inner: S,
    pub(super) memory: Arc<MessageMemory>,
}

impl<S, B, R> Service<hyper::Request<B>> for Metered<S>
where
    S: Service<hyper::Request<MeteredBody<B>>, Response = hyper::Response<R>>,
    S::Future: Send + 'static,
    R: Body<Data = Bytes, Error = Status> + Send + 'static,
{
    type Response = hyper::Response<tonic::body::Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: hyper::Request<B>) -> Self::Future {
        let held = Reservations::default();
        let (mut parts, inner) = request.into_parts();
        parts.extensions.insert(held.clone());
        let body = MeteredBody {
            inner: Box::pin(inner),
            memory: self.memory.clone(),
            held: held.clone(),
            lengths: Lengths::default(),
            reserving: None,
            waited: Duration::ZERO,
            waits: None,
        };
        let response = self.inner.call(hyper::Request::from_parts(parts, body));
        async move {
            let response = response.await?;
            Ok(response.map(|inner| tonic::body::Body::new(HeldBody { inner: Box::pin(inner), _held: held })))
        }
        .boxed()
    }
}

/// Finds the lengths of messages in the bytes of a call: each has a prefix of a flag and four bytes.
#[derive(Debug, Default)]
struct Lengths {
    prefix: [u8; 5],
    has: usize,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Lengths {
    /// Passes bytes; calls `began` with the length of each message that begins.
    fn pass(&mut self, mut bytes: &[u8], mut began: impl FnMut(usize)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (5 - self.has).min(bytes.len());
            self.prefix[self.has..self.has + taken].copy_from_slice(&bytes[..taken]);
            self.has += taken;
            bytes = &bytes[taken..];
            if self.has == 5 {
                self.left = (&self.prefix[1..]).get_u32() as usize;
                self.has = 0;
                began(self.left);
            }
        }
    }

    fn is_inside(&self) -> bool {
        self.left > 0 || self.has > 0
    }
}

type Reserving = BoxFuture<'static, Result<OwnedSemaphorePermit, Status>>;

/// The body of a request: see the module.
pub struct MeteredBody<B> {
    inner: Pin<Box<B>>,
    memory: Arc<MessageMemory>,
    held: Reservations,
    lengths: Lengths,
    /// Bytes that wait for room, with what each message in them takes.
    reserving: Option<(Bytes, Vec<usize>, Reserving)>,
    /// How long the message that has begun was waited for until now.
    waited: Duration,
    /// Since when it is waited for, and until when it must have arrived.
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> MeteredBody<B> {
    /// Notes the messages that begin in these bytes. Some have to wait for room.
    fn note(&mut self, bytes: Bytes) -> Option<Bytes> {
        let mut costs = Vec::new();
        self.lengths.pass(&bytes, |length| costs.push(length.min(GRPC_MESSAGE_BYTES_MAX) + MESSAGE_COST));
        if costs.is_empty() {
            return Some(bytes);
        }
        self.waited = Duration::ZERO;
        let reserving = self.memory.clone().reserve_request(costs.iter().sum()).boxed();
        self.reserving = Some((bytes, costs, reserving));
        None
    }

    /// Nothing has arrived. Only the time in which the client is waited for counts: a stream that takes no further
    /// message for a while has time.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.lengths.is_inside() {
            return Poll::Pending;
        }
        let left = MESSAGE_TIME_MAX.saturating_sub(self.waited);
        let (_, time) = self.waits.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        ready!(time.poll_unpin(cx));
        let text = format!("the message has not arrived within {} s", MESSAGE_TIME_MAX.as_secs());
        Poll::Ready(Some(Err(Status::deadline_exceeded(text))))
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some((_, _, reserving)) = &mut this.reserving {
                let reserved = ready!(reserving.poll_unpin(cx));
                let Some((bytes, costs, _)) = this.reserving.take() else { continue };
                let mut permit = match reserved {
                    Ok(permit) => permit,
                    Err(status) => return Poll::Ready(Some(Err(status))),
                };
                for cost in costs {
                    this.held.keep(permit.split(cost));
                }
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Poll::Ready(arrived) = this.inner.as_mut().poll_frame(cx) else { return this.poll_time(cx) };
            if let Some((since, _)) = this.waits.take() {
                this.waited += since.elapsed();
            }
            match arrived {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                Some(Ok(frame)) => match frame.into_data() {
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                    Ok(bytes) => {
                        if let Some(bytes) = this.note(bytes) {
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                    }
                },
            }
        }
    }
}

/// The body of a response, with what its call has reserved.
struct HeldBody<R> {
    inner: Pin<Box<R>>,
    _held: Reservations,
}

impl<R: Body> Body for HeldBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        self.inner.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.resize(5 + length, b'x');
        bytes
    }

    fn metered(
        memory: &Arc<MessageMemory>,
        pieces: Vec<Vec<u8>>,
    ) -> (MeteredBody<impl Body<Data = Bytes, Error = Status>>, Reservations) {
        let frames = pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(Bytes::from(piece))));
        let inner = StreamBody::new(futures::stream::iter(frames).chain(futures::stream::pending()));
        let held = Reservations::default();
        let body = MeteredBody {
            inner: Box::pin(inner),
            memory: memory.clone(),
            held: held.clone(),
            lengths: Lengths::default(),
            reserving: None,
            waited: Duration::ZERO,
            waits: None,
        };
        (body, held)
    }

    use futures::StreamExt as _;

    #[test]
    fn lengths_are_found_however_the_bytes_are_cut() {
        let lengths = [0, 1, 70_000, 3];
        let all: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for size in [1, 2, 5, 6, 7, 1000, all.len()] {
            let (mut found, mut seen) = (Vec::new(), Lengths::default());
            all.chunks(size).for_each(|chunk| seen.pass(chunk, |length| found.push(length)));
            assert_eq!(found, lengths);
            assert!(!seen.is_inside());
        }
        let mut seen = Lengths::default();
        seen.pass(&message(3)[..7], |_| {});
        assert!(seen.is_inside());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_room_and_is_refused_after_a_while() {
        let memory = MessageMemory::new(2 * 10_000);
        let (mut first, held) = metered(&memory, vec![[message(8_000), message(100)].concat()]);
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap().len(), 8_110);
        assert_eq!(memory.in_use(), (8_100 + 2 * MESSAGE_COST, 0));
        let (mut second, _held) = metered(&memory, vec![message(4_000)]);
        let refused = second.frame().await.unwrap().unwrap_err();
        assert_eq!((refused.code(), memory.refused()), (Code::ResourceExhausted, 1));
        let (mut third, _held) = metered(&memory, vec![message(4_000)]);
        let release = async {
            tokio::time::sleep(RESERVE_MAX / 2).await;
            drop(held.next());
        };
        let (frame, ()) = tokio::join!(third.frame(), release);
        assert!(frame.unwrap().is_ok());
        drop((first, held, third, _held));
        drop((second, refused));
        assert_eq!(memory.in_use(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_arrive_ends_its_call_and_an_idle_stream_goes_on() {
        let memory = MessageMemory::new(1 << 20);
        let (mut slow, _held) = metered(&memory, vec![message(100)[..50].to_vec()]);
        assert!(slow.frame().await.unwrap().is_ok());
        assert_eq!(slow.frame().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        let halves = message(100).chunks(53).map(<[u8]>::to_vec).collect();
        let (mut unasked, _held) = metered(&memory, halves);
        assert!(unasked.frame().await.unwrap().is_ok());
        tokio::time::sleep(2 * MESSAGE_TIME_MAX).await;
        assert!(unasked.frame().await.unwrap().is_ok(), "nobody has waited for it");
        let (mut idle, _held) = metered(&memory, vec![message(100)]);
        assert!(idle.frame().await.unwrap().is_ok());
        assert!(tokio::time::timeout(2 * MESSAGE_TIME_MAX, idle.frame()).await.is_err());
    }

    #[test]
    fn replies_take_their_room_as_they_grow_and_never_wait() {
        let memory = MessageMemory::new(2 * 1_000_000);
        let mut reply = memory.reply();
        assert!(reply.grow_to(1_000, 10));
        assert_eq!(memory.in_use(), (0, 1_000 * REPLY_COPIES + 10 * VALUE_COST));
        assert!(reply.grow_to(100_000, 10) && reply.grow_to(5, 1));
        assert!(!memory.reply().grow_to(300_000, 0) && !memory.reply().grow_to(1, 5_000));
        assert_eq!(memory.refused(), 2);
        drop(reply.into_permit());
        assert_eq!(memory.in_use(), (0, 0));
        assert!(memory.reply().grow_to(300_000, 0));
    }
}
