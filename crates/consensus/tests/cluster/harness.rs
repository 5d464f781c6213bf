//! A cluster of one group: logs on simulated disks, one simulated clock, and toy owners that check the guarantees of
//! consensus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastness_consensus::handle::{Committed, Drain, EntryPayload, GroupHandle, Lease, OwnSnapshot, Proposal, Role};
use fastness_consensus::snapshot::SnapshotPart;
use fastness_consensus::testing::{MemoryNetwork, MemorySnapshots};
use fastness_consensus::{AzRule, Consensus, ConsensusOptions, GroupControl, Member, Timers};
use fastness_events::Events;
use fastness_log::memory::MemoryDisk;
use fastness_log::{Cipher, DriverLatency, Log, LogOptions, MasterKey, WriterDriver};
use fastness_types::limits::LOOP_STALL_MAX;
use fastness_types::{
    Az, BootNs, Clock, ClusterId, DiskId, Epoch, FormatLevel, GroupId, LogIndex, NodeId, Seq, WallMs,
};
use parking_lot::Mutex;

pub const GROUP: GroupId = GroupId(1);
const CLUSTER: ClusterId = ClusterId([9; 16]);
/// The wall clocks' time at the start of a test.
const START_MS: u64 = 1_700_000_000_000;

/// tokio's clock, which the tests pause.
pub struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn wall(&self) -> WallMs {
        WallMs(self.boot().0 / 1_000_000)
    }

    fn boot(&self) -> BootNs {
        BootNs(1_000_000_000 + self.0.elapsed().as_nanos() as u64)
    }
}

/// One node's clocks: the wall clock can be set.
pub struct NodeClock {
    boot: Arc<TokioClock>,
    /// How far the wall clock is ahead, ms.
    pub ahead_ms: AtomicI64,
}

impl Clock for NodeClock {
    fn wall(&self) -> WallMs {
        WallMs(START_MS.saturating_add(self.boot.wall().0).saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }

    fn boot(&self) -> BootNs {
        self.boot.boot()
    }
}

/// What one owner has seen.
#[derive(Default)]
pub struct Seen {
    /// Every committed entry, in order.
    pub entries: Vec<Committed>,
}

/// One node that runs.
pub struct Node {
    pub consensus: Consensus,
    pub control: GroupControl,
    pub handle: GroupHandle,
    pub seen: Arc<Mutex<Seen>>,
    pub ready: Arc<AtomicBool>,
    /// Its loop does not iterate.
    pub stuck: Arc<AtomicBool>,
    /// Its loop iterates only when it is woken.
    pub idle: Arc<AtomicBool>,
    /// While this is set the owner applies nothing, but reports that it is ready.
    pub lags: Arc<AtomicBool>,
    pub log: Log,
    pub snapshots: MemorySnapshots,
    owner: tokio::task::JoinHandle<()>,
}

pub struct Cluster {
    pub network: MemoryNetwork,
    pub clock: Arc<TokioClock>,
    wall_clocks: BTreeMap<u64, Arc<NodeClock>>,
    pub timers: Timers,
    /// Timers of nodes that do not have the default ones.
    pub timers_of: BTreeMap<u64, Timers>,
    /// What each node's last start promised, which its disk remembers.
    promised_before: BTreeMap<u64, Duration>,
    disks: BTreeMap<u64, MemoryDisk>,
    snapshots: BTreeMap<u64, MemorySnapshots>,
    /// The ids of the disks that the cluster was formed with, until they are created. Any other disk is a different
    /// one.
    first_disks: BTreeMap<u64, DiskId>,
    pub nodes: BTreeMap<u64, Node>,
    pub members: Vec<Member>,
    /// Every lease that any owner was given.
    pub leases: Arc<Mutex<Vec<Arc<Lease>>>>,
    /// One sync of any disk takes this long, in ms.
    pub sync_ms: Arc<AtomicU64>,
    /// Bound of each log's queue, if not the default.
    pub queue_bytes_max: Option<usize>,
    next_seq: BTreeMap<Epoch, u64>,
    starts: u64,
    /// Nodes that are started as an older version would be.
    pub formats: BTreeMap<u64, FormatLevel>,
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Cluster {
    /// `n` nodes in as many AZs, none started.
    pub fn new(n: u64) -> Cluster {
        let members = (1..=n).map(|id| Member {
            node: NodeId(id),
            az: Az::from(format!("az{id}").as_str()),
            address: format!("n{id}:1"),
            disk: DiskId([id as u8; 16]),
        });
        let clock = Arc::new(TokioClock(tokio::time::Instant::now()));
        let wall = |id| (id, Arc::new(NodeClock { boot: clock.clone(), ahead_ms: AtomicI64::new(0) }));
        Cluster {
            network: MemoryNetwork::new(),
            wall_clocks: (1..=n).map(wall).collect(),
            clock: clock.clone(),
            timers: Timers::default(),
            timers_of: BTreeMap::new(),
            promised_before: BTreeMap::new(),
            disks: (1..=n).map(|id| (id, MemoryDisk::new())).collect(),
            snapshots: BTreeMap::new(),
            nodes: BTreeMap::new(),
            first_disks: (1..=n).map(|id| (id, DiskId([id as u8; 16]))).collect(),
            members: members.collect(),
            leases: Arc::default(),
            sync_ms: Arc::new(AtomicU64::new(1)),
            queue_bytes_max: None,
            next_seq: BTreeMap::new(),
            starts: 0,
            formats: BTreeMap::new(),
        }
    }

    /// All nodes started, the group initialised, and a primary elected.
    pub async fn running(n: u64) -> Cluster {
        let mut cluster = Cluster::new(n);
        cluster.start_all().await;
        cluster
    }

    /// The same for a cluster that was changed before.
    pub async fn start_all(&mut self) {
        for id in self.members.iter().map(|member| member.node.0).collect::<Vec<_>>() {
            self.start(id).await;
        }
        self.nodes[&1].control.initialize(&self.members, AzRule::Required).await.unwrap();
        self.primary().await;
    }

    /// Adds and starts a node with an empty disk in an AZ of this name, in no group. Its peers get its address.
    pub async fn add_node(&mut self, id: u64, az: &str) -> Member {
        let member =
            Member { node: NodeId(id), az: Az::from(az), address: format!("n{id}:1"), disk: DiskId([id as u8; 16]) };
        self.members.push(member.clone());
        self.disks.insert(id, MemoryDisk::new());
        self.first_disks.insert(id, member.disk);
        let clock = NodeClock { boot: self.clock.clone(), ahead_ms: AtomicI64::new(0) };
        self.wall_clocks.insert(id, Arc::new(clock));
        for node in self.nodes.values() {
            node.consensus.set_peers(&self.members);
        }
        self.start(id).await;
        member
    }

    pub async fn start(&mut self, id: u64) {
        self.starts += 1;
        let disk = &self.disks[&id];
        let mut options = LogOptions::new(NodeId(id), CLUSTER);
        options.new_disk = self.first_disks.remove(&id);
        options.queue_bytes_max = self.queue_bytes_max.unwrap_or(options.queue_bytes_max);
        let sync_ms = self.sync_ms.clone();
        let latency = Box::new(move |_| DriverLatency {
            before: Duration::ZERO,
            after: Duration::from_millis(sync_ms.load(Ordering::Relaxed)),
        });
        let cipher = Cipher::new(MasterKey::from_bytes(&[3; 32]));
        let log = Log::open(disk.open().unwrap(), cipher, options, WriterDriver::Task { latency }).unwrap();
        let options = ConsensusOptions {
            format: self.formats.get(&id).copied().unwrap_or(FormatLevel::CURRENT),
            node: NodeId(id),
            az: Az::from(format!("az{id}").as_str()),
            cluster: CLUSTER,
            timers: self.timers_of.get(&id).copied().unwrap_or(self.timers),
            promised_before: self
                .promised_before
                .insert(id, self.timers_of.get(&id).copied().unwrap_or(self.timers).lease)
                .unwrap_or_default(),
            clock: self.wall_clock(id),
            clock_offset_max: Duration::from_secs(10),
            loop_stall_max: LOOP_STALL_MAX,
            seed: self.starts,
            events: Events::only_logged(),
        };
        let consensus = Consensus::new(options, log.clone(), self.network.transport(NodeId(id))).unwrap();
        self.network.join(&consensus);
        consensus.set_peers(&self.members);
        let snapshots = self.snapshots.entry(id).or_default().clone();
        let (handle, control) = consensus.start_group(GROUP, Some(Arc::new(snapshots.clone()))).await.unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let ready = Arc::new(AtomicBool::new(true));
        let (stuck, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        handle.name_work((0..10).map(|work| if work == 7 { "keys" } else { "something else" }));
        let lags = Arc::new(AtomicBool::new(false));
        let owner = Owner {
            stuck: stuck.clone(),
            idle: idle.clone(),
            handle: handle.clone(),
            seen: seen.clone(),
            ready: ready.clone(),
            lags: lags.clone(),
            leases: self.leases.clone(),
            clock: self.clock.clone(),
            snapshots: snapshots.clone(),
        };
        let owner = tokio::spawn(owner.run());
        self.nodes
            .insert(id, Node { consensus, control, handle, seen, ready, stuck, idle, lags, log, snapshots, owner });
    }

    /// Has a node make a snapshot of what it has seen, and waits until its log is purged up to the previous one.
    pub async fn snapshot(&self, id: u64) -> LogIndex {
        let node = &self.nodes[&id];
        let written = self.write_snapshot(id);
        let OwnSnapshot { index, purge_upto, .. } = written;
        node.handle.report_snapshot(written);
        let purged = |cluster: &Cluster| {
            let purged = cluster.nodes[&id].log.group(GROUP).state().purged.map_or(0, |upto| upto.index);
            (purged >= purge_upto.0).then_some(())
        };
        self.within(ms(10_000), purged).await.expect("the log is not purged in 10 s");
        index
    }

    /// Has a node write the file of a snapshot of what it has seen, and report nothing yet.
    pub fn write_snapshot(&self, id: u64) -> OwnSnapshot {
        let node = &self.nodes[&id];
        let seen = node.seen.lock();
        let last = seen.entries.last().expect("something is committed");
        let purge_upto = node.snapshots.put(last.index, parts_of(&seen.entries));
        OwnSnapshot { index: last.index, epoch: last.epoch, purge_upto }
    }

    /// As `kill -9`: its disk keeps what was written.
    pub async fn kill(&mut self, id: u64) {
        let node = self.nodes.remove(&id).unwrap();
        self.network.leave(NodeId(id));
        self.disks[&id].kill();
        node.owner.abort();
        node.consensus.shutdown("killed").await;
        node.log.close();
    }

    /// The clocks of a node, which it keeps over restarts.
    pub fn wall_clock(&self, id: u64) -> Arc<NodeClock> {
        self.wall_clocks[&id].clone()
    }

    /// Whether a node's owner may stage with its wall clock as it is now.
    pub fn trusts_its_clock(&self, id: u64) -> bool {
        let clock = self.wall_clock(id);
        self.nodes[&id].handle.check_wall(clock.wall(), clock.boot()).trusted
    }

    pub fn disk(&self, id: u64) -> &MemoryDisk {
        &self.disks[&id]
    }

    /// An empty disk, as after `rm -r`, while the node does not run.
    pub fn wipe(&mut self, id: u64) {
        self.replace_disk(id, MemoryDisk::new());
    }

    pub fn replace_disk(&mut self, id: u64, disk: MemoryDisk) {
        self.disks.insert(id, disk);
    }

    /// The node that holds a lease now, with its lease and first index. There is never more than one.
    pub fn holder(&self) -> Option<(u64, Arc<Lease>, LogIndex)> {
        let now = self.clock.boot();
        let mut holders = self.nodes.iter().filter_map(|(id, node)| match &**node.handle.role() {
            Role::Leader { lease, first } if lease.holds(now) => Some((*id, lease.clone(), *first)),
            _ => None,
        });
        let holder = holders.next();
        assert!(holders.next().is_none(), "two primaries");
        holder
    }

    /// Checks that no two leases that were ever granted are held now.
    pub fn check_leases(&self) {
        let now = self.clock.boot();
        let held: Vec<Epoch> = self.leases.lock().iter().filter(|l| l.holds(now)).map(|l| l.epoch()).collect();
        assert!(held.len() <= 1, "two leases at once: {held:?}");
    }

    /// Waits up to `span` for `f`, a millisecond at a time, checking the leases at each.
    pub async fn within<T>(&self, span: Duration, mut f: impl FnMut(&Cluster) -> Option<T>) -> Option<T> {
        for _ in 0..=span.as_millis() {
            self.check_leases();
            if let Some(found) = f(self) {
                return Some(found);
            }
            tokio::time::sleep(ms(1)).await;
        }
        None
    }

    /// A node that may serve: holds the lease, has applied its first entry.
    pub async fn primary(&self) -> (u64, Epoch) {
        self.primary_but(0).await
    }

    /// The same, other than `not`.
    pub async fn primary_but(&self, not: u64) -> (u64, Epoch) {
        let found = self.within(ms(10_000), |cluster| {
            let (id, lease, first) = cluster.holder()?;
            let applied = cluster.nodes[&id].seen.lock().entries.last()?.index;
            (id != not && applied >= first).then(|| (id, lease.epoch()))
        });
        found.await.expect("no primary in 10 s")
    }

    /// Proposes on `node` in `epoch`, as its next batch.
    pub fn propose(&mut self, node: u64, epoch: Epoch, payload: &str) -> Seq {
        let next = self.next_seq.entry(epoch).or_insert(1);
        let seq = Seq(*next);
        *next += 1;
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.nodes[&node].handle.propose(Proposal { epoch, seq, payload });
        seq
    }

    /// The batches that a node has seen committed.
    pub fn batches(&self, node: u64) -> Vec<String> {
        let seen = self.nodes[&node].seen.lock();
        let batches = seen.entries.iter().filter_map(|entry| match &entry.payload {
            EntryPayload::Batch(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            _ => None,
        });
        batches.collect()
    }

    /// Waits until `node` has seen `batch` committed.
    pub async fn committed(&self, node: u64, batch: &str) {
        let found = self.within(ms(10_000), |cluster| cluster.batches(node).iter().any(|b| b == batch).then_some(()));
        found.await.unwrap_or_else(|| panic!("{batch} is not committed on node {node} in 10 s"));
    }

    /// All nodes that run have seen the same entries, up to the shortest.
    pub fn check_histories(&self) {
        let histories: Vec<_> = self.nodes.values().map(|node| node.seen.lock().entries.clone()).collect();
        for pair in histories.windows(2) {
            let shorter = pair[0].len().min(pair[1].len());
            assert_eq!(pair[0][..shorter], pair[1][..shorter]);
        }
    }
}

/// Applies what is committed, and checks the rules of `group/handle.rs` on the way.
struct Owner {
    stuck: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    handle: GroupHandle,
    seen: Arc<Mutex<Seen>>,
    ready: Arc<AtomicBool>,
    lags: Arc<AtomicBool>,
    leases: Arc<Mutex<Vec<Arc<Lease>>>>,
    clock: Arc<TokioClock>,
    snapshots: MemorySnapshots,
}

impl Owner {
    /// Restores from the newest snapshot, as after a start or an installation.
    fn restore(&self) -> LogIndex {
        let Some(index) = self.snapshots.list().first().copied() else { return LogIndex(1) };
        let entries = entries_of(&self.snapshots.get(index).unwrap());
        let last = entries.last().expect("a snapshot holds something");
        assert_eq!(last.index, index, "a snapshot is of its position");
        self.handle.report_snapshot(OwnSnapshot { index, epoch: last.epoch, purge_upto: LogIndex(0) });
        self.seen.lock().entries = entries;
        LogIndex(index.0 + 1)
    }

    async fn run(self) {
        let mut next = self.restore();
        loop {
            while self.stuck.load(Ordering::Relaxed) {
                self.handle.report_running(Some(7));
                tokio::time::sleep(ms(10)).await;
            }
            self.handle.report_running(None);
            self.handle.report_turn();
            self.handle.report_ready(self.ready.load(Ordering::Relaxed));
            self.note_lease();
            let committed = self.handle.committed();
            if self.handle.installed() >= next {
                let before = next;
                next = self.restore();
                assert!(next > before, "an installed snapshot is there, and newer");
            }
            while next <= committed && !self.lags.load(Ordering::Relaxed) {
                let read = match self.handle.read_cached(next, committed, 4096) {
                    Some(read) => read,
                    None => match self.handle.read(next, committed, 4096).await {
                        Ok(read) => read,
                        Err(_) => return,
                    },
                };
                assert!(!read.is_empty(), "committed up to {committed:?}, nothing at {next:?}");
                for entry in read {
                    assert_eq!(entry.index, next, "entries are applied in order");
                    next = LogIndex(next.0 + 1);
                    self.seen.lock().entries.push(entry);
                }
            }
            self.handle.report_applied(LogIndex(next.0 - 1));
            self.handle.report_drained(self.handle.drain() == Drain::Requested);
            tokio::select! {
                () = self.handle.changed() => {}
                () = tokio::time::sleep(ms(20)), if !self.idle.load(Ordering::Relaxed) => {}
            }
        }
    }

    fn note_lease(&self) {
        let role = self.handle.role();
        let Role::Leader { lease, .. } = &**role else { return };
        let mut leases = self.leases.lock();
        if !leases.iter().any(|known| Arc::ptr_eq(known, lease)) {
            leases.push(lease.clone());
        }
        let now = self.clock.boot();
        let held = leases.iter().filter(|lease| lease.holds(now)).count();
        assert!(held <= 1, "two leases at once");
    }
}

/// A chunk that starts with this is skipped: only its size matters.
pub const PADDING: &[u8] = b"padding";

/// A toy owner's snapshot: its entries as text, one per chunk.
fn parts_of(entries: &[Committed]) -> Vec<SnapshotPart> {
    let text = |entry: &Committed| {
        let payload = match &entry.payload {
            EntryPayload::Blank => "blank".to_owned(),
            EntryPayload::Membership => "membership".to_owned(),
            EntryPayload::Batch(bytes) => format!("batch {}", String::from_utf8_lossy(bytes)),
        };
        SnapshotPart::Chunk(format!("{} {} {} {payload}", entry.index.0, entry.epoch.term, entry.epoch.node.0).into())
    };
    let ends = [SnapshotPart::Head("head".into()), SnapshotPart::Tail("tail".into())];
    let [head, tail] = ends;
    std::iter::once(head).chain(entries.iter().map(text)).chain([tail]).collect()
}

fn entries_of(parts: &[SnapshotPart]) -> Vec<Committed> {
    let entry = |part: &SnapshotPart| {
        let SnapshotPart::Chunk(bytes) = part else { return None };
        if bytes.starts_with(PADDING) {
            return None;
        }
        let text = std::str::from_utf8(bytes).unwrap();
        let mut words = text.splitn(4, ' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (index, term, node) = (number(), number(), number());
        let payload = match words.next().unwrap() {
            "blank" => EntryPayload::Blank,
            "membership" => EntryPayload::Membership,
            batch => EntryPayload::Batch(Bytes::copy_from_slice(batch.strip_prefix("batch ").unwrap().as_bytes())),
        };
        Some(Committed { index: LogIndex(index), epoch: Epoch { term, node: NodeId(node) }, payload })
    };
    parts.iter().filter_map(entry).collect()
}
