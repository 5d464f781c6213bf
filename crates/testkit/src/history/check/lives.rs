//! Lives of a key with deadlines. One client writes it (each value is unique in the run) and changes its deadline, all
//! clients read it. A life is the time between two writes.
//!
//! - A life that was seen to have ended (the key was missing, or had a later value) does not return.
//! - A key without a deadline does not expire; a key with a deadline does not expire before it, and is not visible
//!   after it. The clocks of clients and servers differ, so both rules have a slack; without one (where clocks are
//!   among the faults) deadlines are not compared with the clock.
//! - After an operation of unknown outcome the deadline of that life is unknown; the other rules still hold.

use std::time::Duration;

use super::{Findings, Kind};
use crate::history::record::{History, Op, Span};

/// The name in the verdict.
pub const WORKLOAD: &str = "ttl";

/// One operation; all operations except reads come from one client, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifeOp {
    /// Starts a life.
    Write {
        /// The value.
        value: u64,
        /// The time to live; `None`: for ever.
        ttl: Option<Duration>,
    },
    /// Sets a new deadline for an existing key.
    Expire {
        /// Time from now.
        ttl: Duration,
        /// Whether the key existed; `None`: unknown.
        hit: Option<bool>,
    },
    /// Removes the deadline.
    Persist {
        /// Whether the key existed with a deadline; `None`: unknown.
        hit: Option<bool>,
    },
    /// The value that was read; `None`: no key.
    Read(Option<u64>),
}

/// Checks one key.
pub fn check(history: &History<LifeOp>, slack: Option<Duration>, findings: &mut Findings) {
    let mut ops: Vec<&Op<LifeOp>> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.span.call);
    let mut lives = Lives { key: &history.key, slack: slack.map(|slack| slack.as_nanos() as u64), lives: lives(&ops) };
    for op in &ops {
        if lives.shows_death(op) {
            lives.check_death(op.span, findings);
            lives.note_death(op.span);
        } else if let LifeOp::Read(Some(value)) = op.what {
            lives.note_seen(value, op.span);
        }
    }
    lives.pass_on_ends();
    for op in &ops {
        if let LifeOp::Read(Some(value)) = op.what {
            lives.check_alive(value, op, findings);
        }
    }
    findings.ops_checked += ops.len() as u64;
}

/// A deadline that took effect at some moment within `set`.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    set: Span,
    /// Bounds of the deadline, nanoseconds; `None`: for ever.
    between: Option<(u64, u64)>,
}

impl Deadline {
    fn new(set: Span, ttl: Option<Duration>) -> Deadline {
        let end = set.end.unwrap_or(NEVER);
        let between = ttl.map(|ttl| {
            let ttl = ttl.as_nanos() as u64;
            (set.call.saturating_add(ttl), end.saturating_add(ttl))
        });
        Deadline { set, between }
    }
}

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Life {
    value: u64,
    written: Span,
    /// The first one is the deadline of the write.
    deadlines: Vec<Deadline>,
    /// The deadline is unknown from this moment on.
    vague_from: u64,
    /// The life was seen or acknowledged by this moment.
    seen: u64,
    /// No read that is sent after this moment may show the life.
    ended: u64,
}

/// Splits the operations, in order, into lives.
fn lives(ops: &[&Op<LifeOp>]) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for op in ops {
        if let LifeOp::Write { value, ttl } = op.what {
            let deadlines = vec![Deadline::new(op.span, ttl)];
            let vague_from = if op.span.end.is_some() { NEVER } else { op.span.call };
            let seen = op.span.end.unwrap_or(NEVER);
            lives.push(Life { value, written: op.span, deadlines, vague_from, seen, ended: NEVER });
        }
        let Some(life) = lives.last_mut() else { continue };
        match op.what {
            LifeOp::Expire { hit: None, .. } | LifeOp::Persist { hit: None } => {
                life.vague_from = life.vague_from.min(op.span.call);
            }
            LifeOp::Expire { ttl, hit: Some(true) } => life.deadlines.push(Deadline::new(op.span, Some(ttl))),
            LifeOp::Persist { hit: Some(true) } => life.deadlines.push(Deadline::new(op.span, None)),
            _ => {}
        }
    }
    lives
}

impl Life {
    /// The deadlines that may have been in force at some moment of `span`: set before its end, and not replaced before
    /// its start.
    fn in_force(&self, span: Span) -> impl Iterator<Item = &Deadline> {
        let end = span.end.unwrap_or(NEVER);
        let replaced = move |next: &Deadline| next.set.end.is_some_and(|replaced| replaced < span.call);
        self.deadlines.iter().enumerate().filter_map(move |(at, deadline)| {
            let in_force = deadline.set.call <= end && !self.deadlines.get(at + 1).is_some_and(replaced);
            in_force.then_some(deadline)
        })
    }

    fn may_have_died(&self, death: Span, slack: Option<u64>) -> bool {
        let end = death.end.unwrap_or(NEVER);
        self.vague_from <= end
            || self.in_force(death).any(|deadline| match (deadline.between, slack) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some((earliest, _)), Some(slack)) => earliest <= end.saturating_add(slack),
            })
    }

    fn may_live(&self, seen: Span, slack: Option<u64>) -> bool {
        let Some(slack) = slack else { return true };
        let latest = |deadline: &Deadline| deadline.between.map_or(NEVER, |(_, latest)| latest.saturating_add(slack));
        self.vague_from <= seen.end.unwrap_or(NEVER)
            || self.in_force(seen).any(|deadline| latest(deadline) >= seen.call)
    }

    fn is_written_before(&self, moment: u64) -> bool {
        self.written.end.is_some_and(|end| end < moment)
    }
}

struct Lives<'a> {
    key: &'a str,
    /// Slack, nanoseconds.
    slack: Option<u64>,
    lives: Vec<Life>,
}

impl Lives<'_> {
    /// Whether the answer to an operation shows that the key was missing.
    fn shows_death(&self, op: &Op<LifeOp>) -> bool {
        match op.what {
            LifeOp::Read(None) | LifeOp::Expire { hit: Some(false), .. } => true,
            // An existing key without a deadline gives the same answer.
            LifeOp::Persist { hit: Some(false) } => {
                let life = self.lives.iter().rfind(|life| life.written.call < op.span.call);
                life.is_some_and(|life| {
                    life.vague_from == NEVER && life.in_force(op.span).all(|deadline| deadline.between.is_some())
                })
            }
            _ => false,
        }
    }

    /// The lives that may have been the current one at some moment of `span`; empty if that may have been before the
    /// first one.
    fn during(&self, span: Span) -> std::ops::Range<usize> {
        let sent = self.lives.partition_point(|life| life.written.call <= span.end.unwrap_or(NEVER));
        let last_written = self.lives.iter().rposition(|life| life.is_written_before(span.call));
        last_written.map_or(0..0, |first| first..sent)
    }

    fn check_death(&self, death: Span, findings: &mut Findings) {
        let lives = &self.lives[self.during(death)];
        let Some(first) = lives.first() else { return };
        if !lives.iter().any(|life| life.may_have_died(death, self.slack)) {
            let forever = first.in_force(death).all(|deadline| deadline.between.is_none());
            let kind = if forever { Kind::Lost } else { Kind::Deadline };
            let what = format!("{} is missing at {death:?}, its deadlines are {:?}", first.value, first.deadlines);
            findings.broken(WORKLOAD, self.key, kind, what);
        }
    }

    fn note_death(&mut self, death: Span) {
        let during = self.during(death);
        if let (Some(end), false) = (death.end, during.is_empty()) {
            let life = &mut self.lives[during.start];
            life.ended = life.ended.min(end);
        }
    }

    fn note_seen(&mut self, value: u64, seen: Span) {
        if let (Some(end), Some(life)) = (seen.end, self.lives.iter_mut().find(|life| life.value == value)) {
            life.seen = life.seen.min(end);
        }
    }

    /// Marks lives as ended when a later one has started or ended.
    fn pass_on_ends(&mut self) {
        let mut later = NEVER;
        for life in self.lives.iter_mut().rev() {
            life.ended = life.ended.min(later);
            later = life.ended.min(life.seen);
        }
    }

    fn check_alive(&self, value: u64, op: &Op<LifeOp>, findings: &mut Findings) {
        let mut broken = |kind, what: String| {
            let what = format!("client {} read {value} at {:?}: {what}", op.client, op.span);
            findings.broken(WORKLOAD, self.key, kind, what);
        };
        let Some(life) = self.lives.iter().find(|life| life.value == value) else {
            return broken(Kind::Phantom, "refused or never written".to_owned());
        };
        if life.written.call > op.span.end.unwrap_or(NEVER) {
            broken(Kind::Phantom, "before it was written".to_owned());
        } else if life.ended < op.span.call {
            broken(Kind::Stale, format!("it was seen to have ended by {}", life.ended));
        } else if !life.may_live(op.span, self.slack) {
            broken(Kind::Deadline, format!("past its deadlines {:?}", life.deadlines));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LifeOp::{Expire, Persist, Read, Write};
    use super::*;
    use crate::history::check::sample::{at, open};
    use crate::history::run::READER;

    const SLACK: Option<Duration> = Some(Duration::from_nanos(5));

    fn kinds_with(slack: Option<Duration>, ops: impl IntoIterator<Item = Op<LifeOp>>) -> Vec<Kind> {
        let mut findings = Findings::default();
        check(&History::of(ops), slack, &mut findings);
        findings.kinds()
    }

    fn kinds(ops: impl IntoIterator<Item = Op<LifeOp>>) -> Vec<Kind> {
        kinds_with(SLACK, ops)
    }

    fn write(value: u64, ttl: u64) -> LifeOp {
        Write { value, ttl: (ttl > 0).then(|| Duration::from_nanos(ttl)) }
    }

    fn expire(ttl: u64, hit: Option<bool>) -> LifeOp {
        Expire { ttl: Duration::from_nanos(ttl), hit }
    }

    #[test]
    fn a_key_dies_at_its_deadline() {
        let life = |read, call| kinds([at(1, 0, 10, write(1, 100)), at(2, call, call + 2, Read(read))]);
        assert_eq!(life(Some(1), 50), []);
        assert_eq!(life(None, 50), [Kind::Deadline]);
        assert_eq!(life(None, 92), [Kind::Deadline]);
        assert_eq!(life(None, 93), []);
        assert_eq!(life(Some(1), 115), []);
        assert_eq!(life(Some(1), 116), [Kind::Deadline]);
        assert_eq!(life(None, 200), []);
        let without_clocks =
            |read, call| kinds_with(None, [at(1, 0, 10, write(1, 100)), at(2, call, call + 2, Read(read))]);
        assert_eq!(without_clocks(None, 50), []);
        assert_eq!(without_clocks(Some(1), 900), []);
    }

    #[test]
    fn what_has_no_deadline_does_not_die() {
        assert_eq!(kinds([at(1, 0, 10, write(1, 0)), at(READER, 1000, 1010, Read(None))]), [Kind::Lost]);
        assert_eq!(kinds([at(1, 0, 10, write(1, 0)), at(2, 20, 30, expire(9, Some(false)))]), [Kind::Lost]);
        let kept = |then| {
            let persist = at(1, 20, 30, Persist { hit: Some(true) });
            kinds_with(None, [at(1, 0, 10, write(1, 100)), persist, then])
        };
        assert_eq!(kept(at(2, 500, 510, Read(Some(1)))), []);
        assert_eq!(kept(at(2, 500, 510, Read(None))), [Kind::Lost]);
        assert_eq!(kept(at(1, 500, 510, Persist { hit: Some(false) })), []);
    }

    #[test]
    fn a_deadline_can_be_moved() {
        let moved = |call, read| {
            let later = at(1, 20, 30, expire(300, Some(true)));
            kinds([at(1, 0, 10, write(1, 100)), later, at(2, call, call + 2, Read(read))])
        };
        assert_eq!(moved(150, Some(1)), []);
        assert_eq!(moved(150, None), [Kind::Deadline]);
        assert_eq!(moved(350, None), []);
        assert_eq!(moved(350, Some(1)), [Kind::Deadline]);
        let doubt = |call, read| {
            let later = open(1, 20, expire(300, None));
            kinds([at(1, 0, 10, write(1, 100)), later, at(2, call, call + 2, Read(read))])
        };
        assert_eq!(doubt(150, None), []);
        assert_eq!(doubt(150, Some(1)), []);
        assert_eq!(doubt(12, None), [Kind::Deadline]);
    }

    #[test]
    fn nothing_comes_back_to_life() {
        let dead = at(2, 120, 130, Read(None));
        let begin = || [at(1, 0, 10, write(1, 100)), dead.clone()];
        assert_eq!(kinds(begin().into_iter().chain([at(3, 125, 140, Read(Some(1)))])), [Kind::Deadline]);
        assert_eq!(kinds_with(None, begin().into_iter().chain([at(3, 125, 140, Read(Some(1)))])), []);
        assert_eq!(kinds_with(None, begin().into_iter().chain([at(3, 131, 140, Read(Some(1)))])), [Kind::Stale]);
        let persist = at(1, 120, 130, Persist { hit: Some(false) });
        let back = [at(1, 0, 10, write(1, 100)), persist, at(3, 131, 140, Read(Some(1)))];
        assert_eq!(kinds_with(None, back), [Kind::Stale]);
    }

    #[test]
    fn an_overwritten_or_refused_value_is_refuted() {
        let two = || [at(1, 0, 10, write(1, 0)), at(1, 20, 30, write(2, 0))];
        assert_eq!(kinds(two().into_iter().chain([at(2, 25, 40, Read(Some(1)))])), []);
        assert_eq!(kinds(two().into_iter().chain([at(2, 31, 40, Read(Some(1)))])), [Kind::Stale]);
        assert_eq!(kinds(two().into_iter().chain([at(2, 31, 40, Read(Some(9)))])), [Kind::Phantom]);
        assert_eq!(kinds([at(2, 0, 5, Read(Some(1))), at(1, 10, 20, write(1, 0))]), [Kind::Phantom]);
        // The second write is seen before it is acknowledged.
        let seen = [at(2, 22, 24, Read(Some(2))), at(3, 25, 26, Read(Some(1)))];
        assert_eq!(kinds(two().into_iter().chain(seen)), [Kind::Stale]);
        let doubt = [at(1, 0, 10, write(1, 0)), open(1, 20, write(2, 0)), at(2, 30, 40, Read(Some(1)))];
        assert_eq!(kinds(doubt.into_iter().chain([at(2, 50, 60, Read(Some(2)))])), []);
    }

    proptest! {
        #[test]
        fn what_a_key_has_answered_is_accepted_and_a_resurrection_is_not(
            steps in prop::collection::vec((0..5u8, 1..20u64, 0..4u64, 0..4u64), 1..200),
        ) {
            let (mut now, mut value, mut alive, mut deadline) = (0, 0, false, None);
            let mut ops = Vec::new();
            for (what, rest, before, after) in steps {
                now += 10 + rest;
                alive = alive && deadline.is_none_or(|deadline| now < deadline);
                let what = match what {
                    0 => {
                        (value, alive, deadline) = (value + 1, true, (rest > 5).then_some(now + 4 * rest));
                        write(value, if rest > 5 { 4 * rest } else { 0 })
                    }
                    1 => {
                        deadline = if alive { Some(now + 60) } else { deadline };
                        expire(60, Some(alive))
                    }
                    2 => {
                        let hit = alive && deadline.is_some();
                        deadline = deadline.filter(|_| !hit);
                        Persist { hit: Some(hit) }
                    }
                    _ => Read(alive.then_some(value)),
                };
                // Only reads overlap the owner's operations.
                let client = if matches!(what, Read(_)) { 2 } else { 1 };
                ops.push(at(client, now - before, now + after, what));
            }
            prop_assert_eq!(kinds(ops.clone()), vec![]);
            if value > 0 {
                let later = now + 1000;
                ops.push(at(1, later, later + 1, write(value + 1, 10)));
                ops.push(at(2, later + 50, later + 51, Read(None)));
                ops.push(at(2, later + 60, later + 61, Read(Some(value + 1))));
                prop_assert_eq!(kinds_with(None, ops), vec![Kind::Stale]);
            }
        }
    }
}
