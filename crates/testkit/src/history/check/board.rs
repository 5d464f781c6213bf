//! A leaderboard: a few members with scores, in the order of scores and, among equal ones, of names.

use porcupine_rs::Model;

use super::linear::Checked;

/// Number of possible members; a member's name has one digit.
pub const MEMBERS: usize = 6;

/// A member with its score.
pub type Scored = (usize, i64);

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardOp {
    /// All members in their order.
    Read(Vec<Scored>),
    /// The rank of a member, from 0; `None`: it is not there.
    Rank {
        /// The member.
        member: usize,
        /// Its rank.
        rank: Option<i64>,
    },
    /// Adds to a member's score, that of a new one being 0.
    Raise {
        /// The member.
        member: usize,
        /// The amount.
        by: i64,
        /// The score afterwards; `None`: unknown.
        score: Option<i64>,
    },
    /// Removes a member.
    Remove {
        /// The member.
        member: usize,
        /// Whether it was there; `None`: unknown.
        was: Option<bool>,
    },
    /// Removes the first member.
    TakeFirst {
        /// The member, `Some(None)` if there was none; `None`: unknown.
        taken: Option<Option<Scored>>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Board;

/// The members of a state in their order.
fn ranked(state: &[Option<i64>; MEMBERS]) -> Vec<Scored> {
    let mut all: Vec<Scored> =
        state.iter().enumerate().filter_map(|(member, score)| Some((member, (*score)?))).collect();
    all.sort_by_key(|(member, score)| (*score, *member));
    all
}

impl Model for Board {
    type State = [Option<i64>; MEMBERS];
    type Op = BoardOp;
    type Metadata = ();

    fn init() -> Self::State {
        [None; MEMBERS]
    }

    fn step(state: &Self::State, op: &BoardOp) -> (bool, Self::State) {
        let mut after = *state;
        let fits = match op {
            BoardOp::Read(members) => *members == ranked(state),
            BoardOp::Rank { member, rank } => {
                let at = ranked(state).iter().position(|(other, _)| other == member);
                *rank == at.map(|at| at as i64)
            }
            BoardOp::Raise { member, by, score } => {
                let new = state[*member].unwrap_or(0) + by;
                after[*member] = Some(new);
                score.is_none_or(|score| score == new)
            }
            BoardOp::Remove { member, was } => {
                after[*member] = None;
                was.is_none_or(|was| was == state[*member].is_some())
            }
            BoardOp::TakeFirst { taken } => {
                let first = ranked(state).first().copied();
                if let Some((member, _)) = first {
                    after[member] = None;
                }
                taken.is_none_or(|taken| taken == first)
            }
        };
        (fits, after)
    }
}

impl Checked for Board {
    const WORKLOAD: &'static str = "board";

    fn is_read(op: &BoardOp) -> bool {
        matches!(op, BoardOp::Read(_) | BoardOp::Rank { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::BoardOp::{Raise, Rank, Read, Remove, TakeFirst};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    fn raise(member: usize, by: i64, score: i64) -> BoardOp {
        Raise { member, by, score: Some(score) }
    }

    #[test]
    fn members_are_ranked_by_score_and_name() {
        let begin = || [at(1, 0, 10, raise(3, 5, 5)), at(1, 20, 30, raise(1, 5, 5)), at(1, 40, 50, raise(2, 1, 1))];
        let with = |op| kinds_of::<Board>(begin().into_iter().chain([at(2, 60, 70, op)]));
        assert_eq!(with(Read(vec![(2, 1), (1, 5), (3, 5)])), []);
        assert_eq!(with(Read(vec![(2, 1), (3, 5), (1, 5)])), [Kind::Stale]);
        assert_eq!(with(Rank { member: 3, rank: Some(2) }), []);
        assert_eq!(with(Rank { member: 0, rank: None }), []);
        assert_eq!(with(Rank { member: 3, rank: Some(1) }), [Kind::Stale]);
        assert_eq!(with(TakeFirst { taken: Some(Some((2, 1))) }), []);
        assert_eq!(with(TakeFirst { taken: Some(Some((1, 5))) }), [Kind::Order]);
        assert_eq!(with(TakeFirst { taken: Some(None) }), [Kind::Order]);
    }

    #[test]
    fn what_is_lost_or_counted_twice_is_refuted() {
        let raised = at(1, 0, 10, raise(0, 2, 2));
        assert_eq!(kinds_of::<Board>([raised.clone(), at(READER, 20, 30, Read(vec![]))]), [Kind::Lost]);
        assert_eq!(kinds_of::<Board>([raised.clone(), at(READER, 20, 30, Read(vec![(0, 4)]))]), [Kind::Lost]);
        let removed = at(1, 20, 30, Remove { member: 0, was: Some(true) });
        assert_eq!(kinds_of::<Board>([raised, removed, at(2, 40, 50, raise(0, 1, 3))]), [Kind::Order]);
        let doubt = || open(2, 0, Raise { member: 0, by: 7, score: None });
        assert_eq!(kinds_of::<Board>([doubt(), at(1, 10, 20, raise(0, 1, 8))]), []);
        assert_eq!(kinds_of::<Board>([doubt(), at(1, 10, 20, raise(0, 1, 15))]), [Kind::Order]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_board_has_answered_is_accepted_and_a_missing_raise_is_not(places in places(120)) {
            let mut state = Board::init();
            let mut run = |choice: u64| {
                let (member, by) = ((choice >> 8) as usize % (MEMBERS - 1), (choice >> 16) as i64 % 5 - 1);
                let ranked = ranked(&state);
                let op = match choice % 8 {
                    0 => Read(ranked),
                    1 => {
                        let rank = ranked.iter().position(|(other, _)| *other == member).map(|at| at as i64);
                        Rank { member, rank }
                    }
                    2 => Remove { member, was: Some(state[member].is_some()) },
                    3 => TakeFirst { taken: Some(ranked.first().copied()) },
                    _ => raise(member, by, state[member].unwrap_or(0) + by),
                };
                state = Board::step(&state, &op).1;
                op
            };
            let forget = |op: &BoardOp| match op {
                // Without an answer it might take what is raised in the end.
                Read(_) | Rank { .. } | TakeFirst { .. } => None,
                Raise { member, by, .. } => Some(Raise { member: *member, by: *by, score: None }),
                Remove { member, .. } => Some(Remove { member: *member, was: None }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            prop_assert_eq!(kinds::<Board>(&history), vec![]);
            let before = ranked(&state);
            history.ops.push(after_all(&history, raise(MEMBERS - 1, 1, 1)));
            history.ops.push(after_all(&history, Read(before)));
            prop_assert_eq!(kinds::<Board>(&history), vec![Kind::Lost]);
        }
    }
}
