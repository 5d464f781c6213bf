//! Reads at one copy of the data. Each shows a state that the log had at some position, and on one connection that
//! position never goes back, over all keys together. That is sequential consistency of each copy, without a promise how
//! far the copy lags.
//!
//! One client writes, one write after the other, so a state is identified by the number of writes in it.

use std::collections::HashMap;

use super::{Findings, Kind};
use crate::history::record::{History, Op};
use crate::history::run::READER;

/// The name in the verdict.
pub const WORKLOAD: &str = "copies";

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOp {
    /// A write of the only writer; values rise.
    Write {
        /// Index of the key.
        key: usize,
        /// The value.
        value: u64,
    },
    /// A read at one copy.
    Read {
        /// Name of the copy, for people.
        copy: String,
        /// Number of the connection, unique in the run.
        connection: u64,
        /// Index of the key.
        key: usize,
        /// The value that was read.
        value: Option<u64>,
    },
}

/// Checks one group of keys.
pub fn check(history: &History<CopyOp>, findings: &mut Findings) {
    let mut ops: Vec<&Op<CopyOp>> = history.ops.iter().collect();
    ops.sort_by_key(|op| op.span.call);
    let states = States::of(&ops);
    let mut reached: HashMap<u64, usize> = HashMap::new();
    for op in &ops {
        let CopyOp::Read { copy, connection, key, value } = &op.what else { continue };
        let mut broken = |kind, what: String| {
            let what = format!("client {} read {value:?} from key {key} at {copy}: {what}", op.client);
            findings.broken(WORKLOAD, &history.key, kind, what);
        };
        let Some((earliest, latest)) = states.with(*key, *value, op.span.end) else {
            broken(Kind::Phantom, "refused, or not written by then".to_owned());
            continue;
        };
        let reached = reached.entry(*connection).or_default();
        if latest < *reached {
            broken(Kind::Stale, format!("this connection had seen write {reached}, which is later"));
        }
        if op.client == READER && latest < states.acknowledged {
            broken(Kind::Lost, format!("{} writes were acknowledged before", states.acknowledged));
        }
        *reached = earliest.max(*reached);
    }
    findings.ops_checked += ops.len() as u64;
}

/// The states that the writes produce: state n is the one after n writes.
struct States {
    /// By key: the state that each write produces, its value, and when it was sent.
    writes: HashMap<usize, Vec<(usize, u64, u64)>>,
    /// The state that the last acknowledged write produces.
    acknowledged: usize,
}

impl States {
    fn of(ops: &[&Op<CopyOp>]) -> States {
        let mut states = States { writes: HashMap::new(), acknowledged: 0 };
        let mut state = 0;
        for op in ops {
            let CopyOp::Write { key, value } = op.what else { continue };
            state += 1;
            states.writes.entry(key).or_default().push((state, value, op.span.call));
            if op.span.end.is_some() {
                states.acknowledged = state;
            }
        }
        states
    }

    /// The first and the last state in which a key has a value; `None`: there is no such state by `end`.
    fn with(&self, key: usize, value: Option<u64>, end: Option<u64>) -> Option<(usize, usize)> {
        let writes = self.writes.get(&key).map_or(&[][..], Vec::as_slice);
        let (first, next) = match value {
            None => (0, 0),
            Some(value) => {
                let at = writes.binary_search_by_key(&value, |write| write.1).ok()?;
                let (state, _, sent) = writes[at];
                if end.is_some_and(|end| end < sent) {
                    return None;
                }
                (state, at + 1)
            }
        };
        Some((first, writes.get(next).map_or(usize::MAX, |(state, ..)| state - 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::check::sample::{at, open};

    fn kinds(ops: impl IntoIterator<Item = Op<CopyOp>>) -> Vec<Kind> {
        let mut findings = Findings::default();
        check(&History::of(ops), &mut findings);
        findings.kinds()
    }

    fn write(key: usize, value: u64) -> CopyOp {
        CopyOp::Write { key, value }
    }

    fn read(connection: u64, key: usize, value: Option<u64>) -> CopyOp {
        CopyOp::Read { copy: "b:7".into(), connection, key, value }
    }

    /// 1 and 3 to key 0, 2 to key 1; then what is given, over and over by the next client.
    fn with(reads: impl IntoIterator<Item = CopyOp>) -> Vec<Kind> {
        let writes = [at(1, 0, 10, write(0, 1)), at(1, 20, 30, write(1, 2)), at(1, 40, 50, write(0, 3))];
        let reads = reads.into_iter().zip(6..).map(|(read, n)| at(2, 10 * n, 10 * n + 5, read));
        kinds(writes.into_iter().chain(reads))
    }

    #[test]
    fn a_copy_may_be_behind_but_not_go_back() {
        assert_eq!(with([read(1, 0, None), read(1, 0, Some(1)), read(1, 1, Some(2)), read(1, 0, Some(3))]), []);
        assert_eq!(with([read(1, 0, Some(3)), read(1, 0, Some(1))]), [Kind::Stale]);
        assert_eq!(with([read(1, 0, Some(1)), read(1, 0, None)]), [Kind::Stale]);
        // Another connection may be at a copy that is further behind.
        assert_eq!(with([read(1, 0, Some(3)), read(2, 0, Some(1))]), []);
    }

    #[test]
    fn a_copy_shows_writes_in_their_order_over_all_keys() {
        assert_eq!(with([read(1, 1, Some(2)), read(1, 0, Some(1))]), []);
        assert_eq!(with([read(1, 1, Some(2)), read(1, 0, None)]), [Kind::Stale]);
        assert_eq!(with([read(1, 0, Some(3)), read(1, 1, None)]), [Kind::Stale]);
    }

    #[test]
    fn what_was_refused_or_is_not_written_yet_is_refuted() {
        assert_eq!(with([read(1, 0, Some(9))]), [Kind::Phantom]);
        assert_eq!(with([read(1, 1, Some(1))]), [Kind::Phantom]);
        assert_eq!(kinds([at(2, 0, 5, read(1, 0, Some(1))), at(1, 10, 20, write(0, 1))]), [Kind::Phantom]);
    }

    #[test]
    fn what_was_acknowledged_is_there_after_the_run() {
        let last = |value| at(READER, 30, 40, read(1, 0, value));
        assert_eq!(kinds([at(1, 0, 10, write(0, 1)), last(Some(1))]), []);
        assert_eq!(kinds([at(1, 0, 10, write(0, 1)), last(None)]), [Kind::Lost]);
        let doubt = || [at(1, 0, 10, write(0, 1)), open(1, 20, write(0, 2))];
        assert_eq!(kinds(doubt().into_iter().chain([last(Some(1))])), []);
        assert_eq!(kinds(doubt().into_iter().chain([last(Some(2))])), []);
    }

    proptest! {
        #[test]
        fn a_copy_that_follows_is_accepted_and_a_step_back_is_not(
            steps in prop::collection::vec((any::<bool>(), 0..3usize, 0..5usize), 1..300),
        ) {
            let mut ops = Vec::new();
            let mut states = vec![[None; 3]];
            let mut positions = [0, 0];
            for (n, (writes, key, forward)) in steps.into_iter().enumerate() {
                let (call, end) = (10 * n as u64, 10 * n as u64 + 5);
                if writes {
                    let mut state = *states.last().unwrap();
                    state[key] = Some(n as u64);
                    states.push(state);
                    ops.push(at(1, call, end, write(key, n as u64)));
                } else {
                    let copy = n % 2;
                    positions[copy] = (positions[copy] + forward).min(states.len() - 1);
                    ops.push(at(2, call, end, read(copy as u64, key, states[positions[copy]][key])));
                }
            }
            prop_assert_eq!(kinds(ops.clone()), vec![]);
            let later = 10_000;
            for (n, what) in [write(0, 9998), write(1, 9999), read(0, 1, Some(9999)), read(0, 0, states[0][0])]
                .into_iter()
                .enumerate()
            {
                ops.push(at(1, later + 10 * n as u64, later + 10 * n as u64 + 5, what));
            }
            prop_assert_eq!(kinds(ops), vec![Kind::Stale]);
        }
    }
}
