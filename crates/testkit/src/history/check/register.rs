//! A register with compare-and-set. Values are unique in a run, so a read of a refused value fits no order.

use porcupine_rs::Model;

use super::linear::Checked;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterOp {
    /// The value that was read; `None`: nothing.
    Read(Option<u64>),
    /// An unconditional write.
    Write(u64),
    /// A write on the condition that the register holds `expected`.
    Swap {
        /// The expected value; `None`: nothing.
        expected: Option<u64>,
        /// The new value.
        new: u64,
        /// Whether it was written; `None`: unknown.
        done: Option<bool>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = RegisterOp;
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, op: &RegisterOp) -> (bool, Self::State) {
        match op {
            RegisterOp::Read(value) => (value == state, *state),
            RegisterOp::Write(value) => (true, Some(*value)),
            RegisterOp::Swap { expected, new, done } => {
                let holds = expected == state;
                (done.is_none_or(|done| done == holds), if holds { Some(*new) } else { *state })
            }
        }
    }
}

impl Checked for Register {
    const WORKLOAD: &'static str = "register";

    fn is_read(op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RegisterOp::{Read, Swap, Write};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    #[test]
    fn overlapping_operations_may_be_in_any_order() {
        let swap = Swap { expected: Some(1), new: 2, done: Some(true) };
        assert_eq!(
            kinds_of::<Register>([at(1, 0, 10, Write(1)), at(2, 5, 30, swap), at(3, 12, 20, Read(Some(1)))]),
            []
        );
        assert_eq!(
            kinds_of::<Register>([at(1, 0, 10, Read(None)), at(2, 5, 30, Write(2)), at(3, 6, 8, Read(Some(2)))]),
            []
        );
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never() {
        let begin = || [at(1, 0, 10, Write(1)), open(2, 20, Write(2))];
        assert_eq!(
            kinds_of::<Register>(
                begin().into_iter().chain([at(3, 30, 40, Read(Some(1))), at(3, 50, 60, Read(Some(2)))])
            ),
            []
        );
        assert_eq!(kinds_of::<Register>(begin().into_iter().chain([at(READER, 30, 40, Read(Some(1)))])), []);
        let back = [at(3, 30, 40, Read(Some(2))), at(3, 50, 60, Read(Some(1)))];
        assert_eq!(kinds_of::<Register>(begin().into_iter().chain(back)), [Kind::Stale]);
    }

    #[test]
    fn a_stale_read_is_refuted() {
        let ops = [at(1, 0, 10, Write(1)), at(1, 20, 30, Write(2)), at(2, 40, 50, Read(Some(1)))];
        assert_eq!(kinds_of::<Register>(ops), [Kind::Stale]);
    }

    #[test]
    fn a_write_that_is_gone_after_the_run_is_lost() {
        let ops = [at(1, 0, 10, Write(1)), at(1, 20, 30, Write(2)), at(READER, 40, 50, Read(Some(1)))];
        assert_eq!(kinds_of::<Register>(ops), [Kind::Lost]);
        assert_eq!(kinds_of::<Register>([at(1, 0, 10, Write(1)), at(READER, 40, 50, Read(None))]), [Kind::Lost]);
    }

    #[test]
    fn a_value_that_was_refused_must_not_be_read() {
        // The refused write of 9 is not in the history.
        assert_eq!(kinds_of::<Register>([at(1, 0, 10, Write(1)), at(2, 20, 30, Read(Some(9)))]), [Kind::Stale]);
    }

    #[test]
    fn two_swaps_of_one_value_are_refuted() {
        let swap = |client, new| Swap { expected: Some(1), new, done: Some(client > 0) };
        let ops = [at(1, 0, 10, Write(1)), at(1, 20, 40, swap(1, 2)), at(2, 20, 40, swap(2, 3))];
        assert_eq!(kinds_of::<Register>(ops), [Kind::Order]);
        let failed = Swap { expected: Some(1), new: 2, done: Some(false) };
        assert_eq!(kinds_of::<Register>([at(1, 0, 10, Write(1)), at(1, 20, 40, failed)]), [Kind::Order]);
    }

    fn run(state: &mut Option<u64>, choice: u64, new: u64) -> RegisterOp {
        let op = match choice % 3 {
            0 => Read(*state),
            1 => Write(new),
            _ => {
                let expected = if choice.is_multiple_of(2) { *state } else { Some(choice) };
                Swap { expected, new, done: Some(expected == *state) }
            }
        };
        *state = Register::step(state, &op).1;
        op
    }

    fn forget(op: &RegisterOp) -> Option<RegisterOp> {
        match op {
            Read(_) => None,
            Write(_) => Some(op.clone()),
            Swap { expected, new, .. } => Some(Swap { expected: *expected, new: *new, done: None }),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_register_has_answered_is_accepted_and_a_lost_end_is_not(places in places(120)) {
            let (mut state, mut new) = (None, 0);
            let mut history = good(&places, |place| { new += 1; run(&mut state, place.choice, new) }, forget);
            history.ops.push(after_all(&history, Read(state)));
            prop_assert_eq!(kinds::<Register>(&history), vec![]);

            // Nothing removes a value, not even a write that may still take effect.
            history.ops.push(after_all(&history, Write(new + 1)));
            history.ops.push(after_all(&history, Read(None)));
            prop_assert_eq!(kinds::<Register>(&history), vec![Kind::Lost]);
        }
    }
}
