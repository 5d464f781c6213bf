//! A connection in memory, from a front end of this node to a replica: bytes as over a socket, without one.
//!
//! Each direction holds at most [`PIPE_BYTES_MAX`]; whoever has more waits. The end of one side is the end of the
//! connection, as when a socket breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{Interest, Ready};
use tokio::sync::Notify;

use super::received::{Closed, Filled};

/// Bytes that one direction holds.
pub const PIPE_BYTES_MAX: usize = 256 * 1024;
/// Capacity that an empty direction keeps.
const EMPTY_BYTES_KEPT: usize = 1024;

#[derive(Debug, Default)]
struct Pipe {
    requests: Mutex<Vec<u8>>,
    replies: Mutex<Vec<u8>>,
    /// What the replica's side waits for.
    replica: Notify,
    /// The same, of whoever waits for the end alone.
    ended: Notify,
    /// What a writer of requests waits for.
    writer: Notify,
    /// What a reader of replies waits for.
    reader: Notify,
    closed: AtomicBool,
}

impl Pipe {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.replica.notify_one();
        self.ended.notify_one();
        self.writer.notify_one();
        self.reader.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Makes a connection.
#[must_use]
pub fn pipe() -> (ClientEnd, ReplicaEnd) {
    let pipe = Arc::new(Pipe::default());
    (ClientEnd(pipe.clone()), ReplicaEnd(pipe))
}

/// Moves as much as fits below `max`; returns how much.
fn fill_up(to: &mut Vec<u8>, from: &[u8], max: usize) -> usize {
    let len = from.len().min(max.saturating_sub(to.len()));
    to.extend_from_slice(&from[..len]);
    len
}

/// Removes the first `len` bytes.
fn drain(from: &mut Vec<u8>, len: usize) {
    from.drain(..len);
    if from.is_empty() {
        from.shrink_to(EMPTY_BYTES_KEPT);
    }
}

/// The replica's end, on the thread of its loop.
#[derive(Debug)]
pub struct ReplicaEnd(Arc<Pipe>);

impl ReplicaEnd {
    pub(super) async fn ready(&self, interest: Interest) -> Ready {
        loop {
            let woken = self.0.replica.notified();
            let mut ready = Ready::EMPTY;
            if self.0.is_closed() {
                return Ready::READABLE | Ready::READ_CLOSED | Ready::WRITABLE | Ready::WRITE_CLOSED;
            }
            if interest.is_readable() && !self.0.requests.lock().is_empty() {
                ready |= Ready::READABLE;
            }
            if interest.is_writable() && self.0.replies.lock().len() < PIPE_BYTES_MAX {
                ready |= Ready::WRITABLE;
            }
            if !ready.is_empty() {
                return ready;
            }
            woken.await;
        }
    }

    /// Whether the other end is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(super) async fn closed(&self) -> Closed {
        while !self.0.is_closed() {
            self.0.ended.notified().await;
        }
        Closed::Broken
    }

    /// Appends what is there, up to the room in `buf`.
    pub(super) fn fill(&self, buf: &mut Vec<u8>) -> Filled {
        let mut requests = self.0.requests.lock();
        let len = requests.len().min(buf.capacity() - buf.len());
        if len == 0 && self.0.is_closed() {
            return Filled::End;
        }
        buf.extend_from_slice(&requests[..len]);
        drain(&mut requests, len);
        drop(requests);
        self.0.writer.notify_one();
        Filled::Bytes(len)
    }

    /// Sends what there is room for; `None`: the other end is closed.
    pub(super) fn send(&self, bytes: &[u8]) -> Option<usize> {
        if self.0.is_closed() {
            return None;
        }
        let len = fill_up(&mut self.0.replies.lock(), bytes, PIPE_BYTES_MAX);
        if len > 0 {
            self.0.reader.notify_one();
        }
        Some(len)
    }

    /// What both directions hold, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Pipe>() + self.0.requests.lock().capacity() + self.0.replies.lock().capacity()
    }
}

impl Drop for ReplicaEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The replica's end of the connection has closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica has closed the connection")]
pub struct PipeClosed;

/// The front end's end. One task may write and another one may read.
#[derive(Debug)]
pub struct ClientEnd(Arc<Pipe>);

impl ClientEnd {
    /// Whether the replica has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Writes all of it, as the replica reads.
    ///
    /// # Errors
    /// The replica closes the connection.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), PipeClosed> {
        loop {
            let woken = self.0.writer.notified();
            if self.0.is_closed() {
                return Err(PipeClosed);
            }
            let len = fill_up(&mut self.0.requests.lock(), bytes, PIPE_BYTES_MAX);
            bytes = &bytes[len..];
            if len > 0 {
                self.0.replica.notify_one();
            }
            if bytes.is_empty() {
                return Ok(());
            }
            woken.await;
        }
    }

    /// Appends what has arrived to `buf`; waits for at least a byte.
    ///
    /// # Errors
    /// The replica has closed the connection, and everything that it sent before was read.
    pub async fn read(&self, buf: &mut Vec<u8>) -> Result<(), PipeClosed> {
        loop {
            let woken = self.0.reader.notified();
            // Before the bytes: what was sent before the end is there then.
            let is_closed = self.0.is_closed();
            if self.take_replies(buf) {
                return Ok(());
            }
            if is_closed {
                return Err(PipeClosed);
            }
            woken.await;
        }
    }
}

impl ClientEnd {
    /// Appends the replies that are there to `buf`; `false`: there are none.
    fn take_replies(&self, buf: &mut Vec<u8>) -> bool {
        let mut replies = self.0.replies.lock();
        let len = replies.len();
        buf.extend_from_slice(&replies);
        drain(&mut replies, len);
        drop(replies);
        if len > 0 {
            self.0.replica.notify_one();
        }
        len > 0
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// More than fits passes through while the other end reads, in order.
    #[tokio::test]
    async fn everything_passes_in_both_directions_however_long() {
        let (client, replica) = pipe();
        let sent: Vec<u8> = (0..3 * PIPE_BYTES_MAX + 5).map(|i| (i % 251) as u8).collect();
        let expected = sent.clone();
        let echo = tokio::spawn(async move {
            let (mut seen, mut unsent) = (Vec::new(), Vec::new());
            while seen.len() < expected.len() || !unsent.is_empty() {
                let interest = if unsent.is_empty() { Interest::READABLE } else { Interest::WRITABLE };
                let ready = replica.ready(interest).await;
                if ready.is_readable() {
                    let mut piece = Vec::with_capacity(100_000);
                    assert!(matches!(replica.fill(&mut piece), Filled::Bytes(_)));
                    seen.extend_from_slice(&piece);
                    unsent.extend(piece);
                }
                if ready.is_writable() {
                    let len = replica.send(&unsent).unwrap();
                    unsent.drain(..len);
                }
            }
            assert!(seen == expected);
        });
        let read = async {
            let mut got = Vec::new();
            while got.len() < sent.len() {
                client.read(&mut got).await.unwrap();
            }
            got
        };
        let (written, got) = tokio::join!(client.write(&sent), read);
        assert_eq!(written, Ok(()));
        assert!(got == sent);
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_one_side_is_seen_by_the_other() {
        let (client, replica) = pipe();
        assert_eq!(replica.send(b"last"), Some(4));
        drop(replica);
        let mut got = Vec::new();
        assert_eq!(client.read(&mut got).await, Ok(()));
        assert_eq!(got, b"last");
        assert_eq!(client.read(&mut got).await, Err(PipeClosed));
        assert_eq!(client.write(b"x").await, Err(PipeClosed));

        let (client, replica) = pipe();
        let waiting = tokio::spawn(async move { (replica.closed().await, replica) });
        tokio::task::yield_now().await;
        drop(client);
        let (closed, replica) = waiting.await.unwrap();
        assert_eq!(closed, Closed::Broken);
        assert!(replica.ready(Interest::READABLE).await.is_read_closed());
        assert_eq!((replica.send(b"x"), replica.fill(&mut Vec::with_capacity(8))), (None, Filled::End));
    }
}
