//! What clients saw, and what that allows them to see later: the judge of a simulation's replies, in every mode.
//!
//! A register is a key with one writer, which writes rising numbers. The ledger knows of every number whether it was
//! acknowledged, refused or left unknown, and of every reply which node gave it ([`ReplyOrigin`]). A number is
//! **resolved** once it was acknowledged or read under `sync`, or read from a replica: it must never be undone. The
//! rules:
//!
//! - No reply shows a number that was refused or never written, or one that is known to be lost.
//! - No read returns less than what was resolved when it was sent.
//! - A primary's read returns at least what was acknowledged when it was sent, unless a failover lost that. Then it was
//!   acknowledged under `async` or `disabled`, in an older epoch than the read's.
//! - Under `async`, the time between the oldest acknowledgement that a failover lost and the newest one of the same
//!   tenure is within the bound (`async_loss.rs` computes it).
//! - No write is acknowledged and no value returned under a mode that is looser than the committed one.
//! - In runs with FLUSHALL, a register is missing only if a FLUSHALL may explain it, and it does not exist after one
//!   (`flushes.rs`).
//! - The values that one replica returns for a key never go back while it runs.
//! - A number is committed when a reply that resolves it arrives (`invariants/two_azs.rs`).
//! - A counter holds every resolved increment, and no increment more often than it was requested.
//!
//! A write of unknown outcome may take effect at any later time: its bytes may still be in a socket.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_load::outcome::Outcome;
use fastness_types::{Durability, LogIndex, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::sim::flushes::{Flushes, Moment};
use crate::sim::invariants::async_loss::LossAccount;
use crate::sim::origin::ReplyOrigin;

/// Outcome of writing a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteFate {
    /// Unknown; the write may still take effect.
    Open,
    Refused,
    Acknowledged(ReplyOrigin),
    /// Acknowledged, and undone by a failover, as a read showed at that moment.
    Lost(Moment),
}

#[derive(Debug)]
struct RegisterRecord {
    shard: ShardId,
    numbers: BTreeMap<u64, WriteFate>,
    attempted: u64,
    resolved: u64,
    /// What each running replica has shown, and the index that it had applied then. Replies on several connections
    /// overtake each other.
    shown: BTreeMap<(NodeId, u64), (LogIndex, u64)>,
}

impl RegisterRecord {
    fn new(shard: ShardId) -> RegisterRecord {
        RegisterRecord { shard, numbers: BTreeMap::new(), attempted: 0, resolved: 0, shown: BTreeMap::new() }
    }

    fn acknowledged(&self) -> u64 {
        let newest = self.numbers.iter().rev().find(|(_, fate)| matches!(fate, WriteFate::Acknowledged(_)));
        newest.map_or(0, |(number, _)| *number)
    }
}

#[derive(Debug, Default)]
struct CounterRecord {
    acknowledged: u64,
    unknown: u64,
    resolved: u64,
    /// Requested, and not answered yet.
    open: u64,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Of these, under `sync`.
    pub acknowledged_sync: u64,
    /// Writes refused.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered with data, by primaries.
    pub reads: u64,
    /// Reads answered with data, by replicas.
    pub replica_reads: u64,
    /// Pipelines in which a write was refused and a read answered.
    pub reads_beside_refusals: u64,
    /// Acknowledged writes that a failover undid within what the mode allows.
    pub lost_within_bound: u64,
    /// Acknowledged writes that should not have been undone.
    pub lost: u64,
    /// Reads that showed less than they had to.
    pub stale: u64,
}

/// A number that was acknowledged or shown, so that it must be committed. Number 0: the register does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promised {
    /// The register's shard.
    pub shard: ShardId,
    /// The register.
    pub key: String,
    /// Its number.
    pub number: u64,
    /// What the reply was.
    pub how: &'static str,
}

impl Promised {
    fn new(shard: ShardId, key: &str, number: u64, how: &'static str) -> Promised {
        Promised { shard, key: key.to_owned(), number, how }
    }
}

/// State of a register when a read was sent.
#[derive(Debug, Clone, Copy)]
pub struct ReadStart {
    at: Moment,
    acknowledged: u64,
    resolved: u64,
}

/// The ledger of one run.
#[derive(Default)]
pub struct Ledger {
    registers: BTreeMap<String, RegisterRecord>,
    counters: BTreeMap<String, CounterRecord>,
    losses: LossAccount,
    flushes: Flushes,
    summary: Summary,
    violations: Vec<String>,
    /// Acknowledged writes of registers, by shard.
    acknowledged: BTreeMap<ShardId, u64>,
    /// See [`Ledger::take_promised`].
    promised: Vec<Promised>,
}

impl Ledger {
    /// `max_lag`: the most time between the oldest acknowledgement lost under `async` and the newest.
    #[must_use]
    pub fn new(max_lag: Duration) -> Ledger {
        Ledger { losses: LossAccount::new(max_lag), ..Ledger::default() }
    }

    /// Returns the number that the writer of `key` writes next.
    pub fn next_number(&mut self, shard: ShardId, key: &str) -> u64 {
        let register = self.registers.entry(key.to_owned()).or_insert_with(|| RegisterRecord::new(shard));
        register.attempted += 1;
        // The outcome is unknown until the reply arrives: other clients may read the number first.
        register.numbers.insert(register.attempted, WriteFate::Open);
        self.flushes.write_started(key, register.attempted);
        register.attempted
    }

    /// Records the outcome of writing `number`; an acknowledgement has an origin.
    pub fn wrote(&mut self, key: &str, number: u64, outcome: Outcome, origin: Option<ReplyOrigin>) {
        let Some(register) = self.registers.get_mut(key) else { return };
        match (outcome, origin) {
            (Outcome::Acknowledged, Some(origin)) => {
                register.numbers.insert(number, WriteFate::Acknowledged(origin));
                self.flushes.write_acknowledged(key, number);
                *self.acknowledged.entry(register.shard).or_default() += 1;
                if origin.mode == Durability::Sync {
                    register.resolved = register.resolved.max(number);
                    self.promised.push(Promised::new(register.shard, key, number, "was acknowledged under sync"));
                } else {
                    self.losses.acknowledged(register.shard, origin);
                }
                self.acknowledged(origin.mode);
            }
            (Outcome::Refused, _) => {
                register.numbers.insert(number, WriteFate::Refused);
                self.summary.refused += 1;
            }
            _ => self.summary.unknown += 1,
        }
    }

    /// Records that a counter is about to be incremented.
    pub fn raise_started(&mut self, key: &str) {
        self.counters.entry(key.to_owned()).or_default().open += 1;
    }

    /// Records the outcome of incrementing a counter; `value` is the acknowledged one.
    pub fn raised(&mut self, key: &str, outcome: Outcome, value: Option<i64>, origin: Option<ReplyOrigin>) {
        let counter = self.counters.entry(key.to_owned()).or_default();
        counter.open = counter.open.saturating_sub(1);
        match (outcome, origin) {
            (Outcome::Acknowledged, Some(origin)) => {
                counter.acknowledged += 1;
                let range = counter.resolved + 1..=counter.acknowledged + counter.unknown;
                let value = value.and_then(|value| u64::try_from(value).ok());
                let fits = value.is_some_and(|value| range.contains(&value));
                if origin.mode == Durability::Sync {
                    counter.resolved = counter.resolved.max(value.unwrap_or(0));
                }
                if !fits {
                    self.summary.lost += 1;
                    self.violations.push(format!("{key}: INCR answered {value:?}, expected {range:?}"));
                }
                self.acknowledged(origin.mode);
            }
            (Outcome::Refused, _) => self.summary.refused += 1,
            _ => {
                counter.unknown += 1;
                self.summary.unknown += 1;
            }
        }
    }

    /// Records that a write with an idempotency key was taken for another one.
    pub fn mistaken(&mut self, key: &str) {
        self.violations.push(format!("{key}: a write was taken for another one with its idempotency key"));
    }

    /// Checks a reply against the mode that had committed where it was given.
    pub fn check_mode(&mut self, origin: ReplyOrigin, committed: Option<Durability>) {
        let Some(committed) = committed.filter(|_| origin.primary) else { return };
        if origin.mode.stricter(committed) != origin.mode {
            self.violations.push(format!(
                "node {} answers under {:?} in epoch {}, where {committed:?} has committed (desired mode of version {})",
                origin.node, origin.mode, origin.epoch, origin.version
            ));
        }
    }

    fn acknowledged(&mut self, mode: Durability) {
        self.summary.acknowledged += 1;
        self.summary.acknowledged_sync += u64::from(mode == Durability::Sync);
    }

    /// Records the state of a register; called before a read is sent.
    #[must_use]
    pub fn before_read(&mut self, key: &str) -> ReadStart {
        let at = self.flushes.moment();
        let register = self.registers.get(key);
        ReadStart {
            at,
            acknowledged: register.map_or(0, RegisterRecord::acknowledged),
            resolved: register.map_or(0, |register| register.resolved),
        }
    }

    /// Checks the result of a primary's read of a register: `None` for a missing key.
    pub fn read(&mut self, key: &str, start: ReadStart, value: Option<&[u8]>, origin: ReplyOrigin) {
        self.summary.reads += 1;
        let Some(number) = self.check_shown(key, start.at, value) else { return };
        let Some(register) = self.registers.get_mut(key) else { return };
        if number == 0 && start.resolved > 0 && self.flushes.may_be_flushed(register.shard, key, start.resolved) {
            return;
        }
        if self.flushes.must_be_flushed(register.shard, key, number, start.at) {
            self.summary.stale += 1;
            self.violations
                .push(format!("{key}: read {number} from node {}, after FLUSHALL was resolved", origin.node));
        }
        if origin.mode == Durability::Sync {
            register.resolved = register.resolved.max(number);
            self.promised.push(Promised::new(register.shard, key, number, "was shown under sync"));
        }
        if register.numbers.get(&number) == Some(&WriteFate::Open) {
            // Of unknown outcome: whenever the write took effect, it is newer than what it replaced.
            return;
        }
        if number < start.resolved {
            self.summary.stale += 1;
            let what = format!("read {number} from node {}, after {} was resolved", origin.node, start.resolved);
            self.violations.push(format!("{key}: {what} ({:?})", register.numbers.get(&start.resolved)));
        } else if number < start.acknowledged {
            self.find_losses(key, number + 1..=start.acknowledged, origin);
        }
    }

    /// Records numbers that a primary's read has shown to be lost.
    fn find_losses(&mut self, key: &str, lost: std::ops::RangeInclusive<u64>, origin: ReplyOrigin) {
        let now = self.flushes.moment();
        let Some(register) = self.registers.get_mut(key) else { return };
        for (number, fate) in register.numbers.range_mut(lost) {
            let WriteFate::Acknowledged(given) = *fate else { continue };
            *fate = WriteFate::Lost(now);
            if origin.epoch.term <= given.epoch.term {
                self.summary.stale += 1;
                self.violations.push(format!(
                    "{key}: {number} was acknowledged in epoch {} and is not seen by a read in epoch {}",
                    given.epoch, origin.epoch
                ));
                continue;
            }
            self.summary.lost_within_bound += 1;
            if given.mode == Durability::Async {
                self.losses.lost(register.shard, given);
            }
        }
    }

    /// Records that FLUSHALL is about to be sent, and returns its number.
    pub fn flush_started(&mut self, shard: ShardId) -> usize {
        self.flushes.started(shard)
    }

    /// Records the outcome of a FLUSHALL.
    pub fn flushed(&mut self, shard: ShardId, which: usize, outcome: Outcome) {
        self.flushes.finished(shard, which, outcome);
    }

    /// Records that a write was refused and a read of the same pipeline was answered.
    pub fn read_beside_a_refusal(&mut self) {
        self.summary.reads_beside_refusals += 1;
    }

    /// Checks the result of a read that may be old. Except under `sync`, a primary returns uncommitted data to it; a
    /// former primary that has not yet learned of its successor still describes itself as the primary.
    pub fn replica_read(&mut self, key: &str, start: ReadStart, value: Option<&[u8]>, origin: ReplyOrigin) {
        self.summary.replica_reads += 1;
        let Some(number) = self.check_shown(key, start.at, value) else { return };
        let Some(register) = self.registers.get_mut(key) else { return };
        if origin.primary && origin.mode != Durability::Sync {
            return;
        }
        let shown = register.shown.entry((origin.node, origin.life)).or_default();
        let (at, before) = *shown;
        let flushed = number == 0 && self.flushes.may_be_flushed(register.shard, key, before);
        if !flushed
            && origin.applied >= at
            && number < before
            && register.numbers.get(&number) != Some(&WriteFate::Open)
        {
            self.violations.push(format!("{key}: node {} showed {before} and then {number}", origin.node));
            self.summary.stale += 1;
        }
        *shown = (*shown).max((origin.applied, number));
        register.resolved = register.resolved.max(number);
        self.promised.push(Promised::new(register.shard, key, number, "was shown by a replica"));
    }

    /// Returns the number that was read, if a read sent at that moment may return it.
    fn check_shown(&mut self, key: &str, sent: Moment, value: Option<&[u8]>) -> Option<u64> {
        let number = match value.map(number_of) {
            None => 0,
            Some(Some(number)) => number,
            Some(None) => {
                self.violations.push(format!("{key}: the value is not one that was written"));
                return None;
            }
        };
        let fate = self.registers.get(key).and_then(|register| register.numbers.get(&number));
        let wrong = match fate {
            Some(WriteFate::Refused) => "was refused",
            // A read that was in progress when the loss was seen may have been served before it.
            Some(WriteFate::Lost(seen)) if *seen < sent => "was lost before",
            None if number > 0 => "was never written",
            _ => return Some(number),
        };
        self.violations.push(format!("{key}: read {number}, which {wrong}"));
        None
    }

    /// Checks the value of a counter after the run.
    pub fn read_counter(&mut self, key: &str, value: Option<i64>) {
        let counter = self.counters.entry(key.to_owned()).or_default();
        // A client may still wait for its last reply.
        let range = counter.resolved..=counter.acknowledged + counter.unknown + counter.open;
        let value = value.unwrap_or(0);
        if !u64::try_from(value).is_ok_and(|v| range.contains(&v)) {
            self.summary.lost += 1;
            self.violations.push(format!("{key}: the counter holds {value}, expected {range:?}"));
        }
    }

    /// Keys of all registers that were written.
    #[must_use]
    pub fn register_keys(&self) -> Vec<String> {
        self.registers.keys().cloned().collect()
    }

    /// Keys of all counters that were incremented.
    #[must_use]
    pub fn counter_keys(&self) -> Vec<String> {
        self.counters.keys().cloned().collect()
    }

    /// Takes what was resolved by a reply since the last call: it must have committed.
    pub fn take_promised(&mut self) -> Vec<Promised> {
        std::mem::take(&mut self.promised)
    }

    /// Takes the violations found since the last call.
    pub fn take_violations(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.violations);
        found.extend(self.losses.take_violations());
        found
    }

    /// Number of acknowledged writes of a shard's registers so far.
    #[must_use]
    pub fn acknowledged_of(&self, shard: ShardId) -> u64 {
        self.acknowledged.get(&shard).copied().unwrap_or(0)
    }

    /// Counts so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The longest span between an acknowledgement that was lost under `async` and the newest of its tenure.
    #[must_use]
    pub fn longest_loss(&self) -> Duration {
        self.losses.longest()
    }
}

/// The number in a register's value.
#[must_use]
pub fn number_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split(':').next()?.parse().ok()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
