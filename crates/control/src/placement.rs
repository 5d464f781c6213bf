//! Which nodes hold which shard, and which of them should lead.
//!
//! The rule: with n copies and quorum q = n/2 + 1, an AZ holds at most n−q of them. So any majority covers at least two
//! AZs (a commit spans them), and the loss of any one AZ leaves a majority. With two AZs only the first half can hold
//! (1+1, 2+2: an AZ holds fewer than q): allowed, with a warning.
//!
//! Placement is greedy and deterministic: each further copy goes to the AZ that holds the fewest of this shard's, and
//! there to the node that holds the fewest copies of all. The most even spread is also the one with the smallest
//! maximum per AZ, so if this one breaks the rule, every one does.

use std::collections::BTreeMap;

use fastness_consensus::placement::quorum;
use fastness_types::{Az, NodeId, SLOTS, ShardId, Slot};

use crate::map::ShardMap;

/// Voters of the control plane at most; further nodes follow it without a vote.
pub const CONTROL_VOTERS_MAX: usize = 5;

/// A node as far as placement goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The node.
    pub node: NodeId,
    /// Its AZ.
    pub az: Az,
}

/// How well a set of copies is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// Any majority covers two AZs, and any AZ may be lost.
    Full,
    /// Any majority covers two AZs, but the loss of an AZ can stop writes.
    HalfOnly,
    /// A majority can lie within one AZ.
    Broken,
}

/// Why no placement obeys the rule; the text says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// More copies than nodes.
    #[error(
        "{copies} copies of each shard (a primary and {} replicas) need {copies} nodes, there are {nodes}: \
         add nodes, or ask for at most {} replicas",
        copies - 1,
        nodes.saturating_sub(1)
    )]
    TooFewNodes {
        /// Wanted per shard.
        copies: usize,
        /// Given.
        nodes: usize,
    },
    /// The copies cannot be spread.
    #[error(
        "{copies} copies over the AZs {azs} put {most} into one AZ, and at most {allowed} may be: the loss of that AZ, or \
         a commit inside it, would break the promise. {advice}"
    )]
    Unspreadable {
        /// Wanted per shard.
        copies: usize,
        /// Each AZ with its nodes, for people.
        azs: String,
        /// The fewest that some AZ must hold.
        most: usize,
        /// What the rule allows.
        allowed: usize,
        /// A layout that works.
        advice: String,
    },
}

/// Judges copies by how many of them each AZ holds. The rule itself is in [`fastness_consensus::placement`].
fn judge<'a>(sites: impl IntoIterator<Item = &'a Site>) -> Spread {
    match fastness_consensus::placement::check(sites.into_iter().map(|site| (site.node, &site.az))) {
        Ok(None) => Spread::Full,
        Ok(Some(_)) => Spread::HalfOnly,
        Err(_) => Spread::Broken,
    }
}

/// What [`place`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// By id; slots are split evenly.
    pub shards: Vec<ShardMap>,
    /// The voters of the control plane.
    pub control_voters: Vec<NodeId>,
    /// What holds only in part, for people.
    pub warnings: Vec<String>,
}

/// Places `shards` shards with `replicas` copies besides the primary. `durable`: the AZ rule must hold; without it the
/// copies are spread as well as they can be.
///
/// # Errors
/// See [`PlacementError`].
pub fn place(sites: &[Site], shards: u32, replicas: u32, durable: bool) -> Result<Placement, PlacementError> {
    let copies = replicas as usize + 1;
    if copies > sites.len() {
        return Err(PlacementError::TooFewNodes { copies, nodes: sites.len() });
    }
    let mut warnings = Vec::new();
    match judge(spread(sites, copies, &Load::new(sites), None).iter().map(|i| &sites[*i])) {
        Spread::Full => {}
        Spread::HalfOnly => warnings.push(format!(
            "two AZs only: a commit spans both, so no acknowledged write is lost with an AZ, but the loss of either one \
             stops writes until it is back ({copies} copies); three AZs with 2 replicas survive it"
        )),
        Spread::Broken if durable => return Err(unspreadable(sites, copies)),
        Spread::Broken => warnings.push("a majority of a shard's copies lies within one AZ; not a durable layout".into()),
    }
    Ok(Placement { shards: place_shards(sites, shards, copies), control_voters: control_voters(sites), warnings })
}

fn place_shards(sites: &[Site], shards: u32, copies: usize) -> Vec<ShardMap> {
    let mut load = Load::new(sites);
    (1..=shards)
        .map(|id| {
            let primary = load.next_primary(sites);
            let members = spread(sites, copies, &load, Some(primary));
            load.add(&members);
            ShardMap {
                id: ShardId(id),
                first: first_slot(id - 1, shards),
                last: Slot(first_slot(id, shards).0 - 1),
                members: members.into_iter().map(|i| sites[i].node).collect(),
                config_epoch: u64::from(id),
            }
        })
        .collect()
}

/// First slot of the `i`th (from 0) of `shards` equal parts; `i == shards` gives one past the last slot.
fn first_slot(i: u32, shards: u32) -> Slot {
    Slot((u64::from(i) * SLOTS as u64 / u64::from(shards)) as u16)
}

/// Up to [`CONTROL_VOTERS_MAX`] nodes that obey the rule as well as any number of them does; more of them if equal.
fn control_voters(sites: &[Site]) -> Vec<NodeId> {
    let load = Load::new(sites);
    let candidates = (1..=sites.len().min(CONTROL_VOTERS_MAX)).map(|n| spread(sites, n, &load, None));
    let rank = |members: &Vec<usize>| match judge(members.iter().map(|i| &sites[*i])) {
        Spread::Full => 2,
        Spread::HalfOnly => 1,
        Spread::Broken => 0,
    };
    // An even number survives no more losses than the odd one below it, and needs more answers: only if it spreads
    // better.
    let best = candidates.max_by_key(|members| (rank(members), members.len() % 2 == 1, members.len()));
    let mut voters: Vec<_> = best.unwrap_or_default().into_iter().map(|i| sites[i].node).collect();
    voters.sort();
    voters
}

/// `copies` nodes, as indexes into `sites`, spread over AZs as evenly as they can be; `first` is among them, in front.
fn spread(sites: &[Site], copies: usize, load: &Load, first: Option<usize>) -> Vec<usize> {
    let mut members: Vec<usize> = first.into_iter().collect();
    while members.len() < copies {
        let in_az = |i: usize| members.iter().filter(|m| sites[**m].az == sites[i].az).count();
        let free = (0..sites.len()).filter(|i| !members.contains(i));
        let Some(next) = free.min_by_key(|i| (in_az(*i), load.copies[*i], load.distance(*i, first))) else {
            break;
        };
        members.push(next);
    }
    members
}

/// How much each node (by its index) and AZ carries so far.
struct Load {
    copies: Vec<usize>,
    primaries: Vec<usize>,
}

impl Load {
    fn new(sites: &[Site]) -> Load {
        Load { copies: vec![0; sites.len()], primaries: vec![0; sites.len()] }
    }

    /// The node that should lead the next shard: fewest primaries in its AZ per node of it, then on itself.
    fn next_primary(&self, sites: &[Site]) -> usize {
        let in_az = |i: usize| {
            let peers = || (0..sites.len()).filter(move |j| sites[*j].az == sites[i].az);
            let primaries: usize = peers().map(|j| self.primaries[j]).sum();
            primaries * sites.len() / peers().count().max(1)
        };
        (0..sites.len()).min_by_key(|i| (self.primaries[*i], in_az(*i), self.copies[*i], *i)).unwrap_or(0)
    }

    fn add(&mut self, members: &[usize]) {
        members.iter().for_each(|i| self.copies[*i] += 1);
        self.primaries[members[0]] += 1;
    }

    /// Orders nodes of equal load by their distance behind the primary, so that followers rotate as primaries do.
    fn distance(&self, i: usize, first: Option<usize>) -> usize {
        let n = self.copies.len();
        (i + n - first.unwrap_or(0)) % n
    }
}

fn unspreadable(sites: &[Site], copies: usize) -> PlacementError {
    let mut counts: BTreeMap<&Az, usize> = BTreeMap::new();
    for i in spread(sites, copies, &Load::new(sites), None) {
        *counts.entry(&sites[i].az).or_default() += 1;
    }
    let mut nodes: BTreeMap<&Az, usize> = BTreeMap::new();
    sites.iter().for_each(|site| *nodes.entry(&site.az).or_default() += 1);
    let listed: Vec<_> = nodes.iter().map(|(az, count)| format!("{az} ({count})")).collect();
    PlacementError::Unspreadable {
        copies,
        azs: listed.join(", "),
        most: counts.values().copied().max().unwrap_or(0),
        allowed: copies - quorum(copies),
        advice: advice(sites, nodes.len()),
    }
}

/// A number of replicas that these nodes can spread, or what to add.
fn advice(sites: &[Site], azs: usize) -> String {
    let load = Load::new(sites);
    let judged = |copies: usize| judge(spread(sites, copies, &load, None).iter().map(|i| &sites[*i]));
    let works = |wanted: Spread| (2..=sites.len().min(7)).rev().find(|copies| judged(*copies) == wanted);
    match (works(Spread::Full), works(Spread::HalfOnly)) {
        (Some(copies), _) => format!("These nodes can carry --replicas {}.", copies - 1),
        (None, Some(copies)) => {
            format!("These nodes can carry --replicas {} (with a warning); a third AZ allows 2.", copies - 1)
        }
        (None, None) if azs < 2 => "Use nodes in at least 2 AZs; 3 AZs with 2 replicas is the usual layout.".into(),
        (None, None) => "Use one node in each of 3 AZs with 2 replicas.".into(),
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
