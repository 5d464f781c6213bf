//! The schedule of a simulation's faults: which one is next, when it starts and when it ends.

use std::ops::Range;
use std::time::Duration;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::stage::{RunningFault, Stage, ms};
use super::{SimFault, attack, clock, disk, machine, moment, network, order, stuck, unheard};

/// Pause between two faults.
const PAUSE: Range<Duration> = ms(50)..ms(1_300);
/// How long a fault lasts.
const LASTS: Range<Duration> = ms(100)..ms(2_500);

/// Where operators switch the mode, one in this many faults is a switch.
const SWITCH_ODDS: u32 = 6;

/// Where there are hostile clients, one in this many faults is an attack.
const ATTACK_ODDS: u32 = 3;

struct Active {
    fault: SimFault,
    until: Duration,
    running: Box<dyn RunningFault>,
}

/// The schedule of a simulation's faults.
pub struct Schedule {
    kinds: Vec<SimFault>,
    attacks: Vec<SimFault>,
    next: Duration,
    active: Vec<Active>,
    healing: bool,
}

impl Schedule {
    /// A schedule that starts at once.
    #[must_use]
    pub fn new(kinds: &[SimFault]) -> Schedule {
        let (attacks, kinds) = kinds.iter().partition(|fault| fault.is_attack());
        Schedule { kinds, attacks, next: Duration::ZERO, active: Vec::new(), healing: false }
    }

    /// Whether something is broken now; hostile clients alone break nothing.
    #[must_use]
    pub fn disturbs(&self) -> bool {
        self.active.iter().any(|active| !active.fault.is_attack())
    }

    /// Ends all faults and starts no new ones.
    pub fn heal(&mut self) {
        self.healing = true;
    }

    /// Whether all faults have ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.active.is_empty()
    }

    /// Continues active faults, ends those that are over, and starts the next one when it is due.
    pub fn step(&mut self, stage: &mut Stage<'_, '_>) {
        self.continue_active(stage);
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

    fn choose(&self, stage: &mut Stage<'_, '_>) -> Option<SimFault> {
        let switches = stage.builder.profile.switches() && self.kinds.contains(&SimFault::SwitchMode);
        if switches && stage.rng.random_ratio(1, SWITCH_ODDS) {
            return Some(SimFault::SwitchMode);
        }
        let has_attacks = stage.builder.scale.is_some() && !self.attacks.is_empty();
        if has_attacks && (self.kinds.is_empty() || stage.rng.random_ratio(1, ATTACK_ODDS)) {
            return self.attacks.choose(stage.rng).copied();
        }
        self.kinds.choose(stage.rng).copied()
    }

    fn continue_active(&mut self, stage: &mut Stage<'_, '_>) {
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

/// `None`: the fault is not possible now.
fn begin(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    match fault {
        SimFault::CrashPrimary | SimFault::CrashAny | SimFault::CrashAz | SimFault::CrashAll => {
            machine::crash(stage, fault)
        }
        SimFault::CrashInSnapshot => machine::crash_in_snapshot(stage),
        SimFault::MachineLost => machine::lose(stage),
        SimFault::LateSnapshots => machine::lose_and_delay_snapshots(stage),
        SimFault::SlowDisk | SimFault::StalledDisk => disk::slow_down(stage, fault),
        SimFault::StalledFollowers => disk::stall_followers(stage),
        SimFault::FullDisk | SimFault::FailedSync => disk::fail(stage, fault),
        SimFault::CorruptDisk | SimFault::CorruptSnapshots | SimFault::WipedDisk => disk::damage(stage, fault),
        SimFault::OldDisk => disk::roll_back(stage),
        SimFault::WallJump | SimFault::WallShift => clock::shift(stage, fault),
        SimFault::ClockDrift => clock::drift(stage),
        SimFault::HandOver => order::hand_over(stage),
        SimFault::WrongVoters => order::wrong_voters(stage),
        SimFault::CutAfterTransfer => moment::cut_after_transfer(stage),
        SimFault::FlushCutOff => moment::flush_cut_off(stage),
        SimFault::RestartBesideDeaf => moment::restart_beside_deaf(stage),
        SimFault::Pause => moment::pause(stage),
        SimFault::StuckLoop => stuck::stall_loop(stage),
        SimFault::Deaf => unheard::deaf(stage),
        SimFault::LateAnswers => unheard::late_answers(stage),
        SimFault::LeasesOnly => unheard::leases_only(stage),
        SimFault::PurgedBeyond => unheard::purged_beyond(stage),
        SimFault::SwitchMode => order::switch_mode(stage),
        _ if fault.is_attack() => attack::attack(stage, fault),
        _ => network::break_links(stage, fault),
    }
}
