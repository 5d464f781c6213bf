//! A queue: unique elements enter a list at its tail and leave it at its head. A take that had to wait for an element
//! is a take at some moment between its call and its answer, like any other. So an element that is taken twice, lost,
//! out of order, or given to a client that had gone fits no order.

use porcupine_rs::Model;

use super::linear::Checked;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueOp {
    /// All elements, the oldest first.
    Read(Vec<u64>),
    /// Adds an element.
    Add {
        /// The element.
        element: u64,
        /// The length afterwards, as answered; `None`: unknown.
        length: Option<i64>,
    },
    /// Takes the oldest element.
    Take {
        /// What was taken, `Some(None)` if the queue was empty; `None`: unknown.
        taken: Option<Option<u64>>,
    },
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Queue;

impl Model for Queue {
    type State = Vec<u64>;
    type Op = QueueOp;
    type Metadata = ();

    fn init() -> Vec<u64> {
        Vec::new()
    }

    fn step(state: &Vec<u64>, op: &QueueOp) -> (bool, Vec<u64>) {
        let mut after = state.clone();
        let fits = match op {
            QueueOp::Read(elements) => elements == state,
            QueueOp::Add { element, length } => {
                after.push(*element);
                length.is_none_or(|length| length == after.len() as i64)
            }
            QueueOp::Take { taken } => {
                let first = (!after.is_empty()).then(|| after.remove(0));
                taken.is_none_or(|taken| taken == first)
            }
        };
        (fits, after)
    }
}

impl Checked for Queue {
    const WORKLOAD: &'static str = "queue";

    fn is_read(op: &QueueOp) -> bool {
        matches!(op, QueueOp::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::QueueOp::{Add, Read, Take};
    use super::*;
    use crate::history::check::Kind;
    use crate::history::check::sample::{after_all, at, good, kinds, kinds_of, open, places};
    use crate::history::run::READER;

    fn add(element: u64, length: i64) -> QueueOp {
        Add { element, length: Some(length) }
    }

    fn take(element: u64) -> QueueOp {
        Take { taken: Some(Some(element)) }
    }

    const EMPTY: QueueOp = Take { taken: Some(None) };

    #[test]
    fn a_take_may_wait_for_its_element() {
        assert_eq!(kinds_of::<Queue>([at(2, 0, 30, take(7)), at(1, 10, 20, add(7, 1))]), []);
        assert_eq!(kinds_of::<Queue>([at(2, 0, 5, take(7)), at(1, 10, 20, add(7, 1))]), [Kind::Order]);
        // Time was over although there was an element for all of it.
        assert_eq!(kinds_of::<Queue>([at(1, 0, 5, add(7, 1)), at(2, 10, 20, EMPTY)]), [Kind::Order]);
    }

    #[test]
    fn an_element_is_taken_once_and_in_order() {
        let added = || [at(1, 0, 10, add(1, 1)), at(1, 20, 30, add(2, 2))];
        let with = |ops: [_; 2]| kinds_of::<Queue>(added().into_iter().chain(ops));
        assert_eq!(with([at(2, 40, 50, take(1)), at(3, 60, 70, take(2))]), []);
        assert_eq!(with([at(2, 40, 50, take(1)), at(3, 60, 70, take(1))]), [Kind::Order]);
        assert_eq!(with([at(2, 40, 50, take(2)), at(3, 60, 70, take(1))]), [Kind::Order]);
        // A client that had gone has taken the first one, or none.
        let gone = || open(2, 40, Take { taken: None });
        assert_eq!(with([gone(), at(3, 60, 70, take(2))]), []);
        assert_eq!(with([gone(), at(3, 60, 70, take(1))]), []);
        assert_eq!(with([gone(), at(3, 60, 70, take(3))]), [Kind::Order]);
    }

    #[test]
    fn a_lost_element_is_refuted() {
        let added = at(1, 0, 10, add(1, 1));
        assert_eq!(kinds_of::<Queue>([added.clone(), at(READER, 20, 30, Read(vec![]))]), [Kind::Lost]);
        assert_eq!(kinds_of::<Queue>([added, at(2, 20, 30, Read(vec![]))]), [Kind::Stale]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_a_queue_has_answered_is_accepted_and_a_missing_element_is_not(places in places(120)) {
            let mut state = Vec::new();
            let mut last = 0;
            let mut run = |choice: u64| {
                let op = match choice % 5 {
                    0 => Read(state.clone()),
                    1 | 2 => {
                        last += 1;
                        add(last, state.len() as i64 + 1)
                    }
                    _ => Take { taken: Some(state.first().copied()) },
                };
                state = Queue::step(&state, &op).1;
                op
            };
            let forget = |op: &QueueOp| match op {
                // Without an answer it might take what is added in the end.
                Read(_) | Take { .. } => None,
                Add { element, .. } => Some(Add { element: *element, length: None }),
            };
            let mut history = good(&places, |place| run(place.choice), forget);
            prop_assert_eq!(kinds::<Queue>(&history), vec![]);
            history.ops.push(after_all(&history, Add { element: 9_999, length: Some(state.len() as i64 + 1) }));
            history.ops.push(after_all(&history, Read(state)));
            prop_assert_eq!(kinds::<Queue>(&history), vec![Kind::Lost]);
        }
    }
}
