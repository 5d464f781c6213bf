//! Whether every node answers, and whether an AZ as a whole does not.

use std::collections::BTreeMap;

use super::super::finding::{CheckResult, Finding};
use super::facts::{ClusterFacts, NodeFacts};

/// Its name, also for a cluster of which no node answers.
pub const CHECK: &str = "reachability";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let nodes = facts.nodes.iter().map(|node| of_node(facts, node));
    let mut zones: BTreeMap<&str, Vec<&NodeFacts>> = BTreeMap::new();
    for node in &facts.nodes {
        zones.entry(&node.spec.az).or_default().push(node);
    }
    let down = zones.into_iter().filter(|(_, nodes)| nodes.iter().all(|node| node.answer.is_err()));
    nodes.chain(down.filter_map(|(az, nodes)| of_zone(facts, az, &nodes))).collect()
}

fn of_node(facts: &ClusterFacts, node: &NodeFacts) -> Finding {
    match &node.answer {
        Ok(_) => Finding::ok(CHECK, node.name(), format!("answers on {}", node.spec.grpc_address)),
        Err(silence) => Finding::ok(CHECK, node.name(), format!("AZ {}: {silence}", node.spec.az))
            .but(CheckResult::Problem, "its replicas neither vote nor serve: the cluster has fewer failures to spare")
            .then(facts.access.start(&node.spec, silence.hangs)),
    }
}

fn of_zone(facts: &ClusterFacts, az: &str, nodes: &[&NodeFacts]) -> Option<Finding> {
    let ids: Vec<_> = nodes.iter().map(|node| node.spec.id.to_string()).collect();
    let found = Finding::ok(CHECK, format!("AZ {az}"), format!("none of its nodes answers ({})", ids.join(", ")));
    let why = "writes commit on the other AZs alone; if one more is lost, no shard serves";
    Some(found.but(CheckResult::Problem, why).then(facts.access.start_az(az, &nodes.first()?.spec)))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, of_folder, without};
    use super::*;

    #[test]
    fn a_node_and_its_az_are_named_with_the_command_that_starts_them() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 3]);
        let down = ClusterFacts { access: of_folder(), ..without(&[2], false) };
        let found = check(&down);
        assert_eq!(results(&found), [CheckResult::Ok, CheckResult::Problem, CheckResult::Ok, CheckResult::Problem]);
        let next = |at: usize| found[at].next.as_ref().unwrap().to_string();
        assert_eq!(
            (next(1), next(3)),
            ("fastness lab node start 2 --dir d".into(), "fastness lab az up b --dir d".into())
        );
        assert_eq!(found[3].subject, "AZ b");
    }

    #[test]
    fn a_node_that_hangs_is_resumed_and_a_remote_one_is_looked_at_there() {
        let hangs = ClusterFacts { access: of_folder(), ..without(&[3], true) };
        let next = check(&hangs)[2].next.clone().unwrap().to_string();
        assert_eq!(next, "fastness lab node resume 3 --dir d");
        let next = check(&without(&[3], false))[2].next.clone().unwrap().to_string();
        assert_eq!(next, "ssh 10.0.3.1 'systemctl status fastness@3'");
    }
}
