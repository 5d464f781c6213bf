//! How many voters of a shard could fail before no write commits.

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "quorum margin";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    facts.shards().iter().filter_map(|shard| of_shard(facts, shard.id, shard.members.len())).collect()
}

/// Nothing without a primary: only a leader knows who answers.
fn of_shard(facts: &ClusterFacts, shard: u32, voters: usize) -> Option<Finding> {
    let margin = facts.primary_figures(shard)?.quorum_margin?;
    let found = Finding::ok(CHECK, format!("shard {shard}"), format!("{margin} of {voters} voters could fail"));
    // A shard without replicas never has one to spare.
    if margin > 0 || voters == 1 {
        return Some(found);
    }
    let next = facts.nodes.iter().find_map(|node| Some((node, node.answer.as_ref().err()?)));
    let next = match next {
        Some((node, silence)) => facts.access.start(&node.spec, silence.hangs),
        None => facts.access.cluster(&["describe"]),
    };
    let (result, why) = match margin {
        ..0 => (CheckResult::Problem, "too few voters answer: no write commits"),
        _ => (CheckResult::Warning, "if one more voter fails, no write commits"),
    };
    Some(found.but(result, why).then(next))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_figures, with_replica};
    use super::*;

    #[test]
    fn a_shard_has_a_voter_to_spare() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 2]);
        let of = |margin| results(&check(&with_figures(1, 1, |figures| figures.quorum_margin = Some(margin))))[0];
        assert_eq!([of(0), of(-1)], [CheckResult::Warning, CheckResult::Problem]);
        let leaderless = with_replica(1, 1, |replica| replica.lease_held = false);
        assert_eq!(check(&leaderless).len(), 1, "reported by the check of primaries");
        let mut alone = with_figures(1, 1, |figures| figures.quorum_margin = Some(0));
        alone.map.shards[0].members = vec![1];
        assert_eq!(results(&check(&alone))[0], CheckResult::Ok);
    }
}
