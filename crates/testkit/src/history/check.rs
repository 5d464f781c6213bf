//! Checkers of histories. They are pure functions, tested with histories that they must accept and with planted ones
//! that they must refute.

pub mod append;
pub mod bank;
pub mod board;
pub mod copies;
pub mod counter;
pub mod cycle;
pub mod linear;
pub mod lives;
pub mod pair;
pub mod queue;
pub mod register;
#[cfg(test)]
pub(crate) mod sample;
pub mod set;
pub mod stream;

/// Kind of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged write is lost.
    Lost,
    /// A read returned an outdated value.
    Stale,
    /// A refused write took effect, or a value was never written.
    Phantom,
    /// A write was applied twice.
    Duplicate,
    /// A part of a transaction was visible.
    Torn,
    /// A cycle of transactions, each of which must come before the next.
    Cycle,
    /// No order of the operations explains the answers.
    Order,
    /// A key existed or was missing at the wrong time.
    Deadline,
}

/// A violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The name in [`super::HistoryVerdict::by_workload`].
    pub workload: &'static str,
    /// The key, or the common prefix of the keys.
    pub key: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// What was observed, and why it is wrong.
    pub what: String,
    /// The operations that show it, in order of their calls, if they do not fit into `what`.
    pub history: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {:?}: {}", self.workload, self.key, self.kind, self.what)
    }
}

/// Findings of the checkers.
#[derive(Debug, Default)]
pub struct Findings {
    /// All violations.
    pub violations: Vec<Violation>,
    /// Histories without a verdict, and why.
    pub undecided: Vec<String>,
    /// Number of judged operations.
    pub ops_checked: u64,
}

impl Findings {
    /// Adds a violation.
    pub fn broken(&mut self, workload: &'static str, key: &str, kind: Kind, what: String) {
        self.violations.push(Violation { workload, key: key.to_owned(), kind, what, history: Vec::new() });
    }

    #[cfg(test)]
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        assert!(self.undecided.is_empty(), "{:?}", self.undecided);
        let mut kinds: Vec<Kind> = self.violations.iter().map(|violation| violation.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}
