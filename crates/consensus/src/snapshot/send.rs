//! A snapshot on its way from a leader to a replica that needs what is no longer in the leader's log.
//!
//! The leader's openraft decides that and asks its network to send (`raft/network.rs`); parts go one by one on a stream
//! of their own class, so that neither entries nor heartbeats wait behind them. Back-pressure: a part is answered once
//! the receiver's disk has taken it, and no more than [`IN_FLIGHT_BYTES_MAX`] are unanswered.
//!
//! Parts are cut by bytes ([`PIECE_BYTES_MAX`]), whatever the size of what a chunk holds: no message grows with a
//! value, so every snapshot that a node could write can be sent, and neither side holds more of it in memory than what
//! is under way. A receiver that does not understand pieces is sent whole chunks, as long as they fit into a message.
//!
//! The receiver stores the parts aside. At the end its Raft core decides, by vote and position, whether the snapshot is
//! installed (`raft/machine.rs`); only then does it become one of the replica's own. A transfer that is cut off begins
//! anew.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use fastness_types::{FormatLevel, LogIndex, limits};
use openraft::raft::SnapshotResponse;
use tokio::sync::oneshot;

use crate::group::state::Group;
use crate::peer::codec;
use crate::peer::frame::{Envelope, Kind, Urgency};
use crate::peer::link::{Link, LinkError, answer_of};
use crate::raft::types::{SnapshotMeta, Types, Vote};
use crate::snapshot::files::{SnapshotFileError, SnapshotFiles, SnapshotPart, SnapshotPiece};

/// A chunk's piece on its way, bytes.
const PIECE_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;
/// Bytes of parts that are under way; a single larger part is sent alone.
const IN_FLIGHT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Parts that are under way.
const IN_FLIGHT_MAX: usize = 64;
/// How long the receiver may take to install what it has received.
const INSTALL_MAX: Duration = Duration::from_secs(60);

/// Why a snapshot was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// This node's file.
    #[error("the snapshot of index {index} cannot be read: {source}")]
    File { index: u64, source: SnapshotFileError },
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
    let broken = |source| SendError::File { index, source };
    let mut source = files.open(LogIndex(index)).await.map_err(broken)?;
    let total = source.bytes();
    tracing::info!(group = %group.id, index, total, "a snapshot is sent");
    let mut under_way = Window::default();
    let mut number = 0;
    let mut cutter = Cutter::new(group.driver.format() >= FormatLevel::BOUNDS);
    while let Some(piece) = source.next().await.map_err(broken)? {
        for piece in cutter.cut(piece) {
            let bytes = piece.part.bytes().len();
            under_way.make_room(bytes).await?;
            let payload = codec::encode_part(transfer, number, piece, if number == 0 { total } else { 0 });
            under_way.push(link.ask(group.id, Kind::SnapshotPart, payload, Urgency::Now)?, bytes);
            number += 1;
        }
    }
    under_way.make_room(usize::MAX).await?;
    let end = codec::encode_snapshot_end(transfer, vote, meta);
    let reply = link.call(group.id, Kind::SnapshotEnd, end, INSTALL_MAX).await?;
    let vote = codec::decode_snapshot_end_reply(reply).map_err(|error| LinkError::Answer(error.to_string()))?;
    tracing::info!(group = %group.id, index, parts = number, "a snapshot has arrived");
    Ok(SnapshotResponse::new(vote))
}

/// Cuts what is read from a file into what is sent.
struct Cutter {
    /// Whether the receiver understands pieces.
    understood: bool,
    /// The chunk that is being put together for one that does not.
    whole: BytesMut,
    /// That chunk is too large for a message: the rest of it goes in pieces, which such a receiver refuses by name.
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
        // The end of a chunk that was too large: the next one is looked at anew.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn chunk(bytes: usize, continues: bool) -> SnapshotPiece {
        SnapshotPiece { part: SnapshotPart::Chunk(vec![7; bytes].into()), continues }
    }

    /// Bytes of each piece, and whether the chunk continues after it.
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
        // 70 MiB: more than a message holds.
        for _ in 0..4 {
            assert_eq!(cut(&mut cutter, chunk(16 * MIB, true)), []);
        }
        let rest = cut(&mut cutter, chunk(6 * MIB, true));
        assert_eq!(rest, vec![(MIB, true); 70]);
        assert_eq!(cut(&mut cutter, chunk(10, false)), [(10, false)]);
        assert_eq!(cut(&mut cutter, chunk(2 * MIB, false)), [(2 * MIB, false)], "the next chunk is whole again");
    }
}
