//! How old the data of a replica are at most, shown without comparing clocks of two machines.
//!
//! - Every node pings every other one four times a second. A node that leads a group under a lease answers with the
//!   group's committed position ([`GroupDriver::authoritative`]), which covers everything that was acknowledged
//!   anywhere before the answer, and so before the ping was **sent**. The send time is one of the pinging node's own
//!   clock.
//! - Once the replica has applied that position, its data are at least as new as that moment. The time that the ping,
//!   the answer or this process needed makes the data look older, never newer: a process that was stopped finds only
//!   answers to old pings when it resumes.
//! - Like a lease, this assumes that the boot clock continues while the machine is suspended.
//!
//! [`GroupDriver::authoritative`]: crate::handle::GroupDriver::authoritative

use fastness_types::{BootNs, LogIndex};

/// Everything that was acknowledged before `at` is at or before `committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) committed: LogIndex,
    pub(crate) at: BootNs,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// The newest moment that was shown; 0: none.
    as_of: BootNs,
    /// The proof that counts once its position is applied. It is kept until then: under load the newest proof is always
    /// ahead of what is applied.
    next: Option<Proof>,
    /// The newest proof after it.
    newest: Option<Proof>,
}

impl Freshness {
    /// Adds a proof, on a replica that has applied the log up to `applied`.
    pub(crate) fn add(&mut self, proof: Proof, applied: LogIndex) {
        self.advance(applied);
        let is_newer = |known: Option<Proof>| known.is_none_or(|known| known.at < proof.at);
        if proof.at <= self.as_of || !is_newer(self.next) || !is_newer(self.newest) {
            return;
        }
        match self.next {
            None => self.next = Some(proof),
            Some(_) => self.newest = Some(proof),
        }
    }

    /// The newest moment that is shown for a replica at `applied`; 0: none.
    pub(crate) fn as_of(&mut self, applied: LogIndex) -> BootNs {
        self.advance(applied);
        self.as_of
    }

    fn advance(&mut self, applied: LogIndex) {
        while let Some(proof) = self.next.filter(|proof| proof.committed <= applied) {
            self.as_of = proof.at;
            self.next = self.newest.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(committed: u64, at: u64) -> Proof {
        Proof { committed: LogIndex(committed), at: BootNs(at) }
    }

    #[test]
    fn a_moment_counts_once_its_position_is_applied() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.as_of(LogIndex(100)), BootNs(0), "nobody has shown anything");
        freshness.add(proof(10, 1_000), LogIndex(9));
        assert_eq!(freshness.as_of(LogIndex(9)), BootNs(0));
        assert_eq!(freshness.as_of(LogIndex(10)), BootNs(1_000));
        freshness.add(proof(10, 2_000), LogIndex(10));
        assert_eq!(freshness.as_of(LogIndex(10)), BootNs(2_000), "nothing new, and confirmed again");
    }

    #[test]
    fn a_replica_that_is_always_a_little_behind_gets_newer_all_the_same() {
        let mut freshness = Freshness::default();
        for round in 1..=50 {
            freshness.add(proof(100 * round, 1_000 * round), LogIndex((100 * round).saturating_sub(150)));
            let as_of = freshness.as_of(LogIndex(100 * round - 50)).0;
            assert!(as_of + 2_000 >= 1_000 * round, "as of {as_of} in round {round}");
        }
    }

    #[test]
    fn moments_never_run_back() {
        let mut freshness = Freshness::default();
        freshness.add(proof(10, 2_000), LogIndex(10));
        freshness.add(proof(5, 1_000), LogIndex(10));
        assert_eq!(freshness.as_of(LogIndex(10)), BootNs(2_000));
        freshness.add(proof(30, 3_000), LogIndex(10));
        freshness.add(proof(20, 2_500), LogIndex(10));
        assert_eq!(freshness.as_of(LogIndex(20)), BootNs(2_000), "an older answer does not replace a newer one");
        assert_eq!(freshness.as_of(LogIndex(30)), BootNs(3_000));
    }
}
