//! Whether every shard, and the control plane, has a primary.

use super::super::finding::{CheckResult, Finding, NextStep};
use super::facts::ClusterFacts;

const CHECK: &str = "primary";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let shards = facts.shards().iter().map(|shard| of_group(facts, shard.id, format!("shard {}", shard.id)));
    [of_group(facts, 0, "the control plane".to_owned())].into_iter().chain(shards).collect()
}

fn of_group(facts: &ClusterFacts, group: u32, subject: String) -> Finding {
    let primary = match group {
        // Nobody serves clients under a lease of group 0.
        0 => leader(facts),
        shard => facts.primary(shard),
    };
    match primary {
        Some(node) => Finding::ok(CHECK, subject, format!("node {node}")),
        None => {
            let roles: Vec<_> =
                facts.replicas(group).map(|(node, replica)| format!("node {node}: {}", replica.role)).collect();
            let observed = if roles.is_empty() { "no replica answers".to_owned() } else { roles.join(", ") };
            Finding::ok(CHECK, subject, format!("none ({observed})"))
                .but(CheckResult::Problem, "clients are answered CLUSTERDOWN until a quorum of the members elects one")
                .then(next(facts, group))
        }
    }
}

fn leader(facts: &ClusterFacts) -> Option<u64> {
    let leads = facts.replicas(0).filter(|(_, replica)| replica.role == "leader");
    leads.max_by_key(|(_, replica)| replica.term).map(|(node, _)| node)
}

/// Members that are down are started first; if all are up, the journal says why none is elected.
fn next(facts: &ClusterFacts, group: u32) -> NextStep {
    let is_member = |node: u64| facts.shards().iter().any(|shard| shard.id == group && shard.members.contains(&node));
    let down = facts.nodes.iter().find_map(|node| Some((node, node.answer.as_ref().err()?)));
    match down.filter(|(node, _)| group == 0 || is_member(node.spec.id)) {
        Some((node, silence)) => facts.access.start(&node.spec, silence.hangs),
        None => facts.access.cluster(&["events", "--kind", "elected,leadership_lost,lease_lost", "--since", "10m"]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_replica, without};
    use super::*;

    #[test]
    fn a_shard_without_a_primary_is_a_problem() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 3]);
        let found = check(&with_replica(1, 1, |replica| replica.lease_held = false));
        assert_eq!(results(&found), [CheckResult::Ok, CheckResult::Problem, CheckResult::Ok]);
        assert!(found[1].next.as_ref().unwrap().to_string().starts_with("fastness cluster events"));
        let lost = check(&without(&[1, 3], false));
        assert_eq!(results(&lost), [CheckResult::Problem, CheckResult::Problem, CheckResult::Ok]);
        assert!(lost[1].next.as_ref().unwrap().to_string().contains("fastness@1"), "{lost:?}");
    }
}
