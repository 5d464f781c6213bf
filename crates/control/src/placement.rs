//! Decides which nodes get a replica of which shard, and which of them is the preferred primary.
//!
//! The AZ rule: with n copies and quorum q = n/2 + 1, an AZ has at most n−q of them. So any majority covers at least
//! two AZs (every commit spans them), and the loss of any one AZ leaves a majority. With two AZs only the first half is
//! possible (1+1, 2+2: an AZ has fewer than q copies). That is allowed, with a warning.
//!
//! Placement is greedy and deterministic: each further copy goes to the AZ with the fewest copies of this shard, and
//! there to the node with the fewest copies of all shards. The most even spread also has the smallest maximum per AZ,
//! so if this one breaks the rule, every one does.

use std::collections::BTreeMap;

use fastness_consensus::placement::quorum;
use fastness_types::{Az, NodeId, SLOTS, ShardId, Slot};

use crate::map::ShardMap;

/// Largest number of voters of the control plane; further nodes follow it without a vote.
pub const CONTROL_VOTERS_MAX: usize = 5;

/// The properties of a node that placement needs.
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

/// Why no placement obeys the rule. The text says which layout would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There are more copies than nodes.
    #[error(
        "{copies} copies of each shard (a primary and {} replicas) need {copies} nodes, there are {nodes}: \
         add nodes, or ask for at most {} replicas",
        copies - 1,
        nodes.saturating_sub(1)
    )]
    TooFewNodes {
        /// Requested copies of each shard.
        copies: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// The copies cannot be spread over the AZs.
    #[error(
        "{copies} copies over the AZs {azs} put {most} into one AZ, and at most {allowed} may be: the loss of that AZ, or \
         a commit inside it, would break the promise. {advice}"
    )]
    Unspreadable {
        /// Requested copies of each shard.
        copies: usize,
        /// Each AZ with its number of nodes, as text.
        azs: String,
        /// The fewest copies that some AZ must have.
        most: usize,
        /// The most copies that the rule allows.
        allowed: usize,
        /// A layout that obeys the rule.
        advice: String,
    },
}

/// Judges a set of copies by the number in each AZ. The rule itself is in [`fastness_consensus::placement`].
fn judge<'a>(sites: impl IntoIterator<Item = &'a Site>) -> Spread {
    match fastness_consensus::placement::check(sites.into_iter().map(|site| (site.node, &site.az))) {
        Ok(None) => Spread::Full,
        Ok(Some(_)) => Spread::HalfOnly,
        Err(_) => Spread::Broken,
    }
}

/// A placement of all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Shards by id; slots are split evenly.
    pub shards: Vec<ShardMap>,
    /// The voters of the control plane.
    pub control_voters: Vec<NodeId>,
    /// Warnings for the operator: what the layout guarantees only in part.
    pub warnings: Vec<String>,
}

/// Places `shards` shards with `replicas` copies besides the primary. If `durable`, the AZ rule must hold; otherwise
/// the copies are spread as well as possible.
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

/// Up to [`CONTROL_VOTERS_MAX`] nodes that obey the rule as well as any number of nodes does; the larger number if
/// equal.
fn control_voters(sites: &[Site]) -> Vec<NodeId> {
    let load = Load::new(sites);
    let candidates = (1..=sites.len().min(CONTROL_VOTERS_MAX)).map(|n| spread(sites, n, &load, None));
    let rank = |members: &Vec<usize>| match judge(members.iter().map(|i| &sites[*i])) {
        Spread::Full => 2,
        Spread::HalfOnly => 1,
        Spread::Broken => 0,
    };
    // An even number survives no more losses than the next lower odd one, and needs more answers, so it is chosen only
    // if it spreads better.
    let best = candidates.max_by_key(|members| (rank(members), members.len() % 2 == 1, members.len()));
    let mut voters: Vec<_> = best.unwrap_or_default().into_iter().map(|i| sites[i].node).collect();
    voters.sort();
    voters
}

/// Chooses `copies` nodes, as indexes into `sites`, spread over AZs as evenly as possible; `first` is the first of
/// them.
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

/// Number of copies that each node (by index) and AZ has so far.
struct Load {
    copies: Vec<usize>,
    primaries: Vec<usize>,
}

impl Load {
    fn new(sites: &[Site]) -> Load {
        Load { copies: vec![0; sites.len()], primaries: vec![0; sites.len()] }
    }

    /// The node to be the next preferred primary: fewest primaries in its AZ per node, then fewest on the node itself.
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

    /// Orders nodes of equal load by their distance from the primary, so that followers rotate as primaries do.
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

/// A number of replicas that these nodes can have, or what to add.
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
