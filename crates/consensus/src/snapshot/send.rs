//! The sending side of a snapshot transfer, from a leader to a replica whose next entry was purged from the leader's
//! log.
//!
//! The leader's openraft decides when a replica needs a snapshot, and has its network send it (`raft/network.rs`). The
//! parts travel one by one on a stream of their own class, so that neither entries nor heartbeats wait for them.
//! Back-pressure: a part is answered once the receiver's disk has taken it, and at most [`IN_FLIGHT_BYTES_MAX`] bytes
//! are unanswered.
//!
//! Chunks are cut by bytes ([`PIECE_BYTES_MAX`]), whatever values they hold. So the size of a message does not grow
//! with the size of a value, every snapshot that a node could write can be sent, and neither side holds more of it in
//! memory than what is in flight. A receiver that does not understand pieces gets whole chunks, as long as they fit
//! into a message.
//!
//! The receiver stores the parts aside. At the end its Raft core decides, by vote and position, whether the snapshot is
//! installed (`raft/machine.rs`). Only then does it become one of the replica's own snapshots. A transfer that is
//! interrupted starts from the beginning.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use fastness_events::Event;
use fastness_types::{FormatLevel, LogIndex, limits};
use openraft::raft::SnapshotResponse;
use tokio::sync::oneshot;

use crate::group::state::Group;
use crate::peer::codec;
use crate::peer::frame::{Envelope, Kind, Urgency};
use crate::peer::link::{Link, LinkError, answer_of};
use crate::raft::types::{SnapshotMeta, Types, Vote};
use crate::snapshot::files::{SnapshotFileError, SnapshotFiles, SnapshotPart, SnapshotPiece};

/// Largest piece of a chunk, in bytes.
const PIECE_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;
/// Bytes of parts in flight. A larger part is sent alone.
const IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Parts in flight.
const IN_FLIGHT_MAX: usize = 64;
/// How long the receiver may take to install the snapshot.
const INSTALL_MAX: Duration = Duration::from_secs(60);

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// This node's file cannot be read.
    #[error("the snapshot of index {index} cannot be read: {source}")]
    File { index: u64, source: SnapshotFileError },
    /// The connection failed, or the receiver refused.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Sends a snapshot. Returns the receiver's answer once the snapshot is installed.
pub(crate) async fn send(
    group: &Group,
    files: &dyn SnapshotFiles,
    link: &Link,
    transfer: u64,
    vote: &Vote,
    meta: &SnapshotMeta,
) -> Result<SnapshotResponse<Types>, SendError> {
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let broken = |source| SendError::File { index, source };
    let mut source = files.open(LogIndex(index)).await.map_err(broken)?;
    let total = source.bytes();
    tracing::info!(group = %group.id, index, total, "sending a snapshot");
    let mut under_way = Window::default();
    let mut number = 0;
    let mut cutter = Cutter::new(group.driver.format() >= FormatLevel::BOUNDS);
    while let Some(piece) = source.next().await.map_err(broken)? {
        for piece in cutter.cut(piece) {
            let bytes = piece.part.bytes().len();
            under_way.wait_for_space(bytes).await?;
            let payload = codec::encode_part(transfer, number, piece, if number == 0 { total } else { 0 });
            under_way.push(link.request(group.id, Kind::SnapshotPart, payload, Urgency::Now)?, bytes);
            number += 1;
        }
    }
    under_way.wait_for_space(usize::MAX).await?;
    let end = codec::encode_snapshot_end(transfer, vote, meta);
    let reply = link.call(group.id, Kind::SnapshotEnd, end, INSTALL_MAX).await?;
    let vote = codec::decode_snapshot_end_reply(reply).map_err(|error| LinkError::Answer(error.to_string()))?;
    let (index, peer) = (LogIndex(index), link.peer());
    group.events().record(Event::SnapshotSent { shard: group.id, index, bytes: total, peer });
    Ok(SnapshotResponse::new(vote))
}

/// Cuts what is read from a file into the pieces that are sent.
struct Cutter {
    /// Whether the receiver understands pieces.
    understood: bool,
    /// The chunk that is assembled for a receiver that does not understand pieces.
    whole: BytesMut,
    /// That chunk does not fit into a message: the rest of it is sent in pieces, which the receiver refuses with a
    /// clear error.
    too_large: bool,
}

impl Cutter {
    fn new(understood: bool) -> Cutter {
        Cutter { understood, whole: BytesMut::new(), too_large: false }
    }

    fn cut(&mut self, SnapshotPiece { part, continues }: SnapshotPiece) -> Vec<SnapshotPiece> {
        let SnapshotPart::Chunk(mut bytes) = part else { return vec![SnapshotPiece::whole(part)] };
        if !(self.understood || self.too_large) {
            if self.whole.is_empty() && !continues && bytes.len() <= limits::ENTRY_BYTES_MAX {
                return vec![SnapshotPiece::whole(SnapshotPart::Chunk(bytes))];
            }
            self.whole.extend_from_slice(&bytes);
            let fits = self.whole.len() <= limits::ENTRY_BYTES_MAX;
            if fits && continues {
                return Vec::new();
            }
            bytes = std::mem::take(&mut self.whole).freeze();
            if fits {
                return vec![SnapshotPiece::whole(SnapshotPart::Chunk(bytes))];
            }
        }
        // The next chunk may fit again.
        self.too_large = continues && !self.understood;
        let mut pieces = Vec::with_capacity(bytes.len() / PIECE_BYTES_MAX + 1);
        while bytes.len() > PIECE_BYTES_MAX {
            let part = SnapshotPart::Chunk(bytes.split_to(PIECE_BYTES_MAX));
            pieces.push(SnapshotPiece { part, continues: true });
        }
        pieces.push(SnapshotPiece { part: SnapshotPart::Chunk(bytes), continues });
        pieces
    }
}

/// Parts in flight, the oldest first.
#[derive(Default)]
struct Window {
    parts: VecDeque<(usize, oneshot::Receiver<Envelope>)>,
    bytes: usize,
}

impl Window {
    /// Waits until a part of `bytes` may be sent.
    async fn wait_for_space(&mut self, bytes: usize) -> Result<(), LinkError> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn chunk(bytes: usize, continues: bool) -> SnapshotPiece {
        SnapshotPiece { part: SnapshotPart::Chunk(vec![7; bytes].into()), continues }
    }

    /// The size of each piece, and whether the chunk continues after it.
    fn cut(cutter: &mut Cutter, piece: SnapshotPiece) -> Vec<(usize, bool)> {
        let pieces = cutter.cut(piece);
        let largest = codec::encode_part(1, 2, pieces.first().cloned().unwrap_or(chunk(0, false)), 3).len();
        assert!(largest <= limits::ENTRY_BYTES_MAX + 64, "a message of {largest} bytes");
        pieces.iter().map(|piece| (piece.part.bytes().len(), piece.continues)).collect()
    }

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_chunk_of_any_size_travels_in_messages_of_bounded_size() {
        let mut cutter = Cutter::new(true);
        assert_eq!(cut(&mut cutter, chunk(100, false)), [(100, false)]);
        assert_eq!(cut(&mut cutter, chunk(5 * MIB / 2, true)), [(MIB, true), (MIB, true), (MIB / 2, true)]);
        assert_eq!(cut(&mut cutter, chunk(MIB + 1, false)), [(MIB, true), (1, false)]);
        let head = SnapshotPiece::whole(SnapshotPart::Head(Bytes::from_static(b"head")));
        assert_eq!(cutter.cut(head.clone()), [head]);
    }

    #[test]
    fn a_receiver_that_knows_no_pieces_is_sent_whole_chunks_as_long_as_they_fit() {
        let mut cutter = Cutter::new(false);
        assert_eq!(cut(&mut cutter, chunk(3 * MIB, false)), [(3 * MIB, false)]);
        assert_eq!(cut(&mut cutter, chunk(16 * MIB, true)), []);
        assert_eq!(cut(&mut cutter, chunk(MIB, false)), [(17 * MIB, false)]);
        // 70 MiB: more than a message can hold.
        for _ in 0..4 {
            assert_eq!(cut(&mut cutter, chunk(16 * MIB, true)), []);
        }
        let rest = cut(&mut cutter, chunk(6 * MIB, true));
        assert_eq!(rest, vec![(MIB, true); 70]);
        assert_eq!(cut(&mut cutter, chunk(10, false)), [(10, false)]);
        assert_eq!(cut(&mut cutter, chunk(2 * MIB, false)), [(2 * MIB, false)], "the next chunk is whole again");
    }
}
