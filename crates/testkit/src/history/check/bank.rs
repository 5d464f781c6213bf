//! Accounts with transfers between them, all within transactions: the sum over all accounts is 0 in every transaction
//! that reads all of them.

use porcupine_rs::Model;

use super::linear::{self, Checked};
use super::{Findings, Kind};
use crate::history::record::History;

/// Number of accounts.
pub const ACCOUNTS: usize = 6;

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BankOp {
    /// All balances.
    Read(Vec<i64>),
    /// A transfer from one account to another.
    Transfer {
        /// Index of the paying account.
        from: usize,
        /// Index of the paid account.
        to: usize,
        /// How much.
        amount: i64,
        /// The two balances afterwards; `None`: unknown.
        balances: Option<(i64, i64)>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Bank;

impl Model for Bank {
    type State = [i64; ACCOUNTS];
    type Op = BankOp;
    type Metadata = ();

    fn init() -> Self::State {
        [0; ACCOUNTS]
    }

    fn step(state: &Self::State, op: &BankOp) -> (bool, Self::State) {
        match op {
            BankOp::Read(balances) => (balances.as_slice() == state, *state),
            BankOp::Transfer { from, to, amount, balances } => {
                let mut new = *state;
                new[*from] -= amount;
                new[*to] += amount;
                (balances.is_none_or(|balances| balances == (new[*from], new[*to])), new)
            }
        }
    }
}

impl Checked for Bank {
    const WORKLOAD: &'static str = "bank";

    fn is_read(op: &BankOp) -> bool {
        matches!(op, BankOp::Read(_))
    }
}

/// Checks one bank: the sums, which need no search, and the order.
pub fn check(history: &History<BankOp>, findings: &mut Findings) {
    for op in &history.ops {
        let BankOp::Read(balances) = &op.what else { continue };
        let sum: i64 = balances.iter().sum();
        if sum != 0 {
            let what = format!("client {} read {balances:?}, the sum is {sum}", op.client);
            findings.broken(Bank::WORKLOAD, &history.key, Kind::Torn, what);
        }
    }
    linear::check::<Bank>(history, findings);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::BankOp::{Read, Transfer};
    use super::*;
    use crate::history::check::sample::{after_all, at, good, open, places};
    use crate::history::record::Op;
    use crate::history::run::READER;

    fn kinds(history: &History<BankOp>) -> Vec<Kind> {
        let mut findings = Findings::default();
        check(history, &mut findings);
        findings.kinds()
    }

    fn of(ops: impl IntoIterator<Item = Op<BankOp>>) -> Vec<Kind> {
        kinds(&History::of(ops))
    }

    fn first(balances: Option<(i64, i64)>) -> BankOp {
        Transfer { from: 0, to: 1, amount: 5, balances }
    }

    fn read(a: i64, b: i64) -> BankOp {
        Read(vec![a, b, 0, 0, 0, 0])
    }

    #[test]
    fn a_transfer_is_seen_whole_or_not_at_all() {
        assert_eq!(of([at(1, 0, 10, first(Some((-5, 5)))), at(2, 5, 8, read(0, 0)), at(2, 20, 30, read(-5, 5))]), []);
        assert_eq!(of([open(1, 0, first(None)), at(2, 5, 8, read(0, 0)), at(2, 20, 30, read(-5, 5))]), []);
        let torn = of([at(1, 0, 10, first(Some((-5, 5)))), at(2, 5, 8, read(-5, 0))]);
        assert_eq!(torn, [Kind::Stale, Kind::Torn]);
    }

    #[test]
    fn a_transfer_that_is_lost_or_applied_twice_is_refuted() {
        assert_eq!(of([at(1, 0, 10, first(Some((-5, 5)))), at(READER, 20, 30, read(0, 0))]), [Kind::Lost]);
        assert_eq!(of([at(1, 0, 10, first(Some((-10, 10))))]), [Kind::Order]);
        assert_eq!(of([open(1, 0, first(None)), at(2, 20, 30, read(-10, 10))]), [Kind::Stale]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_a_bank_has_answered_is_accepted_and_a_lost_transfer_is_not(places in places(100)) {
            let mut state = Bank::init();
            let mut run = |choice: u64| {
                if choice.is_multiple_of(3) {
                    return Read(state.to_vec());
                }
                let (from, amount) = ((choice >> 8) as usize % ACCOUNTS, (choice >> 16) as i64 % 100);
                let to = (from + 1 + (choice >> 32) as usize % (ACCOUNTS - 1)) % ACCOUNTS;
                state[from] -= amount;
                state[to] += amount;
                Transfer { from, to, amount, balances: Some((state[from], state[to])) }
            };
            let forget = |op: &BankOp| match op {
                Read(_) => None,
                Transfer { from, to, amount, .. } =>
                    Some(Transfer { from: *from, to: *to, amount: *amount, balances: None }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            prop_assert_eq!(kinds(&history), vec![]);
            let balances = Some((state[0] - 1000, state[1] + 1000));
            history.ops.push(after_all(&history, Transfer { from: 0, to: 1, amount: 1000, balances }));
            history.ops.push(after_all(&history, Read(state.to_vec())));
            prop_assert_eq!(kinds(&history), vec![Kind::Lost]);
        }
    }
}
