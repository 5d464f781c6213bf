//! When snapshots are made, and what is restored from them, against a log that the test moves.

use std::sync::atomic::Ordering;

use fastness_consensus::handle::{EntryPayload, Role};
use fastness_types::limits::USERS_BYTES_MAX;
use fastness_types::{Epoch, NodeId, Seq};

use super::*;
use crate::command::{self, Command, Envelope};
use crate::fixtures::three_nodes;
use crate::follow::{Control, ControlOptions, ControlStatus, ProposeError};
use crate::map::{ClusterMap, UsersChange};
use crate::testing::{FakeGroup, MemoryStore, Raft, Standing};

const EPOCH: Epoch = Epoch { term: 1, node: NodeId(2) };
const ENTRIES: u64 = CONTROL_LOG_ENTRIES_MAX;

/// A node whose group 0 the test moves.
struct Node {
    raft: Raft,
    store: MemoryStore,
    clock: Arc<Standing>,
    control: Control,
    seq: Seq,
}

impl Node {
    /// Starts a node on what another one, that is gone, has left.
    fn start(raft: Raft, store: MemoryStore, seq: Seq) -> Node {
        let clock = Arc::new(Standing::default());
        let control = Control::start(ControlOptions {
            node: NodeId(1),
            handle: raft.handle.clone(),
            group: Arc::new(FakeGroup::default()),
            clock: clock.clone(),
            snapshots: Some(Arc::new(store.clone())),
        });
        Node { raft, store, clock, control, seq }
    }

    /// A node of a new cluster.
    fn new() -> Node {
        let mut node = Node::start(Raft::new(false), MemoryStore::default(), Seq(0));
        node.commit(Command::Create(three_nodes()));
        node
    }

    /// A node with the same log, up to its end, and these snapshots.
    fn restarted(&self, store: MemoryStore) -> Node {
        let raft = Raft::new(true);
        *raft.log.entries.lock() = self.raft.log.entries.lock().clone();
        raft.log.purged.store(self.raft.log.purged.load(Ordering::SeqCst), Ordering::SeqCst);
        raft.driver.advance_committed(LogIndex(raft.log.entries.lock().len() as u64));
        Node::start(raft, store, self.seq)
    }

    fn commit(&mut self, command: Command) -> LogIndex {
        self.seq = self.seq.next();
        let payload = command::encode(&Envelope { seq: self.seq, command });
        self.raft.commit(EPOCH, EntryPayload::Batch(payload.into()))
    }

    /// Gives `name` these rules. The change has an effect only if the node has applied the one before.
    async fn set_user(&mut self, name: &str, rules: String) -> LogIndex {
        let before = LogIndex(self.raft.log.entries.lock().len() as u64);
        self.applied(before).await;
        let base = self.map().settings.users.version;
        self.commit(Command::ChangeUsers(UsersChange { base, rules: [(name.to_owned(), Some(rules))].into() }))
    }

    fn map(&self) -> Arc<ClusterMap> {
        self.control.map().unwrap()
    }

    async fn applied(&self, index: LogIndex) -> ControlStatus {
        let mut status = self.control.status();
        status.wait_for(|s| s.applied >= index || s.failure.is_some()).await.unwrap().clone()
    }

    /// Waits until the snapshot of this position, or a later one, was reported.
    async fn reported(&self, index: LogIndex) -> OwnSnapshot {
        loop {
            match self.raft.driver.own_snapshot().filter(|own| own.index >= index) {
                Some(own) => return own,
                None => self.raft.driver.reported().await,
            }
        }
    }

    /// Commits entries that change nothing, up to this position, and waits until it is applied.
    async fn fill(&self, upto: u64) {
        while (self.raft.log.entries.lock().len() as u64) < upto {
            self.raft.commit(EPOCH, EntryPayload::Membership);
        }
        assert_eq!(self.applied(LogIndex(upto)).await.failure, None);
    }

    /// Makes one snapshot at a multiple of [`ENTRIES`].
    async fn cut(&self, upto: u64) -> OwnSnapshot {
        self.fill(upto).await;
        self.reported(LogIndex(upto)).await
    }

    fn purge(&self) {
        let upto = self.raft.driver.own_snapshot().unwrap().purge_upto;
        self.raft.log.purged.store(upto.0, Ordering::SeqCst);
    }
}

fn own(index: u64, purge_upto: u64) -> OwnSnapshot {
    OwnSnapshot { index: LogIndex(index), epoch: EPOCH, purge_upto: LogIndex(purge_upto) }
}

#[tokio::test]
async fn the_log_is_purged_after_as_many_entries_up_to_the_snapshot_before() {
    let node = Node::new();
    node.fill(ENTRIES - 1).await;
    assert_eq!(node.raft.driver.own_snapshot(), None);
    assert_eq!(node.cut(ENTRIES).await, own(ENTRIES, 0));
    node.fill(2 * ENTRIES - 1).await;
    assert_eq!(node.raft.driver.own_snapshot(), Some(own(ENTRIES, 0)), "none is made before it is due");
    assert_eq!(node.cut(2 * ENTRIES).await, own(2 * ENTRIES, ENTRIES));
    assert_eq!(node.cut(3 * ENTRIES).await, own(3 * ENTRIES, 2 * ENTRIES));
    assert_eq!(node.store.list().unwrap(), [LogIndex(3 * ENTRIES), LogIndex(2 * ENTRIES)]);
}

#[tokio::test]
async fn few_entries_with_many_bytes_are_enough() {
    let mut node = Node::new();
    let mut last = LogIndex(0);
    for i in 0..4 {
        assert_eq!(node.raft.driver.own_snapshot(), None, "after {i}");
        last = node.set_user("alice", format!("on {}", "x".repeat(USERS_BYTES_MAX / 4))).await;
    }
    assert_eq!(node.reported(last).await, own(last.0, 0));
    let one = node.set_user("alice", format!("on {}", "y".repeat(USERS_BYTES_MAX))).await;
    assert_eq!(node.reported(one).await, own(one.0, last.0), "one entry may be enough");
}

#[tokio::test]
async fn a_restart_needs_the_newest_snapshot_and_the_log_after_it() {
    let mut node = Node::new();
    node.set_user("alice", "on +get".to_owned()).await;
    node.cut(ENTRIES).await;
    node.set_user("bob", "on +set".to_owned()).await;
    node.cut(2 * ENTRIES).await;
    node.purge();
    // In the middle of an epoch: the numbers of commands continue.
    let last = node.set_user("carol", "on +del".to_owned()).await;
    node.applied(last).await;
    let mut again = node.restarted(node.store.clone());
    assert_eq!(again.applied(last).await.failure, None);
    assert_eq!((again.map(), again.raft.driver.applied()), (node.map(), last));
    assert_eq!(again.map().settings.users.rules.len(), 3);
    // Of what was restored openraft learns, so that it can be sent, but nothing is purged for it.
    assert_eq!(again.raft.driver.own_snapshot(), Some(own(2 * ENTRIES, 0)));
    let last = again.set_user("dave", "on".to_owned()).await;
    assert_eq!(again.applied(last).await.failure, None);
    // The next one is due after as many entries as before, those before the restart included.
    again.fill(3 * ENTRIES - 1).await;
    assert_eq!(again.raft.driver.own_snapshot(), Some(own(2 * ENTRIES, 0)));
    assert_eq!(again.cut(3 * ENTRIES).await, own(3 * ENTRIES, 2 * ENTRIES));
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_and_without_any_the_node_says_what_to_do() {
    let mut node = Node::new();
    node.set_user("alice", "on +get".to_owned()).await;
    node.cut(ENTRIES).await;
    node.set_user("bob", "on +set".to_owned()).await;
    node.cut(2 * ENTRIES).await;
    let last = LogIndex(2 * ENTRIES);
    // Each damage in turn to the newest one: a part is missing, or it is that of another position.
    let whole = node.store.files.lock().clone();
    let older = whole[&LogIndex(ENTRIES)].clone();
    for newest in [whole[&last][1..].to_vec(), whole[&last][..2].to_vec(), Vec::new(), older] {
        let store = MemoryStore::default();
        store.files.lock().extend(whole.clone());
        store.files.lock().insert(last, newest);
        node.purge();
        let again = node.restarted(store);
        assert_eq!(again.applied(last).await.failure, None);
        assert_eq!(again.map(), node.map());
        // One that is whole takes its place at once.
        assert_eq!(again.reported(last).await, own(2 * ENTRIES, ENTRIES));
        assert_eq!(again.store.files.lock()[&last], whole[&last]);
    }
    // With the whole log no snapshot is needed.
    node.raft.log.purged.store(0, Ordering::SeqCst);
    let again = node.restarted(MemoryStore::default());
    assert_eq!(again.applied(last).await.failure, None);
    assert_eq!(again.map(), node.map());
    node.purge();
    let lost = node.restarted(MemoryStore::default());
    let failure = lost.applied(last).await.failure.expect("it must stop");
    assert!(failure.contains("purged up to 1000") && failure.contains("cluster replace-replica"), "{failure}");
}

/// A node that was away longer than the log reaches back gets the leader's snapshot.
#[tokio::test]
async fn a_snapshot_of_another_node_replaces_the_state() {
    let mut leader = Node::new();
    leader.set_user("alice", "on +get".to_owned()).await;
    leader.cut(ENTRIES).await;
    let last = leader.set_user("bob", "on +set".to_owned()).await;
    leader.applied(last).await;

    for reported in [true, false] {
        let mut node = Node::new();
        let first = node.set_user("old", "on".to_owned()).await;
        node.applied(first).await;
        // What is on its way when the snapshot arrives may be in it or not.
        let lease = Arc::new(fastness_consensus::handle::Lease::new(EPOCH));
        lease.extend(BootNs(u64::MAX));
        node.raft.driver.set_role(Role::Leader { lease, first: LogIndex(1) });
        let control = node.control.clone();
        let asked = tokio::spawn(async move { control.propose(Command::Create(three_nodes())).await });
        node.raft.proposed().await;
        node.raft.driver.set_role(Role::Follower { leader: Some(NodeId(2)) });

        let parts = leader.store.files.lock()[&LogIndex(ENTRIES)].clone();
        node.store.files.lock().insert(LogIndex(ENTRIES), parts);
        *node.raft.log.entries.lock() = leader.raft.log.entries.lock().clone();
        node.raft.log.purged.store(ENTRIES, Ordering::SeqCst);
        if reported {
            node.raft.driver.set_installed(LogIndex(ENTRIES));
        }
        // Or the log is cut already, and the snapshot is not reported yet.
        node.raft.driver.advance_committed(last);
        assert_eq!(node.applied(last).await.failure, None);
        assert_eq!(node.map(), leader.map());
        assert_eq!(asked.await.unwrap(), Err(ProposeError::OutcomeUnknown));
        let names: Vec<_> = node.map().settings.users.rules.keys().cloned().collect();
        assert_eq!(names, ["alice", "bob"]);
    }
}

#[tokio::test]
async fn none_is_made_while_a_member_could_not_receive_it() {
    let node = Node::new();
    node.raft.driver.set_format(FormatLevel::IDEMPOTENCY);
    node.fill(ENTRIES + 100).await;
    assert_eq!(node.raft.driver.own_snapshot(), None);
    assert!(node.store.list().unwrap().is_empty());
    // Once it was upgraded, no further entry is needed.
    node.raft.driver.set_format(FormatLevel::CONTROL_SNAPSHOTS);
    assert_eq!(node.reported(LogIndex(1)).await, own(ENTRIES + 100, 0));
}

#[tokio::test]
async fn a_disk_that_refuses_is_asked_again_later() {
    let node = Node::new();
    node.store.refuses.store(true, Ordering::SeqCst);
    node.fill(ENTRIES).await;
    while node.store.refused.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    node.store.refuses.store(false, Ordering::SeqCst);
    for more in 1..=20 {
        node.fill(ENTRIES + more).await;
    }
    assert_eq!(node.raft.driver.own_snapshot(), None, "not at once");
    let mut last = ENTRIES + 20;
    while node.raft.driver.own_snapshot().is_none() {
        node.clock.0.fetch_add(RETRY_AFTER.as_nanos() as u64, Ordering::SeqCst);
        // So few that no second snapshot is due, however long the first one takes.
        last = (last + 1).min(2 * ENTRIES - 1);
        node.fill(last).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(node.raft.driver.own_snapshot().unwrap().purge_upto, LogIndex(0));
}
