//! The faults of a run and their order: decks of faults, dealt by a seed.
//!
//! A deck is shuffled and dealt to its end before it is shuffled again, so that all faults occur equally often and
//! early. The same seed and profile give the same faults in the same order, with the same overlaps and pauses. The
//! victims depend on the current primary, and the number of faults in a run that ends by time depends on the machine.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::ChaosFault;

/// A kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChaosProfile {
    /// Its name on the command line.
    pub name: &'static str,
    /// The faults to deal.
    pub deck: &'static [ChaosFault],
    /// Percentage of faults during which another fault starts.
    pub overlap_percent: u32,
    /// Whether the run continues until each fault of the deck has occurred.
    pub whole: bool,
}

impl ChaosProfile {
    /// All of them.
    pub const ALL: [ChaosProfile; 10] = [
        ChaosProfile::new(
            "kills",
            &[ChaosFault::KillPrimary, ChaosFault::KillAny, ChaosFault::KillAz, ChaosFault::KillAll],
            20,
        ),
        ChaosProfile::new("pauses", &[ChaosFault::PausePrimary, ChaosFault::PauseAz], 20),
        ChaosProfile::new(
            "partitions",
            &[
                ChaosFault::CutPrimary,
                ChaosFault::DeafenPrimary,
                ChaosFault::MutePrimary,
                ChaosFault::CutAz,
                ChaosFault::Bridge,
                ChaosFault::Ring,
                ChaosFault::CutLinks,
            ],
            20,
        ),
        ChaosProfile::new("links", &[ChaosFault::CutLinks, ChaosFault::SlowLinks, ChaosFault::RateLinks], 20),
        ChaosProfile::new(
            "disks",
            &[ChaosFault::StallDisk, ChaosFault::SlowDisk, ChaosFault::FillDisk, ChaosFault::FailDisk],
            20,
        ),
        ChaosProfile::new("clocks", &[ChaosFault::ClockAhead, ChaosFault::ClockBehind], 30),
        ChaosProfile::new(
            "power",
            &[ChaosFault::PowerPrimary, ChaosFault::PowerAny, ChaosFault::PowerAz, ChaosFault::PowerAll],
            20,
        ),
        // Power losses in short intervals hit a cluster that is still catching up.
        ChaosProfile::new("power-all", &[ChaosFault::PowerAll], 0),
        ChaosProfile::new("mixed", &ChaosFault::ALL, 40),
        ChaosProfile {
            name: "ci",
            deck: &[
                ChaosFault::KillPrimary,
                ChaosFault::CutAz,
                ChaosFault::PausePrimary,
                ChaosFault::PowerPrimary,
                ChaosFault::PowerAll,
            ],
            overlap_percent: 0,
            whole: true,
        },
    ];

    const fn new(name: &'static str, deck: &'static [ChaosFault], overlap_percent: u32) -> ChaosProfile {
        ChaosProfile { name, deck, overlap_percent, whole: false }
    }

    /// The profile with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<ChaosProfile> {
        ChaosProfile::ALL.into_iter().find(|profile| profile.name == name)
    }
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After this number of faults.
    Faults(usize),
    /// After this time; an active fault is ended regularly.
    Time(Duration),
}

/// The faults of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChaosPlan {
    /// The faults to deal; not empty.
    pub deck: Vec<ChaosFault>,
    /// Whether the deck is shuffled before it is dealt.
    pub shuffled: bool,
    /// See [`ChaosProfile::overlap_percent`].
    pub overlap_percent: u32,
    /// When the run ends.
    pub length: Length,
    /// See [`ChaosProfile::whole`].
    pub whole: bool,
}

impl ChaosPlan {
    /// A plan of these faults, one after the other.
    #[must_use]
    pub fn these(faults: &[ChaosFault]) -> ChaosPlan {
        let length = Length::Faults(faults.len());
        ChaosPlan { deck: faults.to_vec(), shuffled: false, overlap_percent: 0, length, whole: false }
    }

    /// Faults of the deck that have not occurred.
    #[must_use]
    pub fn missing(&self, came: impl Fn(ChaosFault) -> bool) -> Vec<ChaosFault> {
        let mut missing: Vec<ChaosFault> = self.deck.iter().copied().filter(|fault| !came(*fault)).collect();
        missing.sort();
        missing.dedup();
        missing
    }

    pub(super) fn is_over(&self, elapsed: Duration, faults: usize, came: impl Fn(ChaosFault) -> bool) -> bool {
        let over = match self.length {
            Length::Faults(wanted) => faults >= wanted,
            Length::Time(span) => elapsed >= span,
        };
        over && (!self.whole || self.missing(came).is_empty())
    }

    pub(super) fn rounds(&self, seed: u64) -> Rounds {
        Rounds { plan: self.clone(), left: Vec::new(), rng: SmallRng::seed_from_u64(seed) }
    }
}

/// One fault, and perhaps another one that overlaps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// Time under load alone before the fault.
    pub(super) calm: Duration,
    pub(super) fault: ChaosFault,
    pub(super) company: Option<Companion>,
    /// How long the faults remain after the cluster has recovered from them, or after they exceed what it tolerates.
    pub(super) hold: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Companion {
    pub(super) fault: ChaosFault,
    /// Delay after the first fault.
    pub(super) after: Duration,
    /// Whether the fault is injected even if it leaves no quorum.
    pub(super) at_any_price: bool,
}

/// Deals rounds endlessly.
pub(super) struct Rounds {
    plan: ChaosPlan,
    /// The rest of the deck, the next fault last.
    left: Vec<ChaosFault>,
    rng: SmallRng,
}

impl Iterator for Rounds {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        if self.left.is_empty() {
            self.left = self.plan.deck.clone();
            if self.plan.shuffled {
                self.left.shuffle(&mut self.rng);
            }
            self.left.reverse();
        }
        let fault = self.left.pop()?;
        let ms = |rng: &mut SmallRng, range| Duration::from_millis(rng.random_range(range));
        let calm = ms(&mut self.rng, 50..500);
        let hold = ms(&mut self.rng, 200..2000);
        let company = (self.rng.random_range(0..100) < self.plan.overlap_percent).then(|| Companion {
            fault: self.plan.deck[self.rng.random_range(0..self.plan.deck.len())],
            after: ms(&mut self.rng, 0..1000),
            at_any_price: self.rng.random_range(0..4) == 0,
        });
        Some(Round { calm, fault, company, hold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(overlap_percent: u32) -> ChaosPlan {
        let deck = ChaosProfile::from_name("mixed").unwrap().deck.to_vec();
        ChaosPlan { deck, shuffled: true, overlap_percent, length: Length::Time(Duration::from_secs(10)), whole: true }
    }

    #[test]
    fn the_same_seed_deals_the_same_and_another_one_does_not() {
        let deal = |seed| plan(40).rounds(seed).take(60).collect::<Vec<_>>();
        assert_eq!(deal(7), deal(7));
        assert_ne!(deal(7), deal(8));
    }

    #[test]
    fn a_deck_is_dealt_to_its_end() {
        let mut dealt: Vec<ChaosFault> =
            plan(0).rounds(3).take(ChaosFault::ALL.len()).map(|round| round.fault).collect();
        dealt.sort();
        assert_eq!(dealt, ChaosFault::ALL);
        assert!(plan(0).rounds(3).take(99).all(|round| round.company.is_none()));
    }

    #[test]
    fn company_comes_about_as_often_as_it_should() {
        let with_company = plan(40).rounds(5).take(1000).filter(|round| round.company.is_some()).count();
        assert!((300..500).contains(&with_company), "{with_company}");
    }

    #[test]
    fn a_whole_run_ends_with_time_and_its_last_fault() {
        let plan = plan(0);
        let (soon, late) = (Duration::from_secs(9), Duration::from_secs(10));
        assert!(!plan.is_over(soon, 100, |_| true));
        assert!(!plan.is_over(late, 100, |fault| fault != ChaosFault::Ring));
        assert_eq!(plan.missing(|fault| fault != ChaosFault::Ring), [ChaosFault::Ring]);
        assert!(plan.is_over(late, 100, |_| true));
        let these = ChaosPlan::these(&[ChaosFault::KillAny, ChaosFault::KillAny]);
        assert!(!these.is_over(late, 1, |_| false) && these.is_over(soon, 2, |_| false));
    }

    #[test]
    fn profiles_have_names_of_their_own_and_no_empty_deck() {
        for profile in ChaosProfile::ALL {
            assert_eq!(ChaosProfile::from_name(profile.name), Some(profile));
            assert!(!profile.deck.is_empty(), "{}", profile.name);
        }
    }
}
