//! Records histories during a run.

use std::time::Instant;

use fastness_load::Outcome;
use parking_lot::Mutex;

/// The run's clock: nanoseconds since its start, the same for all clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    pub(crate) fn now_ns(self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// When an operation was in progress, nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Before the request was sent.
    pub call: u64,
    /// After its answer arrived; `None`: the outcome is unknown.
    pub end: Option<u64>,
}

/// One operation with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<T> {
    /// The client.
    pub client: u32,
    /// Its time.
    pub span: Span,
    /// The request and the answer.
    pub what: T,
}

/// All operations on one key, or on one group of keys that share a slot, that were not refused.
#[derive(Debug, Clone)]
pub struct History<T> {
    /// The key, or the common prefix of its keys.
    pub key: String,
    /// In no order.
    pub ops: Vec<Op<T>>,
    /// Number of started operations, including refused ones.
    begun: u32,
    unknown: u32,
}

impl<T> History<T> {
    /// Creates an empty history.
    #[must_use]
    pub fn new(key: impl Into<String>) -> History<T> {
        History { key: key.into(), ops: Vec::new(), begun: 0, unknown: 0 }
    }
}

/// Limits of a key; at a limit it is retired and replaced by the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Maximum number of operations.
    pub(crate) ops: u32,
    /// Maximum number of operations of unknown outcome.
    pub(crate) unknown: u32,
}

/// The place where an operation is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    history: usize,
    /// The key, or the common prefix of its keys.
    pub(crate) key: String,
}

/// A sequence of keys, each used until its limits are reached.
pub(crate) struct Keys<T> {
    name: String,
    bounds: Bounds,
    histories: Mutex<Vec<History<T>>>,
}

impl<T: Clone> Keys<T> {
    /// `name` is the common prefix of all keys.
    pub(crate) fn new(name: String, bounds: Bounds) -> Keys<T> {
        Keys { name, bounds, histories: Mutex::default() }
    }

    /// Returns the current key, for one more operation.
    pub(crate) fn take(&self) -> Ticket {
        let mut histories = self.histories.lock();
        let full = |last: &History<T>| last.begun >= self.bounds.ops || last.unknown >= self.bounds.unknown;
        if histories.last().is_none_or(full) {
            let key = format!("{}:{}", self.name, histories.len());
            histories.push(History::new(key));
        }
        let history = histories.len() - 1;
        histories[history].begun += 1;
        Ticket { history, key: histories[history].key.clone() }
    }

    /// Records the outcome of an operation. A refused operation is not recorded.
    pub(crate) fn note(&self, ticket: &Ticket, op: Op<T>, outcome: Outcome) {
        if outcome == Outcome::Refused {
            return;
        }
        let mut histories = self.histories.lock();
        let history = &mut histories[ticket.history];
        history.unknown += u32::from(outcome == Outcome::Unknown);
        history.ops.push(op);
    }

    /// All keys so far, to read them back.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let histories = self.histories.lock();
        histories.iter().enumerate().map(|(history, at)| Ticket { history, key: at.key.clone() }).collect()
    }

    /// Passes every history to a checker.
    pub(crate) fn each(&self, check: impl FnMut(&History<T>)) {
        self.histories.lock().iter().for_each(check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(end: Option<u64>) -> Op<()> {
        Op { client: 1, span: Span { call: 0, end }, what: () }
    }

    #[test]
    fn a_key_is_retired_at_either_bound_and_late_answers_stay_with_it() {
        let keys = Keys::new("k".into(), Bounds { ops: 3, unknown: 2 });
        let first = keys.take();
        keys.note(&keys.take(), op(None), Outcome::Unknown);
        keys.note(&keys.take(), op(Some(1)), Outcome::Refused);
        assert_eq!(keys.take().key, "k:1");
        keys.note(&first, op(None), Outcome::Unknown);
        for _ in 0..2 {
            keys.note(&keys.take(), op(None), Outcome::Unknown);
        }
        assert_eq!(keys.take().key, "k:2");
        let mut lengths = Vec::new();
        keys.each(|history| lengths.push((history.key.clone(), history.ops.len())));
        assert_eq!(lengths, [("k:0".to_owned(), 2), ("k:1".to_owned(), 2), ("k:2".to_owned(), 0)]);
    }
}
