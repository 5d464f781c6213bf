//! The effect of FLUSHALL on registers, for the ledger: a missing register may have been flushed, and an existing one
//! must not have been. Only in `sync` runs: no acknowledged write is lost there, so a missing register was flushed.

use std::collections::BTreeMap;

use fastness_load::outcome::Outcome;
use fastness_types::ShardId;

/// A point in the order in which clients start and finish operations.
pub type Moment = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlushFate {
    /// It may have taken effect, or may still do so.
    Open,
    Refused,
    /// It has taken effect by this moment.
    Done(Moment),
}

#[derive(Debug)]
struct Flush {
    begun: Moment,
    fate: FlushFate,
}

/// When a write started, and when it was acknowledged, if it was.
type WriteSpan = (Moment, Option<Moment>);

/// Every FLUSHALL of a run, and every write of a register.
#[derive(Debug, Default)]
pub struct Flushes {
    now: Moment,
    flushes: BTreeMap<ShardId, Vec<Flush>>,
    writes: BTreeMap<(String, u64), WriteSpan>,
}

impl Flushes {
    /// Returns a moment after all earlier ones.
    pub fn moment(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// Records that a write is about to be sent.
    pub fn write_started(&mut self, key: &str, number: u64) {
        let begun = self.moment();
        self.writes.insert((key.to_owned(), number), (begun, None));
    }

    /// Records that a write was acknowledged.
    pub fn write_acknowledged(&mut self, key: &str, number: u64) {
        let now = self.moment();
        if let Some((_, ended)) = self.writes.get_mut(&(key.to_owned(), number)) {
            *ended = Some(now);
        }
    }

    /// Records that a FLUSHALL is about to be sent, and returns its number.
    pub fn started(&mut self, shard: ShardId) -> usize {
        let begun = self.moment();
        let flushes = self.flushes.entry(shard).or_default();
        flushes.push(Flush { begun, fate: FlushFate::Open });
        flushes.len() - 1
    }

    /// Records the outcome of a FLUSHALL.
    pub fn finished(&mut self, shard: ShardId, which: usize, outcome: Outcome) {
        let now = self.moment();
        let Some(flush) = self.flushes.get_mut(&shard).and_then(|flushes| flushes.get_mut(which)) else { return };
        match outcome {
            // A read may have shown the effect before.
            Outcome::Acknowledged if flush.fate == FlushFate::Open => flush.fate = FlushFate::Done(now),
            Outcome::Refused => flush.fate = FlushFate::Refused,
            _ => {}
        }
    }

    /// Whether a register may be missing although this number of it was resolved. If a single FLUSHALL explains that,
    /// it has taken effect.
    pub fn may_be_flushed(&mut self, shard: ShardId, key: &str, resolved: u64) -> bool {
        let now = self.moment();
        let begun = self.writes.get(&(key.to_owned(), resolved)).map_or(0, |(begun, _)| *begun);
        let explains = |flush: &&mut Flush| match flush.fate {
            FlushFate::Open => true,
            FlushFate::Refused => false,
            FlushFate::Done(by) => by > begun,
        };
        let mut explaining: Vec<&mut Flush> =
            self.flushes.entry(shard).or_default().iter_mut().filter(explains).collect();
        if let [only] = explaining.as_mut_slice()
            && only.fate == FlushFate::Open
        {
            only.fate = FlushFate::Done(now);
        }
        !explaining.is_empty()
    }

    /// Whether a FLUSHALL took effect between the acknowledgement of a number and the start of a read.
    #[must_use]
    pub fn must_be_flushed(&self, shard: ShardId, key: &str, number: u64, read: Moment) -> bool {
        let Some((_, Some(ended))) = self.writes.get(&(key.to_owned(), number)) else { return false };
        let between = |flush: &Flush| flush.begun > *ended && matches!(flush.fate, FlushFate::Done(by) if by < read);
        self.flushes.get(&shard).is_some_and(|flushes| flushes.iter().any(between))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn with_a_write() -> Flushes {
        let mut flushes = Flushes::default();
        flushes.write_started("k", 1);
        flushes.write_acknowledged("k", 1);
        flushes
    }

    #[test]
    fn what_was_flushed_must_be_gone_and_what_was_not_must_be_there() {
        let mut flushes = with_a_write();
        assert!(!flushes.may_be_flushed(SHARD, "k", 1), "nobody has flushed");
        let flush = flushes.started(SHARD);
        flushes.finished(SHARD, flush, Outcome::Acknowledged);
        let read = flushes.moment();
        assert!(flushes.may_be_flushed(SHARD, "k", 1) && flushes.must_be_flushed(SHARD, "k", 1, read));
        assert!(!flushes.may_be_flushed(ShardId(2), "k", 1), "another shard's");
        flushes.write_started("k", 2);
        flushes.write_acknowledged("k", 2);
        let read = flushes.moment();
        assert!(!flushes.may_be_flushed(SHARD, "k", 2) && !flushes.must_be_flushed(SHARD, "k", 2, read));
    }

    #[test]
    fn one_of_unknown_outcome_may_have_been_and_once_seen_it_was() {
        let mut flushes = with_a_write();
        let flush = flushes.started(SHARD);
        flushes.finished(SHARD, flush, Outcome::Unknown);
        let read = flushes.moment();
        assert!(!flushes.must_be_flushed(SHARD, "k", 1, read), "nobody knows");
        assert!(flushes.may_be_flushed(SHARD, "k", 1));
        let read = flushes.moment();
        assert!(flushes.must_be_flushed(SHARD, "k", 1, read), "it was shown");
    }

    #[test]
    fn a_refused_one_explains_nothing_and_of_two_nobody_knows_which() {
        let mut flushes = with_a_write();
        let flush = flushes.started(SHARD);
        flushes.finished(SHARD, flush, Outcome::Refused);
        assert!(!flushes.may_be_flushed(SHARD, "k", 1));
        for _ in 0..2 {
            let flush = flushes.started(SHARD);
            flushes.finished(SHARD, flush, Outcome::Unknown);
        }
        assert!(flushes.may_be_flushed(SHARD, "k", 1));
        let read = flushes.moment();
        assert!(!flushes.must_be_flushed(SHARD, "k", 1, read));
    }
}
