//! Histories for the tests of checkers.

use proptest::prelude::*;

use super::linear::{self, Checked};
use super::{Findings, Kind};
pub(crate) use crate::history::record::History;
use crate::history::record::{Op, Span};
use crate::history::run::READER;

/// The kinds of violations that the search for an order finds in a history.
pub(crate) fn kinds<M: Checked>(history: &History<M::Op>) -> Vec<Kind> {
    let mut findings = Findings::default();
    linear::check::<M>(history, &mut findings);
    let kinds = findings.kinds();
    assert_eq!(findings.ops_checked, history.ops.len() as u64);
    kinds
}

/// As [`kinds`], for a history of these operations.
pub(crate) fn kinds_of<M: Checked>(ops: impl IntoIterator<Item = Op<M::Op>>) -> Vec<Kind> {
    kinds::<M>(&History::of(ops))
}

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

/// The times of an operation in a good history: it takes effect at its place in the order, after its call and before
/// its end, and so overlaps with others.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Client 1 to 4.
    pub(crate) client: u32,
    /// How long before its effect it was called, in steps of the order.
    before: u64,
    after: u64,
    /// Whether there was no answer although it took effect.
    unanswered: bool,
    /// A number from which the operation is chosen.
    pub(crate) choice: u64,
}

/// Times of up to `most` operations.
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

/// Well within the limits of the search for an order.
const UNANSWERED_MAX: usize = 10;

/// Generates a good history: operations that one state has answered one after the other. `run` returns the operation
/// for a place, with its answer; `forget` removes an answer that the client did not receive, and returns whether such
/// an operation may be in a history.
pub(crate) fn good<T: Clone>(
    places: &[Place],
    mut run: impl FnMut(&Place) -> T,
    forget: impl Fn(&T) -> Option<T>,
) -> History<T> {
    let mut ops = Vec::new();
    let mut unanswered = 0;
    for (n, place) in places.iter().enumerate() {
        // The operations of one client do not overlap; a checker does not care which client runs which operation.
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

/// The time of a read after the run.
pub(crate) fn after_all<T>(history: &History<T>, what: T) -> Op<T> {
    let last = history.ops.iter().map(|op| op.span.end.unwrap_or(op.span.call)).max().unwrap_or(0);
    at(READER, last + 10, last + 20, what)
}
