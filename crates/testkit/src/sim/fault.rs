//! What goes wrong in a simulation, when, and how it heals.
//!
//! Faults come one after the other and last for a while, so that they overlap; each link, and each machine, is in the
//! hands of one fault at a time. Links to clients are part of the network too. Everything is chosen from the seed.
//!
//! A fault says at its end whether it took effect: whether frames were missed, a write took long, an election was won.
//! Only then it counts.
//!
//! | file | faults of |
//! |---|---|
//! | `network.rs` | links between hosts |
//! | `machine.rs` | machines and processes, and who takes a lost one's place |
//! | `disk.rs` | disks |
//! | `clock.rs` | clocks |
//! | `order.rs` | none: what operators do, which meets all the others |
//! | `moment.rs` | several things at a bad moment: what chance alone would bring together too seldom |
//! | `stuck.rs` | a shard's loop |
//! | `unheard.rs` | a primary's ways to and from its followers, that break in part |
//! | `attack.rs` | none: what hostile clients send (`../adversary.rs`), in the runs that have them |

mod attack;
mod clock;
mod disk;
mod machine;
mod moment;
mod network;
mod order;
mod stuck;
mod unheard;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::ShardId;
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};
use turmoil::Sim;

use crate::sim::build::Builder;
use crate::sim::client::Phase;
use crate::sim::invariants::Invariants;
use crate::sim::ledger::Ledger;
use crate::sim::node::{Machine, SimNode};
use crate::sim::plan::Plan;
use crate::sim::trace::Trace;

pub use network::{LATENCY_MAX, Taken};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Between two faults.
const PAUSE: Range<Duration> = ms(50)..ms(1_300);
/// How long a fault lasts.
const LASTS: Range<Duration> = ms(100)..ms(2_500);

/// Where operators switch the mode, one in so many of all faults is a switch.
const SWITCH_ODDS: u32 = 6;

/// Where there are hostile clients, one in so many of all faults is one.
const ATTACK_ODDS: u32 = 3;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// A shard's primary crashes.
    CrashPrimary,
    /// Some node crashes.
    CrashAny,
    /// All nodes of an AZ crash at once.
    CrashAz,
    /// All nodes crash at once.
    CrashAll,
    /// A node crashes that is just making a snapshot, or receiving one.
    CrashInSnapshot,
    /// A machine is lost with its disk; a new node takes its place.
    MachineLost,
    /// The same, and the parts of snapshots that the new node is sent arrive late.
    LateSnapshots,
    /// The hosts are split in two; nothing passes.
    Partition,
    /// One AZ is cut off.
    AzCut,
    /// Nothing passes from one node to others; the way back is open.
    OneWay,
    /// Two parts that reach each other only through one node, which reaches both.
    Bridge,
    /// Every node reaches its neighbours in a ring only; of three, the next one only.
    Ring,
    /// Everything to and from one node is held back, and then arrives at once: what a paused process looks like to all
    /// others, and what waits in its sockets when it goes on.
    Hold,
    /// A primary is paused: what it says, hears and replies is held back, and then leaves and arrives, its replies
    /// first.
    Pause,
    /// The loop of a shard's primary stands still, and its connections, while its heartbeats go on.
    StuckLoop,
    /// A primary hears nothing; what it says arrives.
    Deaf,
    /// What a primary says is lost, and what it hears is late.
    LateAnswers,
    /// Of a primary some hear only the questions about its lease, and the others nothing.
    LeasesOnly,
    /// A primary is cut off until the others' logs do not go back to where its own ends.
    PurgedBeyond,
    /// Messages between nodes get lost, and with them their connections.
    Loss,
    /// Messages between nodes take long.
    SlowLinks,
    /// Frames between nodes arrive twice.
    Duplicates,
    /// Frames between nodes arrive behind later ones.
    Reorder,
    /// One node's disk takes long.
    SlowDisk,
    /// One node's disk takes very long.
    StalledDisk,
    /// The disks of all nodes but a shard's primary stand still, for longer than `async` bears.
    StalledFollowers,
    /// One node's disk is full.
    FullDisk,
    /// A sync of one node's disk fails.
    FailedSync,
    /// A bit flips in the middle of the log of a node that is down. It must refuse, and is replaced.
    CorruptDisk,
    /// A node that is down loses the beginning of each of its snapshots. It must refuse if its log does not go back far
    /// enough, and is replaced.
    CorruptSnapshots,
    /// A node comes back with an empty disk. It must refuse, and is replaced.
    WipedDisk,
    /// A node comes back with an old copy of its disk. It must refuse, and is replaced.
    OldDisk,
    /// A wall clock is set far on, or back.
    WallJump,
    /// A wall clock is set on or back by less than is noticed.
    WallShift,
    /// A boot clock runs faster or slower from now on.
    ClockDrift,
    /// A primary is told to hand over.
    HandOver,
    /// The same, and once it has told its successor to stand for election it hears nothing any more.
    CutAfterTransfer,
    /// In runs with FLUSHALL: a primary is cut off, and while it has its lease one client flushes and the others read.
    FlushCutOff,
    /// Clients are silent; one follower hears nothing of the primary any more, and the others restart, again and again.
    RestartBesideDeaf,
    /// The operator asks for voters that break the AZ rule.
    WrongVoters,
    /// The operator desired states the other mode.
    SwitchMode,
    /// Many keys, some with long names, expire in the same millisecond.
    MassExpiry,
    /// Values of many log entries are written.
    LargeValues,
    /// Transactions below and above a unit's maximum, all of whose keys hold the same number at any time.
    UnitAtLimit,
    /// Payloads that expand to a value below or above a unit's maximum are restored.
    RestoreBomb,
    /// Transactions whose effects are far longer than their arguments.
    GrowingUnit,
    /// Many keys and a large hash are removed at once.
    FreedAtOnce,
    /// Connections ask for large values and read nothing.
    NeverReads,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 48] = [
        Fault::CrashPrimary,
        Fault::CrashAny,
        Fault::CrashAz,
        Fault::CrashAll,
        Fault::CrashInSnapshot,
        Fault::MachineLost,
        Fault::LateSnapshots,
        Fault::Partition,
        Fault::AzCut,
        Fault::OneWay,
        Fault::Bridge,
        Fault::Ring,
        Fault::Hold,
        Fault::Pause,
        Fault::StuckLoop,
        Fault::Deaf,
        Fault::LateAnswers,
        Fault::LeasesOnly,
        Fault::PurgedBeyond,
        Fault::Loss,
        Fault::SlowLinks,
        Fault::Duplicates,
        Fault::Reorder,
        Fault::SlowDisk,
        Fault::StalledDisk,
        Fault::StalledFollowers,
        Fault::FullDisk,
        Fault::FailedSync,
        Fault::CorruptDisk,
        Fault::CorruptSnapshots,
        Fault::WipedDisk,
        Fault::OldDisk,
        Fault::WallJump,
        Fault::WallShift,
        Fault::ClockDrift,
        Fault::HandOver,
        Fault::CutAfterTransfer,
        Fault::FlushCutOff,
        Fault::RestartBesideDeaf,
        Fault::WrongVoters,
        Fault::SwitchMode,
        Fault::MassExpiry,
        Fault::LargeValues,
        Fault::UnitAtLimit,
        Fault::RestoreBomb,
        Fault::GrowingUnit,
        Fault::FreedAtOnce,
        Fault::NeverReads,
    ];

    /// What hostile clients do. They come in runs whose limits are scaled down, where nothing else has to be chosen.
    pub const ATTACKS: [Fault; 7] = [
        Fault::MassExpiry,
        Fault::LargeValues,
        Fault::UnitAtLimit,
        Fault::RestoreBomb,
        Fault::GrowingUnit,
        Fault::FreedAtOnce,
        Fault::NeverReads,
    ];

    /// Whether it is what a hostile client does, and nothing breaks.
    #[must_use]
    pub fn is_attack(self) -> bool {
        Fault::ATTACKS.contains(&self)
    }

    /// The one of this name, as tables have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name)
    }
}

/// What faults work on.
pub struct Stage<'a, 'b> {
    /// The simulation.
    pub sim: &'a mut Sim<'b>,
    /// Its nodes; new ones are added.
    pub nodes: &'a mut Vec<Rc<SimNode>>,
    /// Told of crashes.
    pub invariants: &'a mut Invariants,
    /// Notes every fault.
    pub trace: &'a Trace,
    /// Builds new nodes.
    pub builder: &'a mut Builder,
    /// What the control plane says.
    pub plan: Rc<RefCell<Plan>>,
    /// Chooses.
    pub rng: &'a mut SmallRng,
    /// Hosts of clients.
    pub clients: &'a [String],
    /// How many shards.
    pub shards: u32,
    /// Links that a fault has in its hands.
    pub links: &'a mut Taken,
    /// What clients do.
    pub phase: &'a Cell<Phase>,
    /// What clients were told.
    pub ledger: &'a Rc<RefCell<Ledger>>,
    /// How many other faults are under way.
    pub others_under_way: usize,
    /// How many hostile clients are there.
    pub attacks_under_way: usize,
    /// Faults that follow from others.
    pub following: Vec<(Fault, Box<dyn Running>)>,
}

impl Stage<'_, '_> {
    fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Lets a step pass in the middle of a fault; what is committed in it is noted before anybody crashes.
    fn step(&mut self) {
        if let Err(error) = self.sim.step() {
            self.invariants.violate(format!("the simulation has failed: {error}"));
        }
        self.builder.time.set(self.sim.elapsed());
        self.invariants.look_at_logs(self.nodes, false);
    }

    fn some_shard(&mut self) -> ShardId {
        ShardId(self.rng.random_range(1..=self.shards))
    }

    fn machines_up(&self) -> Vec<Rc<SimNode>> {
        self.nodes.iter().filter(|node| node.machine.get() == Machine::Up).cloned().collect()
    }

    fn some_machine(&mut self) -> Option<Rc<SimNode>> {
        self.machines_up().choose(self.rng).cloned()
    }
}

/// A fault under way.
pub trait Running {
    /// Goes on. `over`: its time has come. Once it is over it tells whether it took effect.
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool>;
}

struct Active {
    fault: Fault,
    until: Duration,
    running: Box<dyn Running>,
}

/// The schedule of a simulation's faults.
pub struct Schedule {
    kinds: Vec<Fault>,
    attacks: Vec<Fault>,
    next: Duration,
    active: Vec<Active>,
    healing: bool,
}

impl Schedule {
    /// Begins at once.
    #[must_use]
    pub fn new(kinds: &[Fault]) -> Schedule {
        let (attacks, kinds) = kinds.iter().partition(|fault| fault.is_attack());
        Schedule { kinds, attacks, next: Duration::ZERO, active: Vec::new(), healing: false }
    }

    /// Whether something is broken now: hostile clients alone break nothing.
    #[must_use]
    pub fn disturbs(&self) -> bool {
        self.active.iter().any(|active| !active.fault.is_attack())
    }

    /// From now on everything comes to an end.
    pub fn heal(&mut self) {
        self.healing = true;
    }

    /// Whether everything has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.active.is_empty()
    }

    /// Goes on with what is under way, ends what is over, and begins what is due.
    pub fn step(&mut self, stage: &mut Stage<'_, '_>) {
        self.go_on(stage);
        let now = stage.now();
        if !self.healing && now >= self.next {
            self.next = now + stage.rng.random_range(PAUSE);
            let Some(fault) = self.choose(stage) else { return };
            stage.attacks_under_way = self.active.iter().filter(|active| active.fault.is_attack()).count();
            let until = now + stage.rng.random_range(LASTS);
            if let Some(running) = begin(stage, fault) {
                stage.trace.note(|| format!("{fault:?} begins"));
                self.active.push(Active { fault, until, running });
            }
        }
    }

    fn choose(&self, stage: &mut Stage<'_, '_>) -> Option<Fault> {
        let switches = stage.builder.profile.switches() && self.kinds.contains(&Fault::SwitchMode);
        if switches && stage.rng.random_ratio(1, SWITCH_ODDS) {
            return Some(Fault::SwitchMode);
        }
        let has_attacks = stage.builder.scale.is_some() && !self.attacks.is_empty();
        if has_attacks && (self.kinds.is_empty() || stage.rng.random_ratio(1, ATTACK_ODDS)) {
            return self.attacks.choose(stage.rng).copied();
        }
        self.kinds.choose(stage.rng).copied()
    }

    fn go_on(&mut self, stage: &mut Stage<'_, '_>) {
        let now = stage.now();
        let healing = self.healing;
        let mut ended = Vec::new();
        stage.others_under_way = self.active.len().saturating_sub(1);
        self.active.retain_mut(|Active { fault, until, running }| {
            let Some(took_effect) = running.step(stage, healing || *until <= now) else { return true };
            ended.push((*fault, took_effect));
            false
        });
        for (fault, took_effect) in ended {
            stage.trace.note(|| format!("{fault:?} ends, took effect: {took_effect}"));
            stage.invariants.coverage().fault(fault, took_effect);
        }
        let following = std::mem::take(&mut stage.following);
        self.active.extend(following.into_iter().map(|(fault, running)| Active { fault, until: now, running }));
    }
}

/// `None`: it cannot be brought about now.
fn begin(stage: &mut Stage<'_, '_>, fault: Fault) -> Option<Box<dyn Running>> {
    match fault {
        Fault::CrashPrimary | Fault::CrashAny | Fault::CrashAz | Fault::CrashAll => machine::crash(stage, fault),
        Fault::CrashInSnapshot => machine::crash_in_snapshot(stage),
        Fault::MachineLost => machine::lose(stage),
        Fault::LateSnapshots => machine::lose_and_delay_snapshots(stage),
        Fault::SlowDisk | Fault::StalledDisk => disk::slow_down(stage, fault),
        Fault::StalledFollowers => disk::stall_followers(stage),
        Fault::FullDisk | Fault::FailedSync => disk::fail(stage, fault),
        Fault::CorruptDisk | Fault::CorruptSnapshots | Fault::WipedDisk => disk::damage(stage, fault),
        Fault::OldDisk => disk::roll_back(stage),
        Fault::WallJump | Fault::WallShift => clock::shift(stage, fault),
        Fault::ClockDrift => clock::drift(stage),
        Fault::HandOver => order::hand_over(stage),
        Fault::WrongVoters => order::wrong_voters(stage),
        Fault::CutAfterTransfer => moment::cut_after_transfer(stage),
        Fault::FlushCutOff => moment::flush_cut_off(stage),
        Fault::RestartBesideDeaf => moment::restart_beside_deaf(stage),
        Fault::Pause => moment::pause(stage),
        Fault::StuckLoop => stuck::stick(stage),
        Fault::Deaf => unheard::deaf(stage),
        Fault::LateAnswers => unheard::late_answers(stage),
        Fault::LeasesOnly => unheard::leases_only(stage),
        Fault::PurgedBeyond => unheard::purged_beyond(stage),
        Fault::SwitchMode => order::switch_mode(stage),
        _ if fault.is_attack() => attack::attack(stage, fault),
        _ => network::break_links(stage, fault),
    }
}
