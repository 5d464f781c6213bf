//! openraft's state machine: remembers how far it was told to apply, and no more.
//!
//! The data is the owner's (`handle.rs`): it reads committed entries from the log at its own pace, so applying here takes
//! no time and the Raft core never waits for it, not even while the owner restores. "Applied" in openraft's sense is
//! therefore "committed and told".
//!
//! There are no snapshots yet: none is built, none is accepted, and the log is not purged.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::group::Group;
use crate::raft_types::{LogId, StoredMembership, Types};

type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
type Snapshot = openraft::alias::SnapshotOf<Types, ()>;

pub(crate) struct Machine {
    group: Arc<Group>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// Starts where the log says that entries were committed, so that openraft replays nothing before it runs.
    pub(crate) fn new(group: Arc<Group>, applied: Option<LogId>, membership: StoredMembership) -> Machine {
        Machine { group, applied, membership }
    }
}

fn no_snapshots() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this version neither builds nor installs snapshots")
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshots;

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
            self.group.observe_committed(applied.index);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<NoSnapshots> {
        None
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, _snapshot: ()) -> Result<(), io::Error> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(None)
    }
}

/// Says that there are none.
pub(crate) struct NoSnapshots;

impl RaftSnapshotBuilder<Types> for NoSnapshots {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Err(no_snapshots())
    }
}
