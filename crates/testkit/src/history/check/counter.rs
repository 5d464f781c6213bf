//! A counter with increments. Every answer contains the resulting sum, so an attempt that was applied twice, or that
//! was applied although it was refused, fits no order. An attempt of unknown outcome is applied at most once; a retry
//! is a second attempt.

use porcupine_rs::Model;

use super::linear::Checked;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterOp {
    /// The value that was read.
    Read(i64),
    /// An increment.
    Add {
        /// The amount.
        by: i64,
        /// The resulting value; `None`: unknown.
        sum: Option<i64>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Counter;

impl Model for Counter {
    type State = i64;
    type Op = CounterOp;
    type Metadata = ();

    fn init() -> i64 {
        0
    }

    fn step(state: &i64, op: &CounterOp) -> (bool, i64) {
        match op {
            CounterOp::Read(sum) => (sum == state, *state),
            CounterOp::Add { by, sum } => {
                let new = state + by;
                (sum.is_none_or(|sum| sum == new), new)
            }
        }
    }
}

impl Checked for Counter {
    const WORKLOAD: &'static str = "counter";

    fn is_read(op: &CounterOp) -> bool {
        matches!(op, CounterOp::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CounterOp::{Add, Read};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    fn raised(sum: i64) -> CounterOp {
        Add { by: 1, sum: Some(sum) }
    }

    #[test]
    fn an_attempt_counts_once_or_not_at_all() {
        let doubt = || [at(1, 0, 10, raised(1)), open(2, 20, Add { by: 1, sum: None })];
        assert_eq!(kinds_of::<Counter>(doubt().into_iter().chain([at(1, 30, 40, raised(2))])), []);
        assert_eq!(kinds_of::<Counter>(doubt().into_iter().chain([at(1, 30, 40, raised(3))])), []);
        assert_eq!(kinds_of::<Counter>(doubt().into_iter().chain([at(1, 30, 40, raised(4))])), [Kind::Order]);
    }

    #[test]
    fn a_raise_that_was_applied_twice_is_refuted() {
        assert_eq!(kinds_of::<Counter>([at(1, 0, 10, raised(1)), at(1, 20, 30, raised(3))]), [Kind::Order]);
        assert_eq!(kinds_of::<Counter>([at(1, 0, 10, raised(1)), at(READER, 20, 30, Read(2))]), [Kind::Lost]);
    }

    #[test]
    fn a_lost_raise_and_a_stale_read_are_refuted() {
        assert_eq!(kinds_of::<Counter>([at(1, 0, 10, raised(1)), at(2, 20, 30, raised(1))]), [Kind::Order]);
        let ops = [at(1, 0, 10, raised(1)), at(2, 20, 30, raised(2)), at(3, 40, 50, Read(1))];
        assert_eq!(kinds_of::<Counter>(ops), [Kind::Stale]);
        assert_eq!(kinds_of::<Counter>([at(1, 0, 10, raised(1)), at(READER, 40, 50, Read(0))]), [Kind::Lost]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_counter_has_answered_is_accepted_and_a_lost_raise_is_not(places in places(120)) {
            let mut state = 0;
            let mut run = |choice: u64| {
                if choice.is_multiple_of(3) {
                    return Read(state);
                }
                let by = (choice % 7) as i64;
                state += by;
                Add { by, sum: Some(state) }
            };
            let forget = |op: &CounterOp| match op {
                Read(_) => None,
                Add { by, .. } => Some(Add { by: *by, sum: None }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            history.ops.push(after_all(&history, Read(state)));
            prop_assert_eq!(kinds::<Counter>(&history), vec![]);
            history.ops.push(after_all(&history, Add { by: 1, sum: Some(state + 1) }));
            history.ops.push(after_all(&history, Read(state)));
            prop_assert_eq!(kinds::<Counter>(&history), vec![Kind::Lost]);
        }
    }
}
