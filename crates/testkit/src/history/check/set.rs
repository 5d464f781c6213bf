//! A set of at most 64 members. Adding and removing report whether they changed anything, so a member that occurs twice
//! or disappears gives an answer that fits no order.

use porcupine_rs::Model;

use super::linear::Checked;

/// Number of possible members: 0 to 63.
pub const MEMBERS: u32 = 64;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetOp {
    /// The members that were read, bit n for member n.
    Read(u64),
    /// Adds a member.
    Add {
        /// The member.
        member: u32,
        /// Whether the member was new; `None`: unknown.
        new: Option<bool>,
    },
    /// Removes a member.
    Remove {
        /// The member.
        member: u32,
        /// Whether the member existed; `None`: unknown.
        was: Option<bool>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Set;

impl Model for Set {
    type State = u64;
    type Op = SetOp;
    type Metadata = ();

    fn init() -> u64 {
        0
    }

    fn step(state: &u64, op: &SetOp) -> (bool, u64) {
        match op {
            SetOp::Read(members) => (members == state, *state),
            SetOp::Add { member, new } => {
                let bit = 1 << member;
                (new.is_none_or(|new| new == (state & bit == 0)), state | bit)
            }
            SetOp::Remove { member, was } => {
                let bit = 1 << member;
                (was.is_none_or(|was| was == (state & bit != 0)), state & !bit)
            }
        }
    }

    fn describe_operation(op: &SetOp) -> String {
        match op {
            SetOp::Read(members) => {
                let members: Vec<u32> = (0..MEMBERS).filter(|member| members >> member & 1 == 1).collect();
                format!("Read({members:?})")
            }
            other => format!("{other:?}"),
        }
    }
}

impl Checked for Set {
    const WORKLOAD: &'static str = "set";

    fn is_read(op: &SetOp) -> bool {
        matches!(op, SetOp::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::SetOp::{Add, Read, Remove};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    fn add(member: u32) -> SetOp {
        Add { member, new: Some(true) }
    }

    #[test]
    fn members_come_and_go() {
        let doubt = open(2, 5, Add { member: 1, new: None });
        let removed = at(1, 20, 30, Remove { member: 0, was: Some(true) });
        let begin = || [at(1, 0, 10, add(0)), doubt.clone(), removed.clone()];
        assert_eq!(kinds_of::<Set>(begin().into_iter().chain([at(3, 40, 50, Read(0b00))])), []);
        assert_eq!(kinds_of::<Set>(begin().into_iter().chain([at(3, 40, 50, Read(0b10))])), []);
        assert_eq!(kinds_of::<Set>(begin().into_iter().chain([at(3, 40, 50, Read(0b11))])), [Kind::Stale]);
    }

    #[test]
    fn a_lost_member_is_refuted() {
        assert_eq!(kinds_of::<Set>([at(1, 0, 10, add(3)), at(READER, 20, 30, Read(0))]), [Kind::Lost]);
        assert_eq!(kinds_of::<Set>([at(1, 0, 10, add(3)), at(2, 20, 30, add(3))]), [Kind::Order]);
    }

    #[test]
    fn a_member_that_was_refused_or_came_back_is_refuted() {
        assert_eq!(kinds_of::<Set>([at(1, 0, 10, add(3)), at(2, 20, 30, Read(0b1100))]), [Kind::Stale]);
        let removed = at(1, 20, 30, Remove { member: 3, was: Some(true) });
        assert_eq!(kinds_of::<Set>([at(1, 0, 10, add(3)), removed, at(READER, 40, 50, Read(0b1000))]), [Kind::Lost]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_set_has_answered_is_accepted_and_a_missing_member_is_not(places in places(120)) {
            let mut state = 0u64;
            let mut run = |choice: u64| {
                let (member, bit) = ((choice >> 8) as u32 % 60, 1u64 << ((choice >> 8) as u32 % 60));
                let op = match choice % 3 {
                    0 => Read(state),
                    1 => Add { member, new: Some(state & bit == 0) },
                    _ => Remove { member, was: Some(state & bit != 0) },
                };
                state = Set::step(&state, &op).1;
                op
            };
            let forget = |op: &SetOp| match op {
                Read(_) => None,
                Add { member, .. } => Some(Add { member: *member, new: None }),
                Remove { member, .. } => Some(Remove { member: *member, was: None }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            prop_assert_eq!(kinds::<Set>(&history), vec![]);
            history.ops.push(after_all(&history, add(63)));
            history.ops.push(after_all(&history, Read(state)));
            prop_assert_eq!(kinds::<Set>(&history), vec![Kind::Lost]);
        }
    }
}
