//! Test doubles of this crate: a Raft group in one process whose log is a vector, and snapshots in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fastness_consensus::handle::{
    Committed, CommittedLog, EntryPayload, GroupDriver, GroupHandle, Lease, ReadError, Role, group_pair,
};
use fastness_consensus::snapshot::{SnapshotFileError, SnapshotPart};
use fastness_events::Events;
use fastness_types::{BootNs, Clock, Epoch, GroupId, LogIndex, NodeId, WallMs};
use parking_lot::Mutex;

use crate::group::{AzRule, GroupError, Member, RaftGroup};
use crate::snapshots::{Parts, SnapshotStore};

/// A log in memory; entry i of the vector has index i + 1.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) entries: Mutex<Vec<Committed>>,
    /// Makes every read use the path over the disk.
    pub(crate) cold: bool,
    /// Entries up to here cannot be read any more.
    pub(crate) purged: AtomicU64,
}

#[async_trait::async_trait]
impl CommittedLog for MemoryLog {
    fn read_cached(&self, from: LogIndex, to: LogIndex, _bytes_max: usize) -> Option<Vec<Committed>> {
        let is_kept = from.0 > self.purged.load(Ordering::SeqCst);
        (!self.cold && is_kept).then(|| self.entries.lock()[from.0 as usize - 1..to.0 as usize].to_vec())
    }

    async fn read(&self, from: LogIndex, _to: LogIndex, _bytes_max: usize) -> Result<Vec<Committed>, ReadError> {
        let purged = self.purged.load(Ordering::SeqCst);
        if from.0 <= purged {
            return Err(ReadError::Purged(LogIndex(purged)));
        }
        Ok(vec![self.entries.lock()[from.0 as usize - 1].clone()])
    }
}

/// A clock that does not advance.
#[derive(Default)]
pub(crate) struct Standing(pub(crate) AtomicU64);

impl Clock for Standing {
    fn wall(&self) -> WallMs {
        WallMs(0)
    }

    fn boot(&self) -> BootNs {
        BootNs(self.0.load(Ordering::SeqCst))
    }
}

/// The driver of a group, controlled by the test.
pub(crate) struct Raft {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) driver: GroupDriver,
    pub(crate) handle: GroupHandle,
}

impl Raft {
    pub(crate) fn new(cold: bool) -> Raft {
        let log = Arc::new(MemoryLog { cold, ..MemoryLog::default() });
        let (handle, driver) = group_pair(GroupId::CONTROL, log.clone(), Events::only_logged());
        Raft { log, driver, handle }
    }

    pub(crate) fn commit(&self, epoch: Epoch, payload: EntryPayload) -> LogIndex {
        let index = {
            let mut entries = self.log.entries.lock();
            let index = LogIndex(entries.len() as u64 + 1);
            entries.push(Committed { index, epoch, payload });
            index
        };
        self.driver.advance_committed(index);
        index
    }

    /// Makes this node the leader of `term`, with a lease that never lapses.
    pub(crate) fn lead(&self, term: u64, node: u64) -> Epoch {
        let epoch = Epoch { term, node: NodeId(node) };
        let first = self.commit(epoch, EntryPayload::Blank);
        let lease = Arc::new(Lease::new(epoch));
        lease.extend(BootNs(u64::MAX));
        self.driver.set_role(Role::Leader { lease, first });
        epoch
    }

    /// The payload of the next proposal.
    pub(crate) async fn proposed(&self) -> (Epoch, Bytes) {
        loop {
            if let Some(proposal) = self.driver.next_proposal() {
                return (proposal.epoch, proposal.payload);
            }
            self.driver.proposed().await;
        }
    }
}

/// The two newest snapshots, in memory. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    pub(crate) files: Arc<Mutex<BTreeMap<LogIndex, Vec<SnapshotPart>>>>,
    /// Whether nothing can be written.
    pub(crate) refuses: Arc<AtomicBool>,
    /// How often something was refused.
    pub(crate) refused: Arc<AtomicU64>,
}

impl SnapshotStore for MemoryStore {
    fn list(&self) -> Result<Vec<LogIndex>, SnapshotFileError> {
        Ok(self.files.lock().keys().rev().copied().collect())
    }

    fn read(&self, index: LogIndex) -> Result<Parts<'_>, SnapshotFileError> {
        let parts = self.files.lock().get(&index).cloned().ok_or(SnapshotFileError::Missing(index))?;
        Ok(Box::new(parts.into_iter().map(Ok)))
    }

    fn write(&self, index: LogIndex, parts: Vec<SnapshotPart>) -> Result<LogIndex, SnapshotFileError> {
        if self.refuses.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(SnapshotFileError::NoSpace);
        }
        let mut files = self.files.lock();
        files.insert(index, parts);
        while files.len() > 2 {
            files.pop_first();
        }
        Ok(files.keys().rev().nth(1).copied().unwrap_or(LogIndex(0)))
    }
}

/// Records the calls that it received.
#[derive(Default)]
pub(crate) struct FakeGroup {
    pub(crate) voters: Mutex<Option<Vec<Member>>>,
    pub(crate) rule: Mutex<Option<AzRule>>,
    pub(crate) learners: Mutex<Vec<Member>>,
    pub(crate) refuses: bool,
}

#[async_trait::async_trait]
impl RaftGroup for FakeGroup {
    async fn is_initialized(&self) -> Result<bool, GroupError> {
        Ok(self.voters.lock().is_some())
    }

    async fn initialize(&self, voters: Vec<Member>, rule: AzRule) -> Result<(), GroupError> {
        *self.rule.lock() = Some(rule);
        if self.refuses {
            return Err(GroupError::Refused("broken".into()));
        }
        *self.voters.lock() = Some(voters);
        Ok(())
    }

    async fn add_learner(&self, member: Member) -> Result<(), GroupError> {
        self.learners.lock().push(member);
        Ok(())
    }
}
