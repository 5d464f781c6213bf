//! The responses of one stream between the task that makes them and the connection that sends them.
//!
//! The connection takes a response when the client's window has room. A few responses wait here, of
//! [`WATCH_BUFFER_BYTES_MAX`] together. A client that takes none for [`WATCH_STALL_MAX`] while no more may wait is cut
//! off: what waits is dropped, and the stream ends with an error that says what was sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fastness_shard::changes::ChangePosition;
use fastness_types::limits::{WATCH_BUFFER_BYTES_MAX, WATCH_STALL_MAX};
use fastness_wire::v1::WatchResponse;
use futures::Stream;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tonic::Status;

use super::changes::read_position;
use crate::api::refusal::ApiRefusal;

struct Queued {
    response: WatchResponse,
    bytes: usize,
    /// Its part of the memory of all watchers.
    permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct OutboxState {
    queue: VecDeque<Queued>,
    bytes: usize,
    /// Everything up to here was taken by the connection.
    taken: ChangePosition,
    /// Responses that were taken.
    takes: u64,
    /// How the stream ends, after what waits.
    end: Option<Status>,
    /// The connection takes no more.
    is_closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    /// Wakes the task: there is room, or the client is gone.
    changed: Notify,
    /// Wakes the connection.
    ready: AtomicWaker,
}

/// Why a response was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The client is gone.
    Closed,
    /// The client takes nothing.
    Stalled,
}

impl Outbox {
    /// Adds a response, once there is room.
    pub(super) async fn send(
        &self,
        response: WatchResponse,
        bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Unsent> {
        let room = async {
            loop {
                let (has_room, is_closed, takes) = {
                    let state = self.state.lock();
                    let has_room = state.bytes == 0 || state.bytes + bytes <= WATCH_BUFFER_BYTES_MAX;
                    (has_room, state.is_closed, state.takes)
                };
                if is_closed {
                    return Err(Unsent::Closed);
                }
                if has_room {
                    return Ok(());
                }
                // A client that takes something has the whole time again.
                if tokio::time::timeout(WATCH_STALL_MAX, self.changed.notified()).await.is_err()
                    && self.state.lock().takes == takes
                {
                    return Err(Unsent::Stalled);
                }
            }
        };
        room.await?;
        let mut state = self.state.lock();
        state.bytes += bytes;
        state.queue.push_back(Queued { response, bytes, permit });
        drop(state);
        self.ready.wake();
        Ok(())
    }

    /// Whether everything that was added has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().queue.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Resolves when something was taken, or the client is gone.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the stream after what waits.
    pub(super) fn end(&self, refusal: ApiRefusal) {
        self.state.lock().end = Some(refusal.into());
        self.ready.wake();
    }

    /// Ends the stream at once, and drops what waits. `refusal` is made of the position up to which everything was
    /// taken.
    pub(super) fn cut_off(&self, refusal: impl FnOnce(ChangePosition) -> ApiRefusal) {
        let mut state = self.state.lock();
        state.queue.clear();
        state.bytes = 0;
        state.end = Some(refusal(state.taken).into());
        drop(state);
        self.ready.wake();
    }
}

/// The responses of one stream. What one has reserved is released when the next one is requested: by then it is on its
/// way.
pub struct WatchResponses {
    outbox: Arc<Outbox>,
    last: Option<OwnedSemaphorePermit>,
}

impl WatchResponses {
    pub(super) fn new(outbox: Arc<Outbox>) -> WatchResponses {
        WatchResponses { outbox, last: None }
    }
}

impl Stream for WatchResponses {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.last = None;
        self.outbox.ready.register(cx.waker());
        let mut state = self.outbox.state.lock();
        if let Some(Queued { response, bytes, permit }) = state.queue.pop_front() {
            state.bytes -= bytes;
            state.takes += 1;
            if let Some(position) = &response.position {
                state.taken = read_position(position);
            }
            drop(state);
            self.outbox.changed.notify_one();
            self.last = Some(permit);
            return Poll::Ready(Some(Ok(response)));
        }
        if let Some(end) = state.end.take() {
            state.is_closed = true;
            return Poll::Ready(Some(Err(end)));
        }
        if state.is_closed { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for WatchResponses {
    fn drop(&mut self) {
        self.outbox.state.lock().is_closed = true;
        self.outbox.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use fastness_types::LogIndex;
    use fastness_wire::v1::WatchPosition;
    use futures::StreamExt as _;
    use tokio::sync::Semaphore;
    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    fn response(index: u64) -> WatchResponse {
        WatchResponse { position: Some(WatchPosition { index, unit: 1 }), ..WatchResponse::default() }
    }

    fn started() -> (Arc<Outbox>, WatchResponses, Arc<Semaphore>) {
        let outbox = Arc::new(Outbox::default());
        (outbox.clone(), WatchResponses::new(outbox), Arc::new(Semaphore::new(10)))
    }

    async fn send(outbox: &Outbox, memory: &Arc<Semaphore>, index: u64, bytes: usize) -> Result<(), Unsent> {
        outbox.send(response(index), bytes, memory.clone().try_acquire_owned().unwrap()).await
    }

    fn index(response: Option<Result<WatchResponse, Status>>) -> u64 {
        response.unwrap().unwrap().position.unwrap().index
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off_and_what_waits_is_dropped() {
        let (outbox, mut stream, memory) = started();
        send(&outbox, &memory, 1, 10).await.unwrap();
        send(&outbox, &memory, 2, WATCH_BUFFER_BYTES_MAX - 10).await.unwrap();
        assert_eq!(index(stream.next().await), 1);
        let since = Instant::now();
        send(&outbox, &memory, 3, 10).await.unwrap();
        assert_eq!(since.elapsed(), Duration::ZERO, "there was room");
        assert_eq!(send(&outbox, &memory, 4, 1).await, Err(Unsent::Stalled));
        assert_eq!(since.elapsed(), WATCH_STALL_MAX);
        assert_eq!(memory.available_permits(), 10 - 3, "one was taken, two wait");
        outbox.cut_off(|taken| {
            assert_eq!(taken, ChangePosition { index: LogIndex(1), unit: 1 });
            ApiRefusal::invalid("slow")
        });
        assert_eq!(memory.available_permits(), 10 - 1);
        let end = stream.next().await.unwrap().unwrap_err();
        assert_eq!((end.code(), memory.available_permits()), (Code::InvalidArgument, 10));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_something_has_the_whole_time_again() {
        let (outbox, mut stream, memory) = started();
        for index in 1..=4 {
            send(&outbox, &memory, index, WATCH_BUFFER_BYTES_MAX / 4).await.unwrap();
        }
        let slow = tokio::spawn(async move {
            for expect in 1..=5 {
                tokio::time::sleep(WATCH_STALL_MAX - Duration::from_secs(1)).await;
                assert_eq!(index(stream.next().await), expect);
            }
            stream
        });
        // Longer than what waits: it needs all the room.
        send(&outbox, &memory, 5, 2 * WATCH_BUFFER_BYTES_MAX).await.unwrap();
        let stream = slow.await.unwrap();
        assert!(outbox.is_empty() && !outbox.is_closed());
        drop(stream);
        assert!(outbox.is_closed());
        assert_eq!(send(&outbox, &memory, 6, 1).await, Err(Unsent::Closed));
        assert_eq!(memory.available_permits(), 10);
    }

    #[tokio::test]
    async fn an_end_comes_after_what_waits() {
        let (outbox, mut stream, memory) = started();
        send(&outbox, &memory, 1, 1).await.unwrap();
        outbox.end(ApiRefusal::invalid("over"));
        assert_eq!(index(stream.next().await), 1);
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
    }
}
