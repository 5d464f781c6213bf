//! The receiving side of a snapshot transfer. See `snapshot/send.rs`.

use std::sync::Arc;

use bytes::Bytes;
use fastness_events::Event;
use fastness_types::LogIndex;
use fastness_wire::peer::v1 as pb;
use openraft::errors::Fatal;

use crate::group::handle::IncomingBytes;
use crate::group::state::{Group, Raft};
use crate::peer::codec;
use crate::raft::codec::DecodeError;
use crate::raft::machine::SnapshotData;
use crate::raft::types::Types;
use crate::snapshot::files::{IncomingSnapshot, SnapshotFileError};

/// Why a part or the end of a snapshot was refused. The sender logs the text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    #[error("this group has no snapshots")]
    NoSnapshots,
    #[error("the part does not continue a transfer in progress")]
    UnexpectedPart,
    #[error("no transfer is in progress")]
    NoTransfer,
    #[error("another transfer is in progress")]
    OtherTransfer,
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    #[error(transparent)]
    Raft(#[from] Fatal<Types>),
}

/// The snapshot that one stream transfers for one group.
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

    /// Stores a part.
    pub(crate) async fn part(&mut self, payload: Bytes) -> Result<Bytes, ReceiveError> {
        let taken = self.take(payload).await;
        if taken.is_err() {
            self.end();
        }
        taken.map(|()| codec::encode(&pb::SnapshotPartReply {}))
    }

    async fn take(&mut self, payload: Bytes) -> Result<(), ReceiveError> {
        let part = codec::decode_part(payload)?;
        if part.number == 0 {
            self.end();
            let files = self.group.snapshots.clone().ok_or(ReceiveError::NoSnapshots)?;
            let incoming = files.receive().await?;
            let bytes = IncomingBytes { received: 0, total: part.total_bytes };
            self.under_way = Some(Receiving { transfer: part.transfer, next: 0, incoming, bytes });
        }
        let expected =
            |under_way: &&mut Receiving| (under_way.transfer, under_way.next) == (part.transfer, part.number);
        let under_way = self.under_way.as_mut().filter(expected).ok_or(ReceiveError::UnexpectedPart)?;
        under_way.next += 1;
        under_way.bytes.received += part.piece.part.bytes().len() as u64;
        under_way.incoming.push(part.piece).await?;
        self.group.driver.set_incoming(Some(under_way.bytes));
        Ok(())
    }

    /// Installs the snapshot, whose parts are complete.
    pub(crate) async fn finish(&mut self, raft: Raft, payload: Bytes) -> Result<Bytes, ReceiveError> {
        let under_way = self.under_way.take().ok_or(ReceiveError::NoTransfer)?;
        self.end();
        let end = codec::decode_snapshot_end(payload)?;
        if end.transfer != under_way.transfer {
            return Err(ReceiveError::OtherTransfer);
        }
        let index = end.meta.last_log_id.map_or(0, |id| id.index);
        let (index, bytes) = (LogIndex(index), under_way.bytes.received);
        self.group.events().record(Event::SnapshotReceived { shard: self.group.id, index, bytes });
        let snapshot = openraft::alias::SnapshotOf::<Types, _> {
            meta: end.meta,
            snapshot: SnapshotData::Received(under_way.incoming),
        };
        let installed = raft.install_full_snapshot(end.vote, snapshot).await?;
        Ok(codec::encode_snapshot_end_reply(&installed.vote))
    }

    /// Gives up the transfer in progress, if any.
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
