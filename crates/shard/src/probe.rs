//! Follows single units from their staging to their commit, for traces.
//!
//! A probe is attached after a command has run ([`crate::Shard::probe_since`]), and is dropped when its batch has
//! committed or its tenure has ended. Only sampled writes have one, so the loop pays a comparison with 0 per batch
//! otherwise.

use std::rc::Rc;

use fastness_types::{BootNs, LogIndex, Seq};

use crate::outcome::Tenure;

/// Units that are followed at the same time; further ones are not.
const PROBES_MAX: usize = 64;

/// Learns what becomes of one unit. Called on the loop's thread, so it must return at once. Dropped without
/// [`CommitProbe::committed`]: the unit was undone, or its outcome is not known.
pub trait CommitProbe {
    /// The batch of the unit was passed to consensus, and will probably be the entry `index`.
    fn proposed(&self, index: LogIndex, at: BootNs);
    /// The batch has committed as the entry `index`.
    fn committed(&self, index: LogIndex, at: BootNs);
}

/// How much was staged at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageMark {
    pub(crate) tenure: Tenure,
    /// The newest sequence that anything was staged under.
    pub(crate) seq: Seq,
    /// Units in the open batch.
    pub(crate) units: usize,
}

struct Attached {
    seq: Seq,
    is_proposed: bool,
    probe: Rc<dyn CommitProbe>,
}

/// The probes of one tenure.
#[derive(Default)]
pub(crate) struct Probes(Vec<Attached>);

impl Probes {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Follows a unit that was staged under `seq`; `false`: enough are followed.
    pub(crate) fn attach(&mut self, seq: Seq, probe: Rc<dyn CommitProbe>) -> bool {
        let has_room = self.0.len() < PROBES_MAX;
        if has_room {
            self.0.push(Attached { seq, is_proposed: false, probe });
        }
        has_room
    }

    /// The batches up to `newest` were proposed.
    pub(crate) fn propose(&mut self, newest: Seq, index_of: impl Fn(Seq) -> LogIndex, at: BootNs) {
        for attached in self.0.iter_mut().filter(|attached| !attached.is_proposed && attached.seq <= newest) {
            attached.is_proposed = true;
            attached.probe.proposed(index_of(attached.seq), at);
        }
    }

    /// The batch `seq` has committed.
    pub(crate) fn commit(&mut self, seq: Seq, index: LogIndex, at: BootNs) {
        self.propose(seq, |_| index, at);
        self.0.retain(|attached| {
            let is_committed = attached.seq <= seq;
            if is_committed {
                attached.probe.committed(index, at);
            }
            !is_committed
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Writes down what it learns.
    struct Noted(Rc<RefCell<Vec<String>>>, u64);

    impl CommitProbe for Noted {
        fn proposed(&self, index: LogIndex, _: BootNs) {
            self.0.borrow_mut().push(format!("{} proposed at {}", self.1, index.0));
        }

        fn committed(&self, index: LogIndex, _: BootNs) {
            self.0.borrow_mut().push(format!("{} committed at {}", self.1, index.0));
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.borrow_mut().push(format!("{} dropped", self.1));
        }
    }

    #[test]
    fn a_probe_learns_once_of_proposal_and_commit_and_is_dropped() {
        let noted = Rc::new(RefCell::new(Vec::new()));
        let mut probes = Probes::default();
        for seq in [3, 3, 4, 5] {
            assert!(probes.attach(Seq(seq), Rc::new(Noted(noted.clone(), seq))));
        }
        let index_of = |seq: Seq| LogIndex(seq.0 + 10);
        probes.propose(Seq(3), index_of, BootNs(1));
        probes.propose(Seq(3), index_of, BootNs(2));
        assert_eq!(std::mem::take(&mut *noted.borrow_mut()), ["3 proposed at 13", "3 proposed at 13"]);
        probes.commit(Seq(3), LogIndex(13), BootNs(3));
        let committed = ["3 committed at 13", "3 dropped", "3 committed at 13", "3 dropped"];
        assert_eq!(std::mem::take(&mut *noted.borrow_mut()), committed);
        probes.commit(Seq(4), LogIndex(14), BootNs(4));
        let late = ["4 proposed at 14", "4 committed at 14", "4 dropped"];
        assert_eq!(std::mem::take(&mut *noted.borrow_mut()), late);
        drop(probes);
        assert_eq!(std::mem::take(&mut *noted.borrow_mut()), ["5 dropped"]);
    }

    #[test]
    fn so_many_are_followed() {
        let mut probes = Probes::default();
        let noted = Rc::new(RefCell::new(Vec::new()));
        let attached = (0..100).filter(|seq| probes.attach(Seq(*seq), Rc::new(Noted(noted.clone(), *seq)))).count();
        assert_eq!(attached, PROBES_MAX);
    }
}
