//! The durability mode of each shard, and the durability lag against its bound.

use std::time::Duration;

use fastness_wire::admin::v1::ReplicaFigures;

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "durability";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    let of = |shard: u32| mode(facts, shard).into_iter().chain(lag(facts, shard));
    facts.shards().iter().flat_map(|shard| of(shard.id)).collect()
}

/// The mode in force against the desired one. Nothing without a primary.
fn mode(facts: &ClusterFacts, shard: u32) -> Option<Finding> {
    let (desired, status) = (facts.map.durability.as_str(), facts.primary_status(shard)?);
    let in_force = status.durability.as_str();
    let found = Finding::ok(CHECK, format!("shard {shard}"), format!("mode {in_force}, as desired"));
    if in_force == desired {
        return Some(found);
    }
    let observed = format!("mode {in_force:?} is in force, and {desired} is desired");
    let why = "the change of the mode has not committed on this shard; the command waits for it";
    let next = facts.access.cluster(&["set-durability", desired]);
    Some(Finding { observed, ..found }.but(CheckResult::Warning, why).then(next))
}

/// Only in `async` is there a lag that writes are refused for.
fn lag(facts: &ClusterFacts, shard: u32) -> Option<Finding> {
    if facts.primary_status(shard)?.durability != "async" {
        return None;
    }
    let figures = facts.primary_figures(shard)?;
    let ReplicaFigures { durability_lag_us, durability_max_lag_us, lag_gate, .. } = figures;
    let (lag, bound) = (Duration::from_micros(*durability_lag_us), Duration::from_micros(*durability_max_lag_us));
    let found =
        Finding::ok(CHECK, format!("shard {shard}"), format!("lag {lag:.1?} of at most {bound:.0?}, gate {lag_gate}"));
    let next = facts.access.cluster(&["events", "--shard", &shard.to_string(), "--since", "10m"]);
    if lag_gate == "closed" {
        let why = "writes are refused with CLUSTERDOWN until the log has caught up";
        return Some(found.but(CheckResult::Problem, why).then(next));
    }
    if lag_gate == "slowing" || lag > bound / 2 {
        let why = "writes are slowed, and refused at the bound: a disk is slow, or a replica does not answer";
        return Some(found.but(CheckResult::Warning, why).then(next));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_replica};
    use super::*;

    #[test]
    fn the_mode_is_the_desired_one() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 2]);
        let other = with_replica(2, 2, |replica| replica.durability = "async".into());
        let found = check(&other);
        assert_eq!(results(&found), [CheckResult::Ok, CheckResult::Warning, CheckResult::Ok]);
        assert!(
            found[1]
                .next
                .as_ref()
                .unwrap()
                .to_string()
                .starts_with("fastness cluster set-durability sync --address a:1")
        );
    }

    #[test]
    fn a_lag_is_compared_with_its_bound() {
        let of = |lag_us, gate: &str| {
            let mut facts = with_replica(1, 1, |replica| replica.durability = "async".into());
            let figures = facts.nodes[0].answer.as_mut().unwrap().figures.as_mut().unwrap();
            (figures.replicas[0].durability_lag_us, figures.replicas[0].lag_gate) = (lag_us, gate.to_owned());
            results(&check(&facts))[1]
        };
        assert_eq!(of(40_000, "open"), CheckResult::Ok);
        assert_eq!([of(6_000_000, "open"), of(6_000_000, "slowing")], [CheckResult::Warning; 2]);
        assert_eq!(of(10_000_000, "closed"), CheckResult::Problem);
    }
}
