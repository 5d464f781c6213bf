//! The state of each replica, and how far it is behind its primary.

use fastness_types::limits::CAUGHT_UP_ENTRIES_MAX;
use fastness_wire::admin::v1::{GroupMember, ReplicaStatus};

use super::super::finding::{CheckResult, Finding};
use super::facts::ClusterFacts;

const CHECK: &str = "replicas";

pub fn check(facts: &ClusterFacts) -> Vec<Finding> {
    facts.shards().iter().map(|shard| of_shard(facts, shard.id)).collect()
}

fn of_shard(facts: &ClusterFacts, shard: u32) -> Finding {
    let subject = format!("shard {shard}");
    let events = ["events", "--shard", &shard.to_string(), "--since", "1h"].map(str::to_owned);
    let next = facts.access.cluster(&events.each_ref().map(String::as_str));
    let stopped = facts.replicas(shard).find(|(_, replica)| replica.role == "stopped" || !replica.ready);
    if let Some((node, replica)) = stopped {
        let state = if replica.role == "stopped" { "has stopped" } else { "is not ready to serve" };
        let why = "the shard has a copy less to spare; a replica that has stopped returns with a restart of its node";
        let found = Finding::ok(CHECK, subject, format!("the replica on node {node} {state}"));
        return found.but(CheckResult::Problem, why).then(next);
    }
    let Some(primary) = facts.primary_status(shard) else {
        return Finding::not_checked(CHECK, subject, "without a primary nobody knows how far replicas are behind");
    };
    let behind: Vec<_> = primary.members.iter().filter_map(|member| lag(primary, member)).collect();
    if behind.is_empty() {
        let count = primary.members.len();
        return Finding::ok(
            CHECK,
            subject,
            format!("{count} members have the log up to position {}", primary.committed),
        );
    }
    let why = "a replica that is behind has to catch up before it can vote for a write or take over";
    Finding::ok(CHECK, subject, behind.join(", ")).but(CheckResult::Warning, why).then(next)
}

/// How far a member is behind, if that is more than a replica that has caught up may lack.
fn lag(primary: &ReplicaStatus, member: &GroupMember) -> Option<String> {
    let entries = primary.committed.saturating_sub(member.matched);
    let node = member.node;
    if !member.answers {
        return Some(format!("node {node} does not answer its leader, and is {entries} entries behind"));
    }
    (entries > CAUGHT_UP_ENTRIES_MAX).then(|| format!("node {node} is {entries} entries behind"))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::results;
    use super::super::fixture::{healthy, with_replica};
    use super::*;

    #[test]
    fn replicas_that_stop_or_fall_behind_are_named() {
        assert_eq!(results(&check(&healthy())), [CheckResult::Ok; 2]);
        let found = check(&with_replica(3, 1, |replica| replica.ready = false));
        assert_eq!(results(&found), [CheckResult::Problem, CheckResult::Ok]);
        assert!(found[0].observed.contains("node 3"));
        let stopped = with_replica(3, 2, |replica| replica.role = "stopped".into());
        assert_eq!(results(&check(&stopped)), [CheckResult::Ok, CheckResult::Problem]);
        let behind = |entries| with_replica(1, 1, |replica| replica.committed += entries);
        assert_eq!(results(&check(&behind(501)))[0], CheckResult::Warning);
        assert_eq!(results(&check(&behind(500)))[0], CheckResult::Ok);
        let mute = with_replica(1, 1, |replica| replica.members[1].answers = false);
        assert_eq!(results(&check(&mute))[0], CheckResult::Warning);
        let leaderless = with_replica(1, 1, |replica| replica.lease_held = false);
        assert_eq!(results(&check(&leaderless))[0], CheckResult::NotChecked);
    }
}
