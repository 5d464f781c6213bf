//! Tests of placement: every layout of up to 4 AZs with up to 4 nodes each, judged by the definition of the rule.

use std::collections::BTreeSet;

use super::*;

fn sites(counts: &[usize]) -> Vec<Site> {
    let mut sites = Vec::new();
    // One node of each AZ in turn, as with `--azs a,b,c,a`.
    for round in 0..counts.iter().copied().max().unwrap_or(0) {
        for (az, count) in counts.iter().enumerate() {
            if round < *count {
                let name = ["a", "b", "c", "d"][az];
                sites.push(Site { node: NodeId(sites.len() as u64 + 1), az: name.into() });
            }
        }
    }
    sites
}

/// The definition of the rule, evaluated for every lost AZ and every majority.
fn survives_by_definition(azs: &[Az]) -> (bool, bool) {
    let n = azs.len();
    let quorum = n / 2 + 1;
    let distinct: BTreeSet<_> = azs.iter().collect();
    let within = |az: &Az| azs.iter().filter(|other| *other == az).count();
    let commits_span_two = distinct.iter().all(|az| within(az) < quorum);
    let loss_leaves_majority = distinct.iter().all(|az| n - within(az) >= quorum);
    (commits_span_two, loss_leaves_majority)
}

fn each_layout(mut check: impl FnMut(&[usize], &[Site])) {
    let mut layouts = 0;
    for code in 1..5usize.pow(4) {
        let counts: Vec<_> = (0..4).map(|i| code / 5usize.pow(i) % 5).collect();
        check(&counts, &sites(&counts));
        layouts += 1;
    }
    assert_eq!(layouts, 624);
}

#[test]
fn the_rule_agrees_with_its_definition() {
    each_layout(|counts, sites| {
        let azs: Vec<_> = sites.iter().map(|site| site.az.clone()).collect();
        let (span, survive) = survives_by_definition(&azs);
        let two = counts.iter().filter(|count| **count > 0).count() == 2;
        match judge(sites) {
            Spread::Full => assert!(span && survive, "{counts:?}"),
            Spread::HalfOnly => assert!(two && span && !survive, "{counts:?}"),
            Spread::Broken => assert!(!span || (!survive && !two), "{counts:?}"),
        }
    });
}

#[test]
fn every_layout_is_placed_by_the_rule_or_refused() {
    each_layout(|counts, sites| {
        for replicas in 1..7 {
            let possible = possible(counts, replicas as usize + 1);
            match place(sites, 5, replicas, true) {
                Ok(placement) => check_placement(counts, sites, replicas, &placement),
                Err(PlacementError::TooFewNodes { copies, nodes }) => assert!(copies > nodes),
                Err(PlacementError::Unspreadable { .. }) => assert!(!possible, "{counts:?} {replicas}"),
            }
        }
    });
}

/// Whether any choice of `copies` nodes obeys the rule: takes the largest counts that it allows.
fn possible(counts: &[usize], copies: usize) -> bool {
    let fits = |cap: usize| counts.iter().map(|count| (*count).min(cap)).sum::<usize>() >= copies;
    let quorum = copies / 2 + 1;
    let two = counts.iter().filter(|count| **count > 0).count() == 2;
    fits(copies - quorum) || (two && fits(quorum - 1))
}

fn check_placement(counts: &[usize], sites: &[Site], replicas: u32, placement: &Placement) {
    let site_of = |id: &NodeId| sites.iter().find(|site| site.node == *id).unwrap();
    let mut primaries = vec![0usize; sites.len() + 1];
    let mut next = 0;
    for shard in &placement.shards {
        assert_eq!(shard.members.len(), replicas as usize + 1, "{counts:?}");
        assert_eq!(shard.members.iter().collect::<BTreeSet<_>>().len(), shard.members.len());
        let spread = judge(shard.members.iter().map(site_of));
        assert_ne!(spread, Spread::Broken, "{counts:?} {replicas}");
        assert_eq!(spread == Spread::HalfOnly, !placement.warnings.is_empty());
        assert_eq!(shard.first.0, next);
        next = shard.last.0 + 1;
        primaries[shard.members[0].0 as usize] += 1;
    }
    assert_eq!(usize::from(next), SLOTS);
    let (most, least) = (primaries[1..].iter().max(), primaries[1..].iter().min());
    assert!(most.unwrap() - least.unwrap() <= 1, "{counts:?} {primaries:?}");
    let voters: Vec<_> = placement.control_voters.iter().map(site_of).collect();
    assert!(voters.len() <= CONTROL_VOTERS_MAX);
    assert_ne!(judge(voters.iter().copied()), Spread::Broken, "{counts:?}: voters {voters:?}");
}

fn members(placement: &Placement) -> Vec<Vec<u64>> {
    placement.shards.iter().map(|shard| shard.members.iter().map(|id| id.0).collect()).collect()
}

#[test]
fn three_shards_over_three_azs_rotate() {
    let placement = place(&sites(&[1, 1, 1]), 3, 2, true).unwrap();
    assert_eq!(members(&placement), [[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
    assert_eq!(placement.control_voters, [NodeId(1), NodeId(2), NodeId(3)]);
    assert!(placement.warnings.is_empty());
}

#[test]
fn copies_are_spread_over_the_nodes_of_an_az() {
    let placement = place(&sites(&[2, 2, 2]), 6, 2, true).unwrap();
    let mut copies = [0; 7];
    members(&placement).iter().flatten().for_each(|id| copies[*id as usize] += 1);
    // Three each on average; the rotation of the primaries may shift one.
    assert_eq!(copies.iter().sum::<i32>(), 18);
    assert!(copies[1..].iter().all(|n| (2..=4).contains(n)), "{copies:?}");
    assert_eq!(placement.control_voters.len(), 5);
}

#[test]
fn an_az_named_twice_leaves_a_follower_of_the_control_plane() {
    let placement = place(&sites(&[2, 1, 1]), 3, 2, true).unwrap();
    assert_eq!(placement.control_voters.len(), 3);
}

#[test]
fn two_azs_are_allowed_with_a_warning() {
    assert_eq!(place(&sites(&[1, 1]), 1, 1, true).unwrap().warnings.len(), 1);
    assert_eq!(place(&sites(&[2, 2]), 1, 3, true).unwrap().warnings.len(), 1);
}

#[test]
fn refusals_name_a_layout_that_works() {
    let text = |counts: &[usize], replicas| place(&sites(counts), 1, replicas, true).unwrap_err().to_string();
    assert!(text(&[3], 2).contains("at least 2 AZs"), "{}", text(&[3], 2));
    assert!(text(&[2, 1], 2).contains("--replicas 1 (with a warning)"), "{}", text(&[2, 1], 2));
    assert!(text(&[2, 1, 1], 3).contains("can carry --replicas 2"), "{}", text(&[2, 1, 1], 3));
    assert!(text(&[1, 1, 1], 3).contains("at most 2 replicas"), "{}", text(&[1, 1, 1], 3));
}

#[test]
fn without_durability_one_az_is_enough() {
    let placement = place(&sites(&[3]), 2, 2, false).unwrap();
    assert_eq!(placement.warnings.len(), 1);
    assert_eq!(place(&sites(&[1]), 1, 0, false).unwrap().control_voters, [NodeId(1)]);
}
