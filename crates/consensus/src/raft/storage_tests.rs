//! openraft's own suite for log storage, run on the transaction log over the simulated disk.

use std::time::Duration;

use fastness_log::memory::MemoryDisk;
use fastness_log::{Cipher, DriverLatency, Log, LogOptions, MasterKey, WriterDriver};
use fastness_types::{ClusterId, GroupId};
use futures::StreamExt as _;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftSnapshotBuilder, StorageError};

use super::*;

fn open(disk: &MemoryDisk) -> Log {
    let options = LogOptions::new(NodeId(1), ClusterId([7; 16]));
    let latency = Box::new(|_| DriverLatency { before: Duration::ZERO, after: Duration::ZERO });
    let cipher = Cipher::new(MasterKey::from_bytes(&[3; 32]));
    Log::open(disk.open().unwrap(), cipher, options, WriterDriver::Task { latency }).unwrap()
}

/// The suite needs a state machine that builds snapshots by itself. This one keeps them in memory.
#[derive(Clone, Default)]
struct SnapshotMachine {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<Snapshot>,
}

type Snapshot = openraft::alias::SnapshotOf<Types, ()>;
type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

impl RaftStateMachine<Types> for Arc<parking_lot::Mutex<SnapshotMachine>> {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let machine = self.lock();
        Ok((machine.applied, machine.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut machine = self.lock();
            machine.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                machine.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: ()) -> Result<(), io::Error> {
        let mut machine = self.lock();
        machine.applied = meta.last_log_id;
        machine.membership = meta.last_membership.clone();
        machine.snapshot = Some(Snapshot { meta: meta.clone(), snapshot });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.lock().snapshot.clone())
    }
}

impl RaftSnapshotBuilder<Types> for Arc<parking_lot::Mutex<SnapshotMachine>> {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut machine = self.lock();
        let meta = SnapshotMeta { last_log_id: machine.applied, last_membership: machine.membership.clone() };
        machine.snapshot = Some(Snapshot { meta, snapshot: () });
        Ok(machine.snapshot.clone().unwrap())
    }
}

struct Builder;

impl StoreBuilder<Types, Storage, Arc<parking_lot::Mutex<SnapshotMachine>>, Log> for Builder {
    async fn build(&self) -> Result<(Log, Storage, Arc<parking_lot::Mutex<SnapshotMachine>>), StorageError<Types>> {
        let log = open(&MemoryDisk::new());
        let storage = Storage::new(log.group(GroupId(1)), None);
        Ok((log, storage, Arc::default()))
    }
}

#[tokio::test]
async fn openrafts_own_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn what_was_stored_is_found_again() {
    let disk = MemoryDisk::new();
    let vote = Vote::new_committed(3, 2);
    let id = |index| LogId::new(Epoch { term: 3, node: NodeId(2) }, index);
    let nodes = std::collections::BTreeMap::from([(1u64, crate::raft::types::PeerNode::default())]);
    let membership = crate::raft::types::Membership::new(vec![[1u64].into()], nodes).unwrap();
    {
        let log = open(&disk);
        let mut storage = Storage::new(log.group(GroupId(1)), None);
        storage.save_vote(&vote).await.unwrap();
        let entries = [
            Entry { log_id: id(0), payload: EntryPayload::Membership(membership.clone()) },
            Entry { log_id: id(1), payload: EntryPayload::Blank },
        ];
        storage.append(entries, IOFlushed::noop()).await.unwrap();
        storage.save_committed(Some(id(0))).await.unwrap();
        // Committed positions are stored with the next write.
        storage.save_vote(&vote).await.unwrap();
        disk.kill();
    }
    let log = open(&disk);
    let found = stored(&log.group(GroupId(1))).unwrap();
    assert_eq!(found.vote, Some(vote));
    assert_eq!(found.last, Some(id(1)));
    assert_eq!(found.committed, Some(id(0)));
    assert_eq!(found.membership, StoredMembership::new(Some(id(0)), membership));
}

/// A received snapshot replaces entries that this log has never held, including their members.
#[tokio::test]
async fn what_was_installed_is_found_again() {
    let disk = MemoryDisk::new();
    let id = |index| LogId::new(Epoch { term: 3, node: NodeId(2) }, index);
    let nodes = std::collections::BTreeMap::from([(1u64, crate::raft::types::PeerNode::default())]);
    let membership = crate::raft::types::Membership::new(vec![[1u64].into()], nodes).unwrap();
    {
        let log = open(&disk);
        let mut storage = Storage::new(log.group(GroupId(1)), None);
        let lost = Entry { log_id: LogId::new(Epoch { term: 2, node: NodeId(1) }, 1), payload: EntryPayload::Blank };
        storage.append([lost], IOFlushed::noop()).await.unwrap();
        let (done, installed) = oneshot::channel();
        let entry = Entry { log_id: id(7), payload: EntryPayload::Membership(membership.clone()) };
        log.group(GroupId(1)).install(entry_id(&id(9)), codec::to_log(entry), completion(done));
        installed.await.unwrap().unwrap();
        // openraft purges once more.
        storage.purge(id(9)).await.unwrap();
        let entry = Entry { log_id: id(10), payload: EntryPayload::Blank };
        storage.append([entry], IOFlushed::noop()).await.unwrap();
        storage.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
        disk.kill();
    }
    let log = open(&disk);
    let found = stored(&log.group(GroupId(1))).unwrap();
    let membership = StoredMembership::new(Some(id(7)), membership);
    assert_eq!((found.last, found.committed), (Some(id(10)), Some(id(9))));
    assert_eq!(found.purged, Some((id(9), membership.clone())));
    assert_eq!(found.membership, membership);
    let mut storage = Storage::new(log.group(GroupId(1)), None);
    let read = storage.try_get_log_entries(0..20).await.unwrap();
    assert_eq!(read.iter().map(|entry| entry.log_id).collect::<Vec<_>>(), [id(10)]);
}
