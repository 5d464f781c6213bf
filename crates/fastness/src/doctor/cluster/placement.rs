//! Whether each shard survives the loss of any one AZ.

use std::collections::BTreeMap;

use fastness_wire::admin::v1::ShardStatus;

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "AZ placement";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    facts.shards().iter().map(|shard| of_shard(facts, shard)).collect()
}

fn of_shard(facts: &ClusterFacts, shard: &ShardStatus) -> Finding {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &shard.members {
        *zones.entry(facts.az(*node)).or_default() += 1;
    }
    let (voters, subject) = (shard.members.len(), format!("shard {}", shard.id));
    let shown: Vec<_> = zones.iter().map(|(az, count)| format!("{count} in {az}")).collect();
    let found = Finding::ok(CHECK, subject, format!("{voters} voters: {}", shown.join(", ")));
    // A new node belongs into an AZ that has no voter of the shard, or into a new one.
    let empty = facts.map.nodes.iter().map(|node| node.az.as_str()).find(|az| !zones.contains_key(az));
    let next = facts.access.add_node(empty.unwrap_or("another-az"));
    if zones.len() < 2 {
        let (result, why) = match facts.is_durable() {
            true => (CheckResult::Problem, "a write is acknowledged by one AZ alone, and is lost with it"),
            false => (CheckResult::Warning, "the shard is lost with this AZ; its mode promises no more"),
        };
        return found.but(result, why).then(next);
    }
    let quorum = voters / 2 + 1;
    match zones.iter().find(|(_, count)| voters - **count < quorum) {
        Some((az, _)) => {
            let why = format!(
                "if AZ {az} is lost, the other voters are no quorum: the shard serves nothing until it returns"
            );
            found.but(CheckResult::Warning, why).then(next)
        }
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, of_folder};
    use super::*;

    fn placed(zones: [&str; 3]) -> ClusterFacts {
        let mut facts = healthy();
        for (node, az) in facts.map.nodes.iter_mut().zip(zones) {
            node.az = az.to_owned();
        }
        facts
    }

    #[test]
    fn voters_are_spread_over_zones() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 2]);
        assert_eq!(results(&check(&placed(["a", "a", "b"]))), [CheckResult::Warning; 2]);
        assert_eq!(results(&check(&placed(["a", "a", "a"]))), [CheckResult::Problem; 2]);
        let mut cache = placed(["a", "a", "a"]);
        cache.map.durability = "disabled".to_owned();
        assert_eq!(results(&check(&cache)), [CheckResult::Warning; 2]);
    }

    #[test]
    fn the_next_node_belongs_into_an_az_without_a_voter() {
        let mut facts = ClusterFacts { access: of_folder(), ..healthy() };
        facts.map.shards[0].members = vec![1, 2];
        let found = check(&facts);
        assert_eq!(results(&found), [CheckResult::Warning, CheckResult::Ok]);
        assert_eq!(found[0].next.as_ref().unwrap().to_string(), "fastness dev node add --az c --dir d");
    }
}
