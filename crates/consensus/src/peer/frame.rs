//! Messages in frames: their kinds, how large messages are cut and joined, and the send queue of a stream.
//!
//! Rules:
//! - Messages of one group are sent in the order in which they were queued, also when one of them is cut into parts.
//! - Groups take turns part by part, so one group's large entry delays the others by at most one part.
//! - A frame holds about [`limits::FRAME_BYTES_MAX`] bytes at most.
//! - A message that nobody waits for lingers: it is sent with the next message that somebody waits for, or after
//!   [`LINGER_MAX`]. Such messages are appends without entries, which only report the committed position, and their
//!   answers. Under load this saves one frame per commit, peer and direction.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastness_types::{GroupId, limits};
use fastness_wire::peer::v1::{Frame, Message};
use tokio::time::Instant;

/// The kind of a message. The numbers are frozen; unknown ones are answered with [`Kind::Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Kind {
    /// First message of a stream in each direction. `pb::Hello`.
    Hello = 1,
    /// Asks whether the peer is alive. `pb::Ping`.
    Ping = 2,
    /// Answers a ping. `pb::Pong`.
    Pong = 3,
    /// The request of this id is not served. The payload is the reason as text.
    Refused = 4,
    /// `pb::AppendRequest`, answered by `pb::AppendReply`.
    Append = 10,
    AppendReply = 11,
    /// `pb::VoteRequest`, answered by `pb::VoteReply`.
    Vote = 12,
    VoteReply = 13,
    /// As a vote, but without effect on the voter's state.
    PreVote = 14,
    PreVoteReply = 15,
    /// `pb::TransferRequest`, answered by `pb::TransferReply`.
    Transfer = 16,
    TransferReply = 17,
    /// `pb::ReleaseRequest`, answered by `pb::ReleaseReply`.
    Release = 18,
    ReleaseReply = 19,
    /// `pb::LeaseRequest` and `pb::LeaseResponse`. They carry no id, and groups only in their payload.
    LeaseRequest = 20,
    LeaseResponse = 21,
    /// `pb::SnapshotPart`, answered by `pb::SnapshotPartReply`.
    SnapshotPart = 22,
    SnapshotPartReply = 23,
    /// `pb::SnapshotEnd`, answered by `pb::SnapshotEndReply`.
    SnapshotEnd = 24,
    SnapshotEndReply = 25,
}

impl Kind {
    const ALL: [Kind; 20] = [
        Kind::Hello,
        Kind::Ping,
        Kind::Pong,
        Kind::Refused,
        Kind::Append,
        Kind::AppendReply,
        Kind::Vote,
        Kind::VoteReply,
        Kind::PreVote,
        Kind::PreVoteReply,
        Kind::Transfer,
        Kind::TransferReply,
        Kind::Release,
        Kind::ReleaseReply,
        Kind::LeaseRequest,
        Kind::LeaseResponse,
        Kind::SnapshotPart,
        Kind::SnapshotPartReply,
        Kind::SnapshotEnd,
        Kind::SnapshotEndReply,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Largest part of one message in a frame, in bytes: a quarter of a frame, so that a frame also carries small messages
/// of other groups.
const PART_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 4;
/// Messages that one group may have queued on one stream. At the bound further messages are refused.
pub(crate) const QUEUED_PER_GROUP_MAX: usize = 256;

/// How long a message that nobody waits for may linger.
pub(crate) const LINGER_MAX: Duration = Duration::from_millis(5);

/// How soon a message has to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// At once.
    Now,
    /// With the next message, or after [`LINGER_MAX`].
    Lingers,
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) group: GroupId,
    pub(crate) kind: u32,
    pub(crate) id: u64,
    pub(crate) payload: Bytes,
}

impl Envelope {
    pub(crate) fn new(group: GroupId, kind: Kind, id: u64, payload: Bytes) -> Envelope {
        Envelope { group, kind: kind as u32, id, payload }
    }

    /// A frame with only this message.
    pub(crate) fn into_frame(self) -> Frame {
        Frame { messages: vec![self.into_message(false)] }
    }

    fn into_message(self, more: bool) -> Message {
        Message { group: self.group.0, kind: self.kind, id: self.id, payload: self.payload, more }
    }
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueueError {
    /// The group's queue is full.
    #[error("too many messages wait to be sent")]
    Full,
    /// The receiver would close the stream. The sender of the message has exceeded a bound of its own.
    #[error("a message of {0} bytes is larger than any that may be sent")]
    TooLarge(usize),
}

/// The send queue of one stream.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queues: HashMap<GroupId, VecDeque<Envelope>>,
    /// Groups with queued messages, in the order of their turns.
    turns: VecDeque<GroupId>,
    /// When queued messages have to be sent; `None` if nothing is queued.
    leaves_at: Option<Instant>,
}

impl Outbox {
    pub(crate) fn push(&mut self, envelope: Envelope, urgency: Urgency) -> Result<(), QueueError> {
        // A receiver would refuse to join such a message and close the stream, again and again, for all groups that
        // share it.
        if envelope.payload.len() > limits::MESSAGE_BYTES_MAX {
            return Err(QueueError::TooLarge(envelope.payload.len()));
        }
        let queue = self.queues.entry(envelope.group).or_default();
        if queue.len() >= QUEUED_PER_GROUP_MAX {
            return Err(QueueError::Full);
        }
        if queue.is_empty() {
            self.turns.push_back(envelope.group);
        }
        queue.push_back(envelope);
        let now = Instant::now();
        let at = if urgency == Urgency::Now { now } else { now + LINGER_MAX };
        self.leaves_at = Some(self.leaves_at.map_or(at, |earlier| earlier.min(at)));
        Ok(())
    }

    /// When a frame is due, if nothing is pushed before that.
    pub(crate) fn leaves_at(&self) -> Option<Instant> {
        self.leaves_at
    }

    /// The next frame, if one is due.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        self.leaves_at.filter(|at| *at <= Instant::now())?;
        let frame = self.fill_frame();
        if self.turns.is_empty() {
            self.leaves_at = None;
        }
        frame
    }

    fn fill_frame(&mut self) -> Option<Frame> {
        let mut frame = Frame::default();
        let mut space = limits::FRAME_BYTES_MAX;
        while space >= PART_BYTES_MAX {
            let Some(message) = self.next_part() else { break };
            // The overhead of a message in a frame is less than 32 bytes.
            space -= (message.payload.len() + 32).min(space);
            frame.messages.push(message);
        }
        (!frame.messages.is_empty()).then_some(frame)
    }

    fn next_part(&mut self) -> Option<Message> {
        let group = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&group)?;
        let front = queue.front_mut()?;
        let message = if front.payload.len() > PART_BYTES_MAX {
            let part = front.payload.split_to(PART_BYTES_MAX);
            Envelope { group, kind: front.kind, id: front.id, payload: part }.into_message(true)
        } else {
            queue.pop_front()?.into_message(false)
        };
        if queue.is_empty() {
            self.queues.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        Some(message)
    }
}

/// Resolves when lingering messages are due; never if there are none.
pub(crate) async fn lingered(leaves_at: Option<Instant>) {
    match leaves_at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The sender has violated the rules of cutting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("a cut message grew over {} bytes", limits::MESSAGE_BYTES_MAX)]
    TooLarge,
    #[error("parts of two messages of one group are mixed")]
    Mixed,
}

/// Joins the parts of messages. Each group has at most one incomplete message.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    open: HashMap<u32, (u32, u64, BytesMut)>,
}

impl Joiner {
    /// Adds one part. Returns the message once it is complete.
    pub(crate) fn push(&mut self, message: Message) -> Result<Option<Envelope>, JoinError> {
        let group = GroupId(message.group);
        let Some((kind, id, mut joined)) = self.open.remove(&message.group) else {
            if message.more {
                let joined = BytesMut::from(&message.payload[..]);
                self.open.insert(message.group, (message.kind, message.id, joined));
                return Ok(None);
            }
            return Ok(Some(Envelope { group, kind: message.kind, id: message.id, payload: message.payload }));
        };
        if (kind, id) != (message.kind, message.id) {
            return Err(JoinError::Mixed);
        }
        if joined.len() + message.payload.len() > limits::MESSAGE_BYTES_MAX {
            return Err(JoinError::TooLarge);
        }
        joined.extend_from_slice(&message.payload);
        if message.more {
            self.open.insert(message.group, (kind, id, joined));
            return Ok(None);
        }
        Ok(Some(Envelope { group, kind, id, payload: joined.freeze() }))
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
