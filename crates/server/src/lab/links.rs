//! What happens to frames on their way from this node to another one: late, lost, few at a time, not at all.
//!
//! [`Impeded`] stands between a stream's queue of frames and its connection, on the streams that this node opens as on
//! those that it accepts: all that leaves for a peer. The other direction is the peer's to impede.
//!
//! Rules:
//! - Order is kept, and nothing is lost within a stream that lives on: that is what a stream promises, and what TCP
//!   makes of a bad network. A lost frame is sent again after [`RESEND_MIN`], twice that, and so on, and everything
//!   after it waits.
//! - A cut holds frames; they leave when it is healed, if the stream has not been given up meanwhile.
//! - Frames that are held are bounded by [`HELD_BYTES_MAX`] per stream. At the bound no more are taken, so that the
//!   queue before it fills, and whoever sends waits or is refused as on a slow connection.
//! - Without a fault a frame passes at the cost of reading a flag.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fastness_types::NodeId;
use fastness_wire::peer::v1::Frame;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::WatchStream;

/// Frames that one stream holds, bytes of their payloads; one larger frame is taken alone.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Before a lost frame is sent again, as Linux does it: doubled each time.
const RESEND_MIN: Duration = Duration::from_millis(200);
const RESEND_MAX: Duration = Duration::from_secs(10);

/// What a link does; parts that are not set do nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFault {
    /// Each frame leaves so much later.
    pub delay: Duration,
    /// So many of a hundred frames are lost and sent again.
    pub drop_percent: u32,
    /// Bytes per second of each stream; 0: no limit.
    pub rate: u64,
    /// Nothing leaves.
    pub cut: bool,
}

impl LinkFault {
    /// Whether it does anything.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != LinkFault::default()
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.cut {
            parts.push("cut".to_owned());
        }
        if !self.delay.is_zero() {
            parts.push(format!("delay {} ms", self.delay.as_millis()));
        }
        if self.drop_percent > 0 {
            parts.push(format!("drop {} %", self.drop_percent));
        }
        if self.rate > 0 {
            parts.push(format!("rate {} bytes/s", self.rate));
        }
        f.write_str(if parts.is_empty() { "healed" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Frames that have met a fault.
pub type Met = u64;

/// The way to one peer.
#[derive(Debug)]
struct Way {
    fault: watch::Sender<LinkFault>,
    /// Whether any fault is set, for a quick check.
    is_set: AtomicBool,
    met: AtomicU64,
}

/// The faults of all links from this node.
#[derive(Debug, Default)]
pub struct LinkFaults {
    ways: Mutex<BTreeMap<NodeId, Arc<Way>>>,
}

impl LinkFaults {
    fn way(&self, peer: NodeId) -> Arc<Way> {
        let new = || {
            Arc::new(Way {
                fault: watch::Sender::new(LinkFault::default()),
                is_set: AtomicBool::new(false),
                met: AtomicU64::new(0),
            })
        };
        self.ways.lock().entry(peer).or_insert_with(new).clone()
    }

    /// Changes the fault of the link to a peer.
    pub fn change(&self, peer: NodeId, change: impl FnOnce(&mut LinkFault)) {
        let way = self.way(peer);
        let mut fault = *way.fault.borrow();
        change(&mut fault);
        tracing::warn!(%peer, %fault, "LAB: fault injected into the link to another node");
        way.is_set.store(fault.is_set(), Ordering::Release);
        way.fault.send_replace(fault);
    }

    /// Every peer that was ever spoken of, with the fault of the link to it.
    #[must_use]
    pub fn all(&self) -> Vec<(NodeId, LinkFault, Met)> {
        let ways = self.ways.lock();
        ways.iter().map(|(peer, way)| (*peer, *way.fault.borrow(), way.met.load(Ordering::Relaxed))).collect()
    }

    /// Puts the faults of the link to `peer` before a stream's connection.
    pub fn impede<S>(&self, peer: NodeId, frames: S) -> Impeded<S> {
        let way = self.way(peer);
        let changes = WatchStream::new(way.fault.subscribe());
        Impeded { frames, line: Some(Box::new(Line::new(way, changes))) }
    }
}

/// A stream of frames that may meet faults; see the module.
pub struct Impeded<S> {
    frames: S,
    /// `None` where there is no lab.
    line: Option<Box<Line>>,
}

impl<S> Impeded<S> {
    /// Frames that nothing stands in the way of.
    pub fn unimpeded(frames: S) -> Impeded<S> {
        Impeded { frames, line: None }
    }
}

/// A frame on its way.
struct Held {
    frame: Frame,
    bytes: usize,
    leaves: Instant,
}

struct Line {
    way: Arc<Way>,
    changes: WatchStream<LinkFault>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When the frame before has wholly left, at the rate set.
    free_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// The queue has ended.
    ended: bool,
}

fn bytes_of(frame: &Frame) -> usize {
    frame.messages.iter().map(|message| message.payload.len() + 32).sum()
}

impl Line {
    fn new(way: Arc<Way>, changes: WatchStream<LinkFault>) -> Line {
        let now = Instant::now();
        Line {
            way,
            changes,
            held: VecDeque::new(),
            held_bytes: 0,
            free_at: now,
            timer: Box::pin(tokio::time::sleep_until(now)),
            ended: false,
        }
    }

    fn is_clear(&self) -> bool {
        self.held.is_empty() && !self.way.is_set.load(Ordering::Acquire)
    }

    fn hold(&mut self, frame: Frame) {
        let fault = *self.way.fault.borrow();
        self.way.met.fetch_add(u64::from(fault.is_set()), Ordering::Relaxed);
        let bytes = bytes_of(&frame);
        let lost = match fault.drop_percent {
            0 => Duration::ZERO,
            percent => time_lost(|| rand::rng().random_range(0..100) < percent),
        };
        let sent = Instant::now().max(self.free_at);
        // At a limited rate the next one waits until this one was sent completely.
        self.free_at = sent + wire_time(bytes, fault.rate) + lost;
        let leaves = self.free_at + fault.delay;
        self.held_bytes += bytes;
        self.held.push_back(Held { frame, bytes, leaves });
    }

    /// The next frame that may leave now.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Frame> {
        let fault = *self.way.fault.borrow();
        if fault.cut {
            return Poll::Pending;
        }
        let Some(front) = self.held.front() else { return Poll::Pending };
        // Healed: what was held goes at once.
        if fault.is_set() && front.leaves > Instant::now() {
            self.timer.as_mut().reset(front.leaves);
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let held = self.held.pop_front().expect("checked above");
        self.held_bytes -= held.bytes;
        if self.held.is_empty() && !fault.is_set() {
            self.free_at = Instant::now();
        }
        Poll::Ready(held.frame)
    }
}

fn wire_time(bytes: usize, rate: u64) -> Duration {
    if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(bytes as f64 / rate as f64) }
}

/// How long it takes until a frame arrives that may be lost each time it is sent.
fn time_lost(mut is_lost: impl FnMut() -> bool) -> Duration {
    let (mut lost, mut pause) = (Duration::ZERO, RESEND_MIN);
    // Ends, too, if every frame is lost: by then the stream has long been given up.
    while lost < 6 * RESEND_MAX && is_lost() {
        lost += pause;
        pause = (pause * 2).min(RESEND_MAX);
    }
    lost
}

impl<S: Stream<Item = Frame> + Unpin> Stream for Impeded<S> {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let Impeded { frames, line } = &mut *self;
        let Some(line) = line else { return frames.poll_next_unpin(cx) };
        // Registers for the next change; the value is read where it is needed.
        while line.changes.poll_next_unpin(cx).is_ready() {}
        if line.is_clear() {
            return frames.poll_next_unpin(cx);
        }
        while !line.ended && (line.held.is_empty() || line.held_bytes < HELD_BYTES_MAX) {
            match frames.poll_next_unpin(cx) {
                Poll::Ready(Some(frame)) => line.hold(frame),
                Poll::Ready(None) => line.ended = true,
                Poll::Pending => break,
            }
        }
        match line.poll_leave(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            // Whoever ends a stream does not wait for what is under way.
            Poll::Pending if line.ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
