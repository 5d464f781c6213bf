//! A snapshot on its way from a leader to a replica that needs what is no longer in the leader's log.
//!
//! The leader's openraft decides that and asks its network to send (`network.rs`); parts go one by one on a stream of
//! their own class, so that neither entries nor heartbeats wait behind them. Back-pressure: a part is answered once the
//! receiver's disk has taken it, and no more than [`IN_FLIGHT_BYTES_MAX`] are unanswered.
//!
//! The receiver stores the parts aside. At the end its Raft core decides, by vote and position, whether the snapshot is
//! installed (`machine.rs`); only then does it become one of the replica's own. A transfer that is cut off begins anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastness_types::LogIndex;
use fastness_wire::peer::v1 as pb;
use openraft::raft::SnapshotResponse;
use tokio::sync::oneshot;

use crate::codec;
use crate::frame::{Envelope, Kind, Urgency};
use crate::group::{Group, Raft};
use crate::handle::IncomingBytes;
use crate::link::{Link, LinkError, answer_of};
use crate::machine::{SnapshotData, SnapshotMeta};
use crate::raft_types::{Types, Vote};
use crate::snapshot::{IncomingSnapshot, SnapshotFiles, SnapshotPart};

/// Bytes of parts that are under way; a single larger part is sent alone.
const IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Parts that are under way.
const IN_FLIGHT_MAX: usize = 64;
/// How long the receiver may take to install what it has received.
const INSTALL_MAX: Duration = Duration::from_secs(60);

// ---- the leader's side --------------------------------------------------------------------------------------------

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// This node's file.
    #[error("the snapshot of index {index} cannot be read: {reason}")]
    File { index: u64, reason: String },
    /// The way, or the receiver.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Sends a snapshot, and gives the receiver's answer once it is installed.
pub(crate) async fn send(
    group: &Group,
    files: &dyn SnapshotFiles,
    link: &Link,
    transfer: u64,
    vote: &Vote,
    meta: &SnapshotMeta,
) -> Result<SnapshotResponse<Types>, SendError> {
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let broken = |reason| SendError::File { index, reason };
    let mut source = files.open(LogIndex(index)).await.map_err(broken)?;
    let total = source.bytes();
    tracing::info!(group = %group.id, index, total, "a snapshot is sent");
    let mut under_way = Window::default();
    let mut number = 0;
    while let Some(part) = source.next().await.map_err(broken)? {
        let bytes = part.bytes().len();
        under_way.make_room(bytes).await?;
        let payload = codec::encode_part(transfer, number, part, if number == 0 { total } else { 0 });
        under_way.push(link.ask(group.id, Kind::SnapshotPart, payload, Urgency::Now)?, bytes);
        number += 1;
    }
    under_way.make_room(usize::MAX).await?;
    let end = codec::encode_snapshot_end(transfer, vote, meta);
    let reply = link.call(group.id, Kind::SnapshotEnd, end, INSTALL_MAX).await?;
    let vote = codec::decode_snapshot_end_reply(reply).map_err(|error| LinkError::Answer(error.to_string()))?;
    tracing::info!(group = %group.id, index, parts = number, "a snapshot has arrived");
    Ok(SnapshotResponse::new(vote))
}

/// Parts under way, the oldest first.
#[derive(Default)]
struct Window {
    parts: VecDeque<(usize, oneshot::Receiver<Envelope>)>,
    bytes: usize,
}

impl Window {
    /// Waits until there is room for a part of `bytes`.
    async fn make_room(&mut self, bytes: usize) -> Result<(), LinkError> {
        let fits = |window: &Window| {
            window.bytes.saturating_add(bytes) <= IN_FLIGHT_BYTES_MAX && window.parts.len() < IN_FLIGHT_MAX
        };
        while !fits(self) {
            let Some((bytes, answer)) = self.parts.pop_front() else { return Ok(()) };
            answer_of(answer.await)?;
            self.bytes -= bytes;
        }
        Ok(())
    }

    fn push(&mut self, answer: oneshot::Receiver<Envelope>, bytes: usize) {
        self.bytes += bytes;
        self.parts.push_back((bytes, answer));
    }
}

// ---- the receiver's side ------------------------------------------------------------------------------------------

/// What one stream brings for one group.
pub(crate) struct Transfer {
    group: Arc<Group>,
    under_way: Option<Receiving>,
}

struct Receiving {
    transfer: u64,
    next: u64,
    incoming: Box<dyn IncomingSnapshot>,
    bytes: IncomingBytes,
}

impl Transfer {
    pub(crate) fn new(group: Arc<Group>) -> Transfer {
        Transfer { group, under_way: None }
    }

    /// Takes a part; the error is for the sender's log.
    pub(crate) async fn part(&mut self, payload: Bytes) -> Result<Bytes, String> {
        let taken = self.take(payload).await;
        if taken.is_err() {
            self.end();
        }
        taken.map(|()| codec::encode(&pb::SnapshotPartReply {}))
    }

    async fn take(&mut self, payload: Bytes) -> Result<(), String> {
        let part = codec::decode_part(payload).map_err(|error| error.to_string())?;
        if part.number == 0 {
            self.end();
            let files = self.group.snapshots.clone().ok_or("this group has no snapshots")?;
            let incoming = files.receive().await?;
            let bytes = IncomingBytes { received: 0, total: part.total_bytes };
            self.under_way = Some(Receiving { transfer: part.transfer, next: 0, incoming, bytes });
        }
        let expected =
            |under_way: &&mut Receiving| (under_way.transfer, under_way.next) == (part.transfer, part.number);
        let under_way = self.under_way.as_mut().filter(expected).ok_or("a part of a transfer that is not under way")?;
        under_way.next += 1;
        under_way.bytes.received += part.part.bytes().len() as u64;
        under_way.incoming.push(part.part).await?;
        self.group.driver.set_incoming(Some(under_way.bytes));
        Ok(())
    }

    /// Has the snapshot installed that has come whole.
    pub(crate) async fn finish(&mut self, raft: Raft, payload: Bytes) -> Result<Bytes, String> {
        let under_way = self.under_way.take().ok_or("no transfer is under way")?;
        self.end();
        let end = codec::decode_snapshot_end(payload).map_err(|error| error.to_string())?;
        if end.transfer != under_way.transfer {
            return Err("the end of another transfer".to_owned());
        }
        let index = end.meta.last_log_id.map_or(0, |id| id.index);
        tracing::info!(group = %self.group.id, index, bytes = under_way.bytes.received, "a snapshot has been received");
        let snapshot = openraft::alias::SnapshotOf::<Types, _> {
            meta: end.meta,
            snapshot: SnapshotData::Received(under_way.incoming),
        };
        let installed = raft.install_full_snapshot(end.vote, snapshot).await.map_err(|error| error.to_string())?;
        Ok(codec::encode_snapshot_end_reply(&installed.vote))
    }

    /// Nothing is under way any more.
    fn end(&mut self) {
        self.under_way = None;
        self.group.driver.set_incoming(None);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A part as it came.
pub(crate) struct NumberedPart {
    pub(crate) transfer: u64,
    pub(crate) number: u64,
    pub(crate) part: SnapshotPart,
    pub(crate) total_bytes: u64,
}

/// The end of a transfer as it came.
pub(crate) struct TransferEnd {
    pub(crate) transfer: u64,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
}
