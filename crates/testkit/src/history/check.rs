//! What is wrong with a history. Pure functions: every one is tested with histories that it must accept and planted
//! ones that it must refute.

pub mod append;
pub mod bank;
pub mod copies;
pub mod counter;
pub mod cycle;
pub mod linear;
pub mod lives;
pub mod pair;
pub mod register;
#[cfg(test)]
pub(crate) mod sample;
pub mod set;

/// What kind of promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something acknowledged is gone.
    Lost,
    /// A read was answered with what was no longer true.
    Stale,
    /// Something is there that was refused, or that nobody wrote.
    Phantom,
    /// Something was applied twice.
    Duplicate,
    /// Half of a transaction was seen.
    Torn,
    /// A cycle of transactions, each of which must come before the next.
    Cycle,
    /// The answers fit no order of the operations.
    Order,
    /// A key lived or died at the wrong time.
    Deadline,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// As in [`super::HistoryVerdict::by_workload`].
    pub workload: &'static str,
    /// The key, or what the keys that it is about begin with.
    pub key: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// What was seen, and why it must not be.
    pub what: String,
    /// The operations behind it, by their calls, where they are more than fit into `what`.
    pub history: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {:?}: {}", self.workload, self.key, self.kind, self.what)
    }
}

/// What checkers have found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Histories without a verdict, and why.
    pub undecided: Vec<String>,
    /// Operations that were judged.
    pub ops_checked: u64,
}

impl Findings {
    /// One broken promise more.
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
