//! Two registers that are watched together: a transaction that ran proves that neither of them was written after it was
//! read, even if the transaction writes only one of them.

use porcupine_rs::Model;

use super::linear::Checked;

/// The values of the two registers.
pub type Both = [Option<u64>; 2];

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairOp {
    /// A read of both in one transaction.
    Read(Both),
    /// An unconditional write of one of them.
    Write {
        /// Index of the register, 0 or 1.
        which: usize,
        /// The new value.
        new: u64,
    },
    /// WATCH of both, a read of both, and a transaction that ran.
    Watched {
        /// The values that were read.
        seen: Both,
        /// Index of the register that the transaction wrote.
        which: usize,
        /// The new value.
        new: u64,
        /// Whether the transaction is known to have run.
        known: bool,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Pair;

impl Model for Pair {
    type State = Both;
    type Op = PairOp;
    type Metadata = ();

    fn init() -> Both {
        [None; 2]
    }

    fn step(state: &Both, op: &PairOp) -> (bool, Both) {
        let with = |which: usize, new| {
            let mut both = *state;
            both[which] = Some(new);
            both
        };
        match op {
            PairOp::Read(both) => (both == state, *state),
            PairOp::Write { which, new } => (true, with(*which, *new)),
            PairOp::Watched { seen, which, new, known } => {
                let unchanged = seen == state;
                (unchanged || !known, if unchanged { with(*which, *new) } else { *state })
            }
        }
    }
}

impl Checked for Pair {
    const WORKLOAD: &'static str = "watch";

    fn is_read(op: &PairOp) -> bool {
        matches!(op, PairOp::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PairOp::{Read, Watched, Write};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    fn ran(seen: Both, which: usize, new: u64) -> PairOp {
        Watched { seen, which, new, known: true }
    }

    #[test]
    fn a_transaction_runs_on_what_it_saw() {
        let ops = [at(1, 0, 10, Write { which: 0, new: 1 }), at(2, 20, 30, ran([Some(1), None], 1, 2))];
        assert_eq!(kinds_of::<Pair>(ops.into_iter().chain([at(READER, 40, 50, Read([Some(1), Some(2)]))])), []);
    }

    #[test]
    fn one_that_ran_though_its_key_had_changed_is_refuted() {
        let write = |new, call| at(1, call, call + 10, Write { which: 0, new });
        assert_eq!(
            kinds_of::<Pair>([write(1, 0), write(2, 20), at(2, 40, 50, ran([Some(1), None], 0, 3))]),
            [Kind::Order]
        );
        // The register that had changed is the one that the transaction does not write.
        assert_eq!(
            kinds_of::<Pair>([write(1, 0), write(2, 20), at(2, 40, 50, ran([Some(1), None], 1, 3))]),
            [Kind::Order]
        );
    }

    #[test]
    fn two_that_ran_on_the_same_are_refuted() {
        let (one, other) = (ran([None, None], 0, 1), ran([None, None], 1, 2));
        assert_eq!(kinds_of::<Pair>([at(1, 0, 30, one.clone()), at(2, 0, 30, other)]), [Kind::Order]);
        let doubt = open(2, 0, Watched { seen: [None, None], which: 1, new: 2, known: false });
        assert_eq!(kinds_of::<Pair>([at(1, 0, 30, one), doubt, at(READER, 50, 60, Read([Some(1), None]))]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_pair_has_answered_is_accepted_and_a_lost_write_is_not(places in places(120)) {
            let (mut state, mut new) = (Pair::init(), 0);
            let mut run = |choice: u64| {
                new += 1;
                let which = (choice >> 8) as usize % 2;
                let op = match choice % 3 {
                    0 => Read(state),
                    1 => Write { which, new },
                    _ => ran(state, which, new),
                };
                state = Pair::step(&state, &op).1;
                op
            };
            let forget = |op: &PairOp| match op {
                Read(_) => None,
                Write { .. } => Some(op.clone()),
                Watched { seen, which, new, .. } =>
                    Some(Watched { seen: *seen, which: *which, new: *new, known: false }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            prop_assert_eq!(kinds::<Pair>(&history), vec![]);
            // Nothing removes a value, not even a write that may still take effect.
            history.ops.push(after_all(&history, Write { which: 0, new: 9999 }));
            history.ops.push(after_all(&history, Read([None, state[1]])));
            prop_assert_eq!(kinds::<Pair>(&history), vec![Kind::Lost]);
        }
    }
}
