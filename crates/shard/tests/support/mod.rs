//! A shard with everything around it scripted: the group's driver and log, the clocks, the front end. Nothing happens
//! by itself: the test says what commits, who leads, and how time passes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastness_consensus::handle::{
    Committed, CommittedLog, EntryPayload, GroupDriver, Lease, Proposal, ReadError, Role, group_pair,
};
use fastness_engine::EngineOptions;
use fastness_engine::command::{self, Command, CommandSpec, CommandTable};
use fastness_events::Events;
use fastness_resp::{Args, Protocol, ReplyBuf, SharedBuf};
use fastness_shard::batch::{Batch, BatchHeader, UnitHead, UnitKind, encode};
use fastness_shard::fragment::{Fragments, Part};
use fastness_shard::*;
use fastness_types::*;
use tokio::sync::Notify;

/// This node.
pub const ME: NodeId = NodeId(1);
/// Another replica's node.
pub const OTHER: NodeId = NodeId(2);

/// Both clocks, and whoever waits for them.
#[derive(Default)]
pub struct ScriptedClock {
    boot: AtomicU64,
    /// By how much each reading of the boot clock advances it, ns: time passes while a command runs.
    pub passes: AtomicU64,
    wall: AtomicU64,
}

impl Clock for ScriptedClock {
    fn wall(&self) -> WallMs {
        WallMs(self.wall.load(Ordering::Relaxed))
    }

    fn boot(&self) -> BootNs {
        BootNs(self.boot.fetch_add(self.passes.load(Ordering::Relaxed), Ordering::Relaxed))
    }
}

type Sleepers = Rc<RefCell<Vec<(u64, Waker)>>>;

struct ScriptedPause {
    clock: Arc<ScriptedClock>,
    sleepers: Sleepers,
}

impl Pause for ScriptedPause {
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        let until = self.clock.boot().plus(span).0;
        Box::pin(Sleep { until, clock: self.clock.clone(), sleepers: self.sleepers.clone() })
    }
}

struct Sleep {
    until: u64,
    clock: Arc<ScriptedClock>,
    sleepers: Sleepers,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.boot().0 >= self.until {
            return Poll::Ready(());
        }
        self.sleepers.borrow_mut().push((self.until, cx.waker().clone()));
        Poll::Pending
    }
}

/// The committed log of a group, shared by its replicas.
#[derive(Default)]
pub struct ScriptedLog {
    entries: Mutex<Vec<Committed>>,
    /// Everything must be read "from disk".
    pub uncached: AtomicBool,
    /// Entries up to this one are purged.
    pub purged: AtomicU64,
    pub disk_reads: AtomicU64,
}

impl ScriptedLog {
    fn slice(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Vec<Committed> {
        let entries = self.entries.lock().unwrap();
        let mut bytes = 0;
        let mut out = Vec::new();
        for entry in entries.iter().filter(|entry| entry.index >= from && entry.index <= to) {
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            if let EntryPayload::Batch(payload) = &entry.payload {
                bytes += payload.len();
            }
            out.push(entry.clone());
        }
        out
    }

    pub fn append(&self, epoch: Epoch, payload: EntryPayload) -> LogIndex {
        let mut entries = self.entries.lock().unwrap();
        let index = LogIndex(entries.len() as u64 + 1);
        entries.push(Committed { index, epoch, payload });
        index
    }

    pub fn last(&self) -> LogIndex {
        LogIndex(self.entries.lock().unwrap().len() as u64)
    }

    pub fn entries(&self) -> Vec<Committed> {
        self.entries.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl CommittedLog for ScriptedLog {
    fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>> {
        let is_there = from.0 > self.purged.load(Ordering::Relaxed);
        (is_there && !self.uncached.load(Ordering::Relaxed)).then(|| self.slice(from, to, bytes_max))
    }

    async fn read(&self, from: LogIndex, to: LogIndex, _: usize) -> Result<Vec<Committed>, ReadError> {
        tokio::task::yield_now().await;
        self.disk_reads.fetch_add(1, Ordering::Relaxed);
        let purged = self.purged.load(Ordering::Relaxed);
        if from.0 <= purged {
            return Err(ReadError::Purged(LogIndex(purged)));
        }
        // A few entries at a time, so that a restore takes many turns.
        Ok(self.slice(from, to.min(LogIndex(from.0 + 2)), usize::MAX))
    }
}

/// Snapshots in memory, each whole once it is finished.
#[derive(Default)]
pub struct MemorySnapshots {
    pub finished: Rc<RefCell<BTreeMap<LogIndex, Vec<SnapshotPart>>>>,
    /// Chunks that a snapshot takes until it has no space left; `None`: any number.
    pub room: Rc<Cell<Option<usize>>>,
    pub failure: Rc<RefCell<Option<SinkError>>>,
    /// Snapshots that were read from.
    pub read: Cell<usize>,
    /// None may be begun.
    pub full: Cell<bool>,
}

struct MemorySink {
    parts: Vec<SnapshotPart>,
    finished: Rc<RefCell<BTreeMap<LogIndex, Vec<SnapshotPart>>>>,
    room: Rc<Cell<Option<usize>>>,
    failure: Rc<RefCell<Option<SinkError>>>,
}

impl SnapshotSink for MemorySink {
    fn has_room(&self) -> bool {
        self.room.get().is_none_or(|room| room > 0)
    }

    fn waiting_bytes(&self) -> u64 {
        // Without space nothing is written.
        let chunk = |part: &SnapshotPart| if let SnapshotPart::Chunk(chunk) = part { chunk.len() as u64 } else { 0 };
        if self.has_room() { 0 } else { self.parts.iter().map(chunk).sum() }
    }

    fn push(&mut self, chunk: Vec<u8>) {
        assert!(self.has_room());
        self.room.set(self.room.get().map(|room| room - 1));
        self.parts.push(SnapshotPart::Chunk(chunk.into()));
    }

    fn failure(&self) -> Option<SinkError> {
        self.failure.borrow().clone()
    }

    fn finish(&mut self, index: LogIndex, tail: Vec<u8>) {
        self.parts.push(SnapshotPart::Tail(tail.into()));
        self.finished.borrow_mut().insert(index, self.parts.clone());
    }

    fn finished(&self) -> Option<LogIndex> {
        Some(self.finished.borrow().keys().rev().nth(1).copied().unwrap_or(LogIndex(0)))
    }
}

struct MemorySource(VecDeque<SnapshotPart>);

#[async_trait::async_trait(?Send)]
impl SnapshotSource for MemorySource {
    fn bytes(&self) -> Option<u64> {
        let chunk = |part: &SnapshotPart| if let SnapshotPart::Chunk(chunk) = part { chunk.len() as u64 } else { 0 };
        Some(self.0.iter().map(chunk).sum())
    }

    async fn next(&mut self) -> Result<Option<SnapshotPart>, SourceError> {
        tokio::task::yield_now().await;
        Ok(self.0.pop_front())
    }
}

impl SnapshotStore for MemorySnapshots {
    fn admits(&self, _: u64) -> bool {
        !self.full.get()
    }

    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink> {
        let (finished, room, failure) = (self.finished.clone(), self.room.clone(), self.failure.clone());
        Box::new(MemorySink { parts: vec![SnapshotPart::Head(head.into())], finished, room, failure })
    }

    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        let finished = self.finished.borrow();
        let (index, parts) = finished.range(..below.unwrap_or(LogIndex(u64::MAX))).next_back()?;
        self.read.set(self.read.get() + 1);
        Some((*index, Box::new(MemorySource(parts.iter().cloned().collect()))))
    }
}

/// What a test starts from.
pub struct Setup {
    pub durability: Durability,
    pub slots: SlotSet,
    pub maxmemory: u64,
    pub batching: Batching,
    pub idempotency: IdempotencyLimits,
    pub max_lag: Duration,
    pub snapshots: Option<Rc<MemorySnapshots>>,
    /// Zero: what nobody can serve is refused at once.
    pub lease_wait_max: Duration,
    /// A leader has reported what is committed since the start, or nothing was committed.
    pub leader_heard: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            durability: Durability::Sync,
            slots: SlotSet::all(),
            maxmemory: 0,
            batching: Batching::default(),
            idempotency: IdempotencyLimits::default(),
            max_lag: limits::DURABILITY_LAG_MAX,
            snapshots: None,
            lease_wait_max: Duration::ZERO,
            leader_heard: true,
        }
    }
}

impl Setup {
    pub fn mode(durability: Durability) -> Setup {
        Setup { durability, ..Setup::default() }
    }

    /// Undo records may hold so many bytes; with 0 every undo is a restore.
    pub fn undo_bytes(self, undo_bytes_max: usize) -> Setup {
        Setup { batching: Batching { undo_bytes_max, ..self.batching }, ..self }
    }

    /// With a lag gate that never closes, for tests of something else in which hours pass.
    pub fn ungated(durability: Durability) -> Setup {
        Setup { max_lag: Duration::MAX, ..Setup::mode(durability) }
    }
}

/// The positions of other replicas, as a test sets them.
#[derive(Default)]
pub struct ScriptedCopies {
    pub replicas: RefCell<Vec<LogIndex>>,
    pub local: RefCell<LogIndex>,
    /// Wakes everybody who follows the copies.
    pub changed: Rc<Notify>,
    /// How often somebody has looked at a position.
    pub looks: Cell<usize>,
}

struct FollowScripted(Rc<Notify>);

#[async_trait::async_trait(?Send)]
impl FollowCopies for FollowScripted {
    async fn changed(&mut self) {
        self.0.notified().await;
    }
}

impl StableCopies for ScriptedCopies {
    fn follow(&self) -> Box<dyn FollowCopies> {
        Box::new(FollowScripted(self.changed.clone()))
    }

    fn replicas(&self, index: LogIndex) -> u64 {
        self.looks.set(self.looks.get() + 1);
        self.replicas.borrow().iter().filter(|position| **position >= index).count() as u64
    }

    fn local(&self, index: LogIndex) -> bool {
        *self.local.borrow() >= index
    }
}

/// One shard replica under a test's control.
pub struct World {
    pub shard: Shard,
    pub driver: GroupDriver,
    pub log: Arc<ScriptedLog>,
    pub clock: Arc<ScriptedClock>,
    pub copies: Rc<ScriptedCopies>,
    /// Proposals taken from the shard and not committed.
    pub pending: RefCell<VecDeque<Proposal>>,
    pub epoch: RefCell<Epoch>,
    pub lease: RefCell<Arc<Lease>>,
    sleepers: Sleepers,
}

/// Runs a test on a thread of its own kind: one thread, local tasks, no timers of tokio's.
pub fn script<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

impl World {
    /// Appends the first batch of another epoch to the log: one write with these effects.
    pub fn append_write(&self, epoch: Epoch, durability: Durability, effects: &SharedBuf) {
        let timestamp = self.clock.wall();
        let length = effects.len();
        let unit = UnitHead { kind: UnitKind::Write, durability: None, timestamp, length, record: None };
        let header = BatchHeader { seq: Seq(1), timestamp, durability };
        self.log.append(epoch, EntryPayload::Batch(encode(header, &[unit], effects)));
    }

    /// A replica that has just been started; the log is empty and nobody leads.
    pub fn start(setup: Setup) -> World {
        let clock = Arc::new(ScriptedClock::default());
        clock.boot.store(1_000_000_000, Ordering::Relaxed);
        clock.wall.store(1_700_000_000_000, Ordering::Relaxed);
        World::start_on(setup, Arc::new(ScriptedLog::default()), clock)
    }

    /// A replica over a log that may have entries.
    pub fn start_on(setup: Setup, log: Arc<ScriptedLog>, clock: Arc<ScriptedClock>) -> World {
        let known = log.last();
        World::start_knowing(setup, log, clock, known)
    }

    /// A replica that knows at its start that the log is committed up to `known`.
    pub fn start_knowing(setup: Setup, log: Arc<ScriptedLog>, clock: Arc<ScriptedClock>, known: LogIndex) -> World {
        let (handle, driver) = group_pair(GroupId(1), log.clone(), Events::only_logged());
        driver.advance_committed(known);
        // A leader has been heard once; tests of what is shown before that start otherwise.
        if setup.leader_heard {
            driver.set_leader_committed(log.last().max(LogIndex(1)));
        }
        let sleepers: Sleepers = Rc::default();
        let copies = Rc::new(ScriptedCopies::default());
        let options = ShardOptions {
            shard: ShardId(1),
            node: ME,
            slots: setup.slots,
            desired: DesiredMode { mode: setup.durability, version: 1 },
            commands: commands(),
            engine: EngineOptions { seed: HashSeed([7; 16]), maxmemory: setup.maxmemory },
            clock: clock.clone(),
            pause: Rc::new(ScriptedPause { clock: clock.clone(), sleepers: sleepers.clone() }),
            copies: copies.clone(),
            random_seed: 1,
            batching: setup.batching,
            idempotency: setup.idempotency,
            max_lag: setup.max_lag,
            snapshots: setup.snapshots.map(|store| store as Rc<dyn SnapshotStore>),
            snapshot_log_bytes: 0,
            lease_wait_max: setup.lease_wait_max,
        };
        let (shard, task) = Shard::start(options, handle);
        tokio::task::spawn_local(task);
        World {
            shard,
            driver,
            log,
            clock,
            copies,
            pending: RefCell::default(),
            epoch: RefCell::default(),
            lease: RefCell::new(Arc::new(Lease::new(Epoch::default()))),
            sleepers,
        }
    }

    /// A primary of term 1 that serves.
    pub async fn primary(setup: Setup) -> World {
        let world = World::start(setup);
        world.resolve().await;
        world.lead(1).await;
        // Its first batch, which says the mode, is closed by its age unless the mode is sync.
        world.advance(Batching::default().async_age).await;
        world.commit_all().await;
        world
    }

    /// A leader is heard from now on, whatever the time.
    pub fn hear(&self) {
        self.driver.set_heard_until(BootNs(u64::MAX));
    }

    /// Lets everything that is ready run.
    pub async fn resolve(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    /// Time passes; sleepers that are due wake up and run.
    pub async fn advance(&self, span: Duration) {
        let boot = self.clock.boot.fetch_add(span.as_nanos() as u64, Ordering::Relaxed) + span.as_nanos() as u64;
        self.clock.wall.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
        let due: Vec<Waker> = {
            let mut sleepers = self.sleepers.borrow_mut();
            let (due, later) = sleepers.drain(..).partition(|(until, _)| *until <= boot);
            *sleepers = later;
            due.into_iter().map(|(_, waker): (u64, Waker)| waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
        self.resolve().await;
    }

    /// Time passes while the process is paused: nobody is woken.
    pub fn pause_process(&self, span: Duration) {
        self.clock.boot.fetch_add(span.as_nanos() as u64, Ordering::Relaxed);
        self.clock.wall.fetch_add(span.as_millis() as u64, Ordering::Relaxed);
    }

    /// The wall clock alone jumps.
    pub fn set_wall(&self, wall: WallMs) {
        self.clock.wall.store(wall.0, Ordering::Relaxed);
    }

    /// This node wins `term`; the term's first entry commits and the lease is held.
    pub async fn lead(&self, term: u64) {
        self.win(term);
        self.driver.advance_committed(self.log.last());
        self.resolve().await;
    }

    /// This node wins `term`; its first entry is in the log and has not committed.
    pub fn win(&self, term: u64) {
        let epoch = Epoch { term, node: ME };
        let first = self.log.append(epoch, EntryPayload::Blank);
        let lease = Arc::new(Lease::new(epoch));
        lease.extend(self.clock.boot().plus(Duration::from_secs(3600)));
        *self.epoch.borrow_mut() = epoch;
        *self.lease.borrow_mut() = lease.clone();
        self.driver.set_role(Role::Leader { lease, first });
    }

    /// This node follows again; nothing else is known.
    pub async fn depose(&self, leader: Option<NodeId>) {
        self.lease.borrow().close();
        self.driver.set_role(Role::Follower { leader });
        self.resolve().await;
    }

    /// Another node's first entry of `term` commits.
    pub async fn foreign_blank(&self, term: u64) {
        self.log.append(Epoch { term, node: OTHER }, EntryPayload::Blank);
        self.driver.advance_committed(self.log.last());
        self.resolve().await;
    }

    /// Another node won `term`, and its first entry commits. What is pending never will.
    pub async fn lose_to_other(&self, term: u64) {
        self.take();
        self.pending.borrow_mut().clear();
        self.depose(Some(OTHER)).await;
        self.foreign_blank(term).await;
    }

    /// Takes what the shard has proposed.
    pub fn take(&self) -> usize {
        while let Some(proposal) = self.driver.next_proposal() {
            self.pending.borrow_mut().push_back(proposal);
        }
        self.pending.borrow().len()
    }

    /// The oldest pending proposal commits.
    pub async fn commit(&self) -> bool {
        self.resolve().await;
        self.take();
        let Some(proposal) = self.pending.borrow_mut().pop_front() else { return false };
        self.log.append(proposal.epoch, EntryPayload::Batch(proposal.payload));
        self.driver.advance_committed(self.log.last());
        self.resolve().await;
        true
    }

    /// Everything that is proposed, and what is proposed thereupon, commits.
    pub async fn commit_all(&self) {
        while self.commit().await {}
    }

    /// Writes of clients in the log under `epoch`.
    pub fn units_in_log(&self, epoch: Epoch) -> usize {
        let writes = |payload: &Vec<u8>| {
            let batch = Batch::decode(payload).unwrap();
            batch.units().filter(|unit| unit.kind == UnitKind::Write).count()
        };
        batches(&self.log).iter().filter(|(of, _)| *of == epoch).map(|(_, payload)| writes(payload)).sum()
    }

    pub fn client(&self) -> Client {
        Client {
            shard: self.shard.clone(),
            session: self.shard.session(),
            protocol: Protocol::Resp2,
            staleness_max: None,
            deadline: None,
        }
    }
}

/// One connection.
pub struct Client {
    pub shard: Shard,
    pub session: Session,
    pub protocol: Protocol,
    /// How old the data may be from which a replica answers.
    pub staleness_max: Option<Duration>,
    pub deadline: Option<BootNs>,
}

/// What a command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub text: String,
    pub outcome: Outcome,
}

impl Reply {
    pub fn pending(&self) -> Option<PendingReply> {
        match self.outcome {
            Outcome::Reply { pending, .. } => pending,
            _ => None,
        }
    }

    pub fn wrote(&self) -> bool {
        matches!(self.outcome, Outcome::Reply { wrote: true, .. })
    }
}

impl Client {
    /// Runs a command given as one line.
    pub fn run(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run_args(&words)
    }

    /// Runs a command with an override.
    pub fn run_with_override(&mut self, durability_override: DurabilityOverride, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&words, Some(durability_override))
    }

    pub fn run_args(&mut self, words: &[&[u8]]) -> Reply {
        self.call(words, None)
    }

    /// The same with an idempotency key: a client and a sequence number.
    pub fn run_keyed(&mut self, line: &str, (client, sequence): (&str, u64)) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call_keyed(&words, None, Some(IdempotencyKey { client: client.as_bytes(), sequence, payload: None }))
    }

    fn call(&mut self, words: &[&[u8]], durability_override: Option<DurabilityOverride>) -> Reply {
        self.call_keyed(words, durability_override, None)
    }

    fn call_keyed(
        &mut self,
        words: &[&[u8]],
        durability_override: Option<DurabilityOverride>,
        key: Option<IdempotencyKey<'_>>,
    ) -> Reply {
        let mut out = ReplyBuf::new(self.protocol);
        let args = Args::slices(words);
        let spec = match commands().look_up(args) {
            Ok(spec) => spec,
            Err(error) => {
                self.session.fail_transaction();
                out.error(&error);
                return Reply { text: String::from_utf8_lossy(&out.to_vec()).into_owned(), outcome: Outcome::REPLY };
            }
        };
        let call = self.shard.call(spec, args, self.shard.now()).with_durability_override(durability_override);
        let call = call.with_idempotency(key).with_staleness_max(self.staleness_max).with_deadline(self.deadline);
        let outcome = self.shard.run(&mut self.session, call, &mut out, &mut ScriptedFrontEnd);
        Reply { text: String::from_utf8_lossy(&out.to_vec()).into_owned(), outcome }
    }

    /// Whose replies wait for their commit.
    pub fn with_sync_override(mut self) -> Client {
        self.session.set_durability_override(DurabilityOverride::Sync);
        self
    }

    pub fn readonly(mut self) -> Client {
        assert_eq!(self.run("READONLY").text, "+OK\r\n");
        self
    }

    /// What becomes of a reply now.
    pub fn leave(&self, reply: &Reply) -> Release {
        reply.pending().map_or(Release::Now, |pending| self.shard.release(pending))
    }

    /// Asserts that the command is answered `text` and that the reply may leave at once.
    #[track_caller]
    pub fn expect(&mut self, line: &str, text: &str) {
        let reply = self.run(line);
        assert_eq!(reply.text, text, "{line}");
        assert_eq!(self.leave(&reply), Release::Now, "{line}");
    }
}

struct ScriptedFrontEnd;

/// The commands of the scripted front end: all those of the engine and the shard, and a few of a server's.
fn commands() -> &'static CommandTable {
    const OWN: &[Command] = &[
        Command::front_end("readonly", "", "Enables reads from a replica."),
        Command::front_end("readwrite", "", "Disables reads from a replica."),
        Command::front_end("reset", "", "Resets the connection.").running_while_queueing(),
        Command::front_end("quit", "", "Closes the connection.").running_while_queueing(),
        Command::front_end("bgsave", "", "Makes a snapshot."),
    ];
    static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::new(command::commands().chain(OWN)));
    &TABLE
}

impl FrontEnd for ScriptedFrontEnd {
    fn run(
        &mut self,
        spec: &'static CommandSpec,
        _: Args<'_>,
        session: &mut Session,
        shard: &mut ShardView<'_>,
        out: &mut ReplyBuf,
    ) -> FrontEndOutcome {
        match spec.name {
            "readonly" | "readwrite" => {
                session.set_readonly(spec.name == "readonly");
                out.ok();
            }
            "reset" => {
                shard.reset(session);
                out.simple("RESET");
            }
            "bgsave" => out.simple(format!("{:?}", shard.request_snapshot())),
            "quit" => {
                out.ok();
                return FrontEndOutcome::Close;
            }
            name => unreachable!("{name} is not in the table"),
        }
        FrontEndOutcome::Reply
    }

    fn permit_queued(&mut self, _: &'static CommandSpec, _: Args<'_>, _: &mut ReplyBuf) -> bool {
        true
    }

    fn user(&self) -> Vec<u8> {
        b"default".to_vec()
    }

    fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String> {
        match primary {
            Some(node) => Some(format!("node-{node}:7000")),
            None => (slot.0 != 0).then(|| "elsewhere:7000".to_owned()),
        }
    }
}

/// Length of an entry's batch.
pub fn payload_bytes(entry: &Committed) -> usize {
    match &entry.payload {
        EntryPayload::Batch(payload) => payload.len(),
        EntryPayload::Blank | EntryPayload::Membership => 0,
    }
}

/// The batches in the log that are whole, with their epochs.
pub fn batches(log: &ScriptedLog) -> Vec<(Epoch, Vec<u8>)> {
    let (mut whole, mut fragments, mut epoch) = (Vec::new(), Fragments::default(), Epoch::default());
    for entry in log.entries() {
        if entry.epoch != epoch {
            fragments.clear();
            epoch = entry.epoch;
        }
        if let EntryPayload::Batch(payload) = &entry.payload
            && let Some(batch) = fragments.push(Part::of(payload).unwrap()).unwrap()
        {
            whole.push((epoch, batch.into_owned()));
        }
    }
    whole
}

/// The timestamps of all units in the log.
pub fn timestamps(log: &ScriptedLog) -> Vec<WallMs> {
    let mut timestamps = Vec::new();
    for (_, payload) in batches(log) {
        let batch = Batch::decode(&payload).unwrap();
        timestamps.push(batch.header.timestamp);
        timestamps.extend(batch.units().map(|unit| unit.timestamp));
    }
    timestamps
}

impl World {
    pub fn clock_boot(&self) -> BootNs {
        self.clock.boot()
    }
}

impl World {
    /// The other replicas hold the log up to these positions, and have said so.
    pub async fn acknowledge(&self, positions: &[u64]) {
        self.copies.replicas.replace(positions.iter().copied().map(LogIndex).collect());
        self.copies.changed.notify_one();
        self.resolve().await;
    }

    /// Runs WAIT or WAITAOF and waits in a task of its own.
    pub fn wait(&self, client: &mut Client, line: &str) -> tokio::task::JoinHandle<WaitAnswer> {
        let Outcome::Wait(request) = client.run(line).outcome else { panic!("{line} does not wait") };
        let shard = self.shard.clone();
        tokio::task::spawn_local(async move { shard.wait(request).await })
    }
}
