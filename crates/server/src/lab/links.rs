//! Faults of the links to other nodes: delay, loss, limited bandwidth, partition.
//!
//! [`Impeded`] sits between the frame queue of a stream and its connection. It covers everything that this node sends
//! to a peer, on the streams that it opens and on those that it accepts. Faults of the other direction are injected at
//! the peer.
//!
//! Rules:
//! - As on TCP over an unreliable network, frames stay in order and none is lost while the stream is open. A lost frame
//!   is sent again after [`RESEND_MIN`], then after twice that, and so on; all later frames wait.
//! - While a link is cut, frames are held. They are sent once the cut is healed, if the stream is still open.
//! - Held frames are bounded by [`HELD_BYTES_MAX`] per stream. At the bound no more are taken from the queue, so that
//!   the queue fills and the sender waits or is refused, as on a slow connection.
//! - Without a fault, the only cost of a frame is reading a flag.

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

/// Bound on the payloads of the frames that one stream holds, in bytes. A single larger frame is allowed.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Delay before a lost frame is sent again; doubled each time, as Linux does for TCP.
const RESEND_MIN: Duration = Duration::from_millis(200);
const RESEND_MAX: Duration = Duration::from_secs(10);

/// The faults of a link. A field with its default value has no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFault {
    /// Delay of each frame.
    pub delay: Duration,
    /// Percentage of frames that are lost and sent again.
    pub drop_percent: u32,
    /// Bandwidth limit of each stream, in bytes per second; 0: no limit.
    pub rate: u64,
    /// Whether the link is cut: no frame is sent.
    pub cut: bool,
}

impl LinkFault {
    /// Whether any fault is set.
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

/// Number of frames that were affected by a fault.
pub type AffectedFrames = u64;

/// The link to one peer.
#[derive(Debug)]
struct PeerLink {
    fault: watch::Sender<LinkFault>,
    /// Whether any fault is set, for a quick check.
    is_set: AtomicBool,
    affected: AtomicU64,
}

/// The faults of all links from this node.
#[derive(Debug, Default)]
pub struct LinkFaults {
    links: Mutex<BTreeMap<NodeId, Arc<PeerLink>>>,
}

impl LinkFaults {
    fn link(&self, peer: NodeId) -> Arc<PeerLink> {
        let new = || {
            Arc::new(PeerLink {
                fault: watch::Sender::new(LinkFault::default()),
                is_set: AtomicBool::new(false),
                affected: AtomicU64::new(0),
            })
        };
        self.links.lock().entry(peer).or_insert_with(new).clone()
    }

    /// Changes the fault of the link to a peer.
    pub fn change(&self, peer: NodeId, change: impl FnOnce(&mut LinkFault)) {
        let link = self.link(peer);
        let mut fault = *link.fault.borrow();
        change(&mut fault);
        link.is_set.store(fault.is_set(), Ordering::Release);
        link.fault.send_replace(fault);
    }

    /// Every peer to which a stream was opened or a fault was set, with the fault of the link to it.
    #[must_use]
    pub fn all(&self) -> Vec<(NodeId, LinkFault, AffectedFrames)> {
        let links = self.links.lock();
        links.iter().map(|(peer, link)| (*peer, *link.fault.borrow(), link.affected.load(Ordering::Relaxed))).collect()
    }

    /// Applies the faults of the link to `peer` to the frames of a stream.
    pub fn impede<S>(&self, peer: NodeId, frames: S) -> Impeded<S> {
        let link = self.link(peer);
        let changes = WatchStream::new(link.fault.subscribe());
        Impeded { frames, delay_line: Some(Box::new(DelayLine::new(link, changes))) }
    }
}

/// A stream of frames into which faults can be injected; see the module.
pub struct Impeded<S> {
    frames: S,
    /// `None` if the node is not part of a lab.
    delay_line: Option<Box<DelayLine>>,
}

impl<S> Impeded<S> {
    /// Frames that pass without faults.
    pub fn unimpeded(frames: S) -> Impeded<S> {
        Impeded { frames, delay_line: None }
    }
}

/// A frame that is held.
struct Held {
    frame: Frame,
    bytes: usize,
    send_at: Instant,
}

struct DelayLine {
    link: Arc<PeerLink>,
    changes: WatchStream<LinkFault>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When the preceding frame is completely sent at the bandwidth limit.
    free_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether the frame queue has ended.
    ended: bool,
}

fn bytes_of(frame: &Frame) -> usize {
    frame.messages.iter().map(|message| message.payload.len() + 32).sum()
}

impl DelayLine {
    fn new(link: Arc<PeerLink>, changes: WatchStream<LinkFault>) -> DelayLine {
        let now = Instant::now();
        DelayLine {
            link,
            changes,
            held: VecDeque::new(),
            held_bytes: 0,
            free_at: now,
            timer: Box::pin(tokio::time::sleep_until(now)),
            ended: false,
        }
    }

    fn is_clear(&self) -> bool {
        self.held.is_empty() && !self.link.is_set.load(Ordering::Acquire)
    }

    fn hold(&mut self, frame: Frame) {
        let fault = *self.link.fault.borrow();
        self.link.affected.fetch_add(u64::from(fault.is_set()), Ordering::Relaxed);
        let bytes = bytes_of(&frame);
        let lost = match fault.drop_percent {
            0 => Duration::ZERO,
            percent => time_lost(|| rand::rng().random_range(0..100) < percent),
        };
        let sent = Instant::now().max(self.free_at);
        // With a bandwidth limit the next frame waits until this one is completely sent.
        self.free_at = sent + wire_time(bytes, fault.rate) + lost;
        let send_at = self.free_at + fault.delay;
        self.held_bytes += bytes;
        self.held.push_back(Held { frame, bytes, send_at });
    }

    /// The next frame that may be sent now.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Frame> {
        let fault = *self.link.fault.borrow();
        if fault.cut {
            return Poll::Pending;
        }
        let Some(front) = self.held.front() else { return Poll::Pending };
        // Once the fault is healed, held frames are sent at once.
        if fault.is_set() && front.send_at > Instant::now() {
            self.timer.as_mut().reset(front.send_at);
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

/// The delay of a frame by losses: the sum of the retransmission delays until one transmission is not lost.
fn time_lost(mut is_lost: impl FnMut() -> bool) -> Duration {
    let (mut lost, mut pause) = (Duration::ZERO, RESEND_MIN);
    // Bounded even if every frame is lost: the stream is closed long before.
    while lost < 6 * RESEND_MAX && is_lost() {
        lost += pause;
        pause = (pause * 2).min(RESEND_MAX);
    }
    lost
}

impl<S: Stream<Item = Frame> + Unpin> Stream for Impeded<S> {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let Impeded { frames, delay_line } = &mut *self;
        let Some(delay_line) = delay_line else { return frames.poll_next_unpin(cx) };
        // Registers the waker for the next change; the value is read where it is needed.
        while delay_line.changes.poll_next_unpin(cx).is_ready() {}
        if delay_line.is_clear() {
            return frames.poll_next_unpin(cx);
        }
        while !delay_line.ended && (delay_line.held.is_empty() || delay_line.held_bytes < HELD_BYTES_MAX) {
            match frames.poll_next_unpin(cx) {
                Poll::Ready(Some(frame)) => delay_line.hold(frame),
                Poll::Ready(None) => delay_line.ended = true,
                Poll::Pending => break,
            }
        }
        match delay_line.poll_send(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            // A stream that ends does not wait for held frames.
            Poll::Pending if delay_line.ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
