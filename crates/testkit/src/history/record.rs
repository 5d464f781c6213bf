//! Histories as they are written down while a run goes on.

use std::time::Instant;

use fastness_load::Outcome;
use parking_lot::Mutex;

/// The run's clock: nanoseconds since it began, the same for all clients.
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

/// When an operation was under way, nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Before it was sent.
    pub call: u64,
    /// After its answer came; `None`: the outcome is unknown.
    pub end: Option<u64>,
}

/// One operation with what its answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<T> {
    /// Who asked.
    pub client: u32,
    /// When.
    pub span: Span,
    /// What was asked and answered.
    pub what: T,
}

/// All that was asked of one key, or of one group of keys that share a slot, and was not refused.
#[derive(Debug, Clone)]
pub struct History<T> {
    /// The key, or what its keys begin with.
    pub key: String,
    /// In no order.
    pub ops: Vec<Op<T>>,
    /// Operations that have begun, the refused ones among them.
    begun: u32,
    unknown: u32,
}

impl<T> History<T> {
    /// An empty one.
    #[must_use]
    pub fn new(key: impl Into<String>) -> History<T> {
        History { key: key.into(), ops: Vec::new(), begun: 0, unknown: 0 }
    }
}

/// When a key is retired and the next one takes its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Operations.
    pub(crate) ops: u32,
    /// Operations of unknown outcome.
    pub(crate) unknown: u32,
}

/// Where an operation is to be written down.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    history: usize,
    /// The key, or what its keys begin with.
    pub(crate) key: String,
}

/// One key after the other, each until its bounds are reached.
pub(crate) struct Keys<T> {
    name: String,
    bounds: Bounds,
    histories: Mutex<Vec<History<T>>>,
}

impl<T: Clone> Keys<T> {
    /// `name` is what all its keys begin with.
    pub(crate) fn new(name: String, bounds: Bounds) -> Keys<T> {
        Keys { name, bounds, histories: Mutex::default() }
    }

    /// The key in use, for one operation more.
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

    /// Writes down what came of an operation. One that was refused has not happened.
    pub(crate) fn note(&self, ticket: &Ticket, op: Op<T>, outcome: Outcome) {
        if outcome == Outcome::Refused {
            return;
        }
        let mut histories = self.histories.lock();
        let history = &mut histories[ticket.history];
        history.unknown += u32::from(outcome == Outcome::Unknown);
        history.ops.push(op);
    }

    /// All keys so far, for reading them back.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let histories = self.histories.lock();
        histories.iter().enumerate().map(|(history, at)| Ticket { history, key: at.key.clone() }).collect()
    }

    /// Hands every history to a checker.
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
