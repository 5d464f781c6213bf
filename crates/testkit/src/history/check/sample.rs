//! Histories for the checkers' tests.

use proptest::prelude::*;

pub(crate) use crate::history::record::History;
use crate::history::record::{Op, Span};
use crate::history::run::READER;

/// An operation that was answered.
pub(crate) fn at<T>(client: u32, call: u64, end: u64, what: T) -> Op<T> {
    Op { client, span: Span { call, end: Some(end) }, what }
}

/// An operation of unknown outcome.
pub(crate) fn open<T>(client: u32, call: u64, what: T) -> Op<T> {
    Op { client, span: Span { call, end: None }, what }
}

impl<T> History<T> {
    /// A history of these operations.
    pub(crate) fn of(ops: impl IntoIterator<Item = Op<T>>) -> History<T> {
        let mut history = History::new("k");
        history.ops.extend(ops);
        history
    }
}

/// How the operations of a good history lie: each takes effect at its place in the order, after its call and before its
/// end, and so they overlap with others.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// 1 to 4; what it chooses is its own.
    pub(crate) client: u32,
    /// How long before and after its effect, in steps of the order.
    before: u64,
    after: u64,
    /// No answer came, though it took effect.
    unanswered: bool,
    /// For the operation to choose by.
    pub(crate) choice: u64,
}

/// Places for up to `most` operations.
pub(crate) fn places(most: usize) -> impl Strategy<Value = Vec<Place>> {
    let place = (1..=4u32, 0..4u64, 0..4u64, prop::bool::weighted(0.05), any::<u64>());
    let place = place.prop_map(|(client, before, after, unanswered, choice)| Place {
        client,
        before,
        after,
        unanswered,
        choice,
    });
    prop::collection::vec(place, 1..most)
}

/// Well within the bounds of the search for an order.
const UNANSWERED_MAX: usize = 10;

/// A good history: operations that a state has answered one after the other. `run` gives an operation for a place, with
/// the answer that it had; `forget` takes the answer out of one that the client never saw, and says whether such an
/// operation may be in a history.
pub(crate) fn good<T: Clone>(
    places: &[Place],
    mut run: impl FnMut(&Place) -> T,
    forget: impl Fn(&T) -> Option<T>,
) -> History<T> {
    let mut ops = Vec::new();
    let mut unanswered = 0;
    for (n, place) in places.iter().enumerate() {
        // One client's operations do not overlap each other; which of them is whose does not matter to a checker.
        let effect = 10 * (n as u64 + 5);
        let (call, end) = (effect - 10 * place.before - place.choice % 5, effect + 10 * place.after + place.choice % 5);
        let what = run(place);
        match forget(&what).filter(|_| place.unanswered && unanswered < UNANSWERED_MAX) {
            Some(forgotten) => {
                unanswered += 1;
                ops.push(open(place.client, call, forgotten));
            }
            None => ops.push(at(place.client, call, end, what)),
        }
    }
    History::of(ops)
}

/// When a read after the run would be.
pub(crate) fn after_all<T>(history: &History<T>, what: T) -> Op<T> {
    let last = history.ops.iter().map(|op| op.span.end.unwrap_or(op.span.call)).max().unwrap_or(0);
    at(READER, last + 10, last + 20, what)
}
