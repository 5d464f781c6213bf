//! openraft's state machine. It only remembers the applied position.
//!
//! The data belongs to the owner (`group/handle.rs`), which reads committed entries from the log at its own pace. So
//! applying an entry here takes no time, and the Raft core never waits for it, not even while the owner restores.
//! "Applied" in openraft's sense therefore only means that the owner was notified of the commit.
//!
//! Snapshots belong to the owner too, which makes them when it decides to. "Building" a snapshot means to take over the
//! position of the newest one that the owner has reported. After a start, before the owner has restored, the snapshot
//! that openraft knows is the position up to which the log is purged, because the log is never purged beyond a
//! snapshot. The file of that position may be gone by then: newer ones have replaced it, and the purge had not
//! followed. So what is **sent** is always the newest file that the owner has, also one beyond the stored committed
//! position. A leader that waited until it has applied that position could wait for ever: it commits nothing before the
//! replica that needs the snapshot has it.
//!
//! **Installing** makes a received file the replica's own and removes the log before it. Both are on stable storage
//! before openraft gets to know it, because from its answer on the leader counts these entries as stored here. The
//! owner is notified first of the snapshot and then of the commit. A replica that is killed in between finds a snapshot
//! that is newer than its log. It may restore from it, because a snapshot holds only committed data, and the log
//! catches up.

use std::io;
use std::sync::Arc;

use fail::fail_point;
use fastness_log::{EntryId, EntryKind, GroupLog, LogEntry};
use fastness_types::{GroupId, LogIndex};
use futures::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::oneshot;

use crate::group::handle::GroupDriver;
use crate::raft::codec;
use crate::raft::observer::RaftObserver;
use crate::raft::storage::{Stored, completion, entry_id, log_id, membership_at, written};
use crate::raft::types::{LogId, SnapshotMeta, StoredMembership, Types};
use crate::snapshot::files::IncomingSnapshot;

pub(crate) type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// The content of a snapshot, as openraft carries it.
pub(crate) enum SnapshotData {
    /// A file of this node.
    Own,
    /// A file that was received from a leader.
    Received(Box<dyn IncomingSnapshot>),
}

pub(crate) struct Machine {
    id: GroupId,
    driver: GroupDriver,
    observer: Arc<dyn RaftObserver>,
    log: GroupLog,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// The newest snapshot that openraft knows.
    snapshot: Option<SnapshotMeta>,
}

impl Machine {
    /// Starts at the stored committed position, so that openraft replays nothing before it runs.
    pub(crate) fn new(
        id: GroupId,
        driver: GroupDriver,
        observer: Arc<dyn RaftObserver>,
        log: GroupLog,
        stored: Stored,
    ) -> Machine {
        let snapshot = stored
            .purged
            .map(|(purged, membership)| SnapshotMeta { last_log_id: Some(purged), last_membership: membership });
        Machine { id, driver, observer, log, applied: stored.committed, membership: stored.membership, snapshot }
    }

    /// The newest snapshot that the owner has reported, if openraft does not know it and has applied that position.
    /// After a start the committed position may be older than the newest snapshot, because it is stored only with the
    /// next write.
    fn reported(&self) -> Result<Option<SnapshotMeta>, io::Error> {
        self.newer_than_known(self.applied)
    }

    /// The newest snapshot that the owner has reported, if openraft does not know it and its position is at most
    /// `upto`.
    fn newer_than_known(&self, upto: Option<LogId>) -> Result<Option<SnapshotMeta>, io::Error> {
        let Some(own) = self.driver.own_snapshot() else { return Ok(None) };
        let id = LogId::new(own.epoch, own.index.0);
        if upto < Some(id) || self.snapshot.as_ref().is_some_and(|known| known.last_log_id >= Some(id)) {
            return Ok(None);
        }
        let last_membership = membership_at(&self.log.state(), id.index).map_err(invalid)?;
        Ok(Some(SnapshotMeta { last_log_id: Some(id), last_membership }))
    }

    async fn install(&mut self, meta: &SnapshotMeta, incoming: Box<dyn IncomingSnapshot>) -> Result<(), io::Error> {
        let missing = |what| io::Error::new(io::ErrorKind::InvalidData, format!("a snapshot without {what}"));
        let last = meta.last_log_id.ok_or_else(|| missing("a position"))?;
        let at = meta.last_membership.log_id().ok_or_else(|| missing("members"))?;
        let EntryId { index, term, node } = entry_id(&at);
        let payload = codec::encode_membership(meta.last_membership.membership());
        let membership = LogEntry { index, term, node, kind: EntryKind::Membership, payload };
        fail_point!("consensus::received");
        incoming.publish(LogIndex(last.index)).await.map_err(io::Error::other)?;
        fail_point!("consensus::published");
        let (done, outcome) = oneshot::channel();
        self.log.install(entry_id(&last), membership, completion(done));
        written(outcome).await
    }
}

fn invalid(error: codec::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        if let Some(applied) = &self.applied {
            self.observer.observe_committed(applied.index);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        let reported = self.reported().unwrap_or_else(|error| {
            tracing::error!(group = %self.id, %error, "the members at a snapshot cannot be read");
            None
        })?;
        self.snapshot = Some(reported.clone());
        Some(Builder(reported))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // openraft calls this only if `try_create_snapshot_builder` is not implemented.
        Builder(self.snapshot.clone().unwrap_or_default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData::Received(incoming) = snapshot else {
            // Not expected: after a start, the newest snapshot that openraft knows is never after the applied position.
            return Err(io::Error::other("a snapshot of this node itself cannot be installed"));
        };
        self.install(meta, incoming).await?;
        fail_point!("consensus::installed");
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.snapshot = Some(meta.clone());
        self.observer.observe_installed(meta.last_log_id.map_or(0, |id| id.index), meta.last_membership.membership());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        // A snapshot holds only committed data. One beyond the log's end is not sent, because the leader could not
        // follow it up.
        let last = self.log.state().last.map(log_id);
        let meta = self.newer_than_known(last)?.or_else(|| self.snapshot.clone());
        Ok(meta.map(|meta| Snapshot { meta, snapshot: SnapshotData::Own }))
    }
}

/// Returns the snapshot that exists already.
pub(crate) struct Builder(SnapshotMeta);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(Snapshot { meta: self.0.clone(), snapshot: SnapshotData::Own })
    }
}
