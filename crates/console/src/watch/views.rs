//! Conclusions from the reports of several nodes about their replicas.

use fastness_wire::admin::v1::DescribeClusterResponse;

/// Each node with its report, if it answered.
pub type Views = [(u64, Option<DescribeClusterResponse>)];

/// The primary of a shard according to its replicas: the leader that has a lease; if two report one, that of the newer
/// term.
#[must_use]
pub fn primary_of(shard: u32, views: &Views) -> Option<u64> {
    let replicas = views.iter().filter_map(|(node, view)| view.as_ref().map(|view| (*node, view)));
    let own = replicas.flat_map(|(node, view)| view.replicas.iter().map(move |replica| (node, replica)));
    let leads = own.filter(|(_, replica)| replica.shard == shard && replica.role == "leader" && replica.lease_held);
    leads.max_by_key(|(_, replica)| replica.term).map(|(node, _)| node)
}

/// The mode in force on a shard: its primary's, otherwise that of the replica that has applied most.
#[must_use]
pub fn mode_of(shard: u32, views: &Views) -> Option<&str> {
    let primary = primary_of(shard, views);
    let replicas = views.iter().filter_map(|(node, view)| Some((Some(*node) == primary, view.as_ref()?)));
    let own = replicas.flat_map(|(leads, view)| view.replicas.iter().map(move |replica| (leads, replica)));
    let of_shard = own.filter(|(_, replica)| replica.shard == shard && !replica.durability.is_empty());
    of_shard.max_by_key(|(leads, replica)| (*leads, replica.applied)).map(|(_, replica)| replica.durability.as_str())
}

#[cfg(test)]
mod tests {
    use fastness_wire::admin::v1::ReplicaStatus;

    use super::*;

    #[test]
    fn the_newer_leader_is_the_primary() {
        let view = |term, role: &str, lease_held| {
            let replica = ReplicaStatus { shard: 1, term, role: role.into(), lease_held, ..ReplicaStatus::default() };
            Some(DescribeClusterResponse { replicas: vec![replica], ..DescribeClusterResponse::default() })
        };
        let mut views = [(1, view(3, "leader", true)), (2, view(4, "leader", true)), (3, view(4, "follower", false))];
        assert_eq!(mode_of(1, &views), None);
        for ((_, view), mode) in views.iter_mut().zip(["async", "sync", "async"]) {
            view.as_mut().unwrap().replicas[0].durability = mode.into();
        }
        assert_eq!(mode_of(1, &views), Some("sync"), "the primary's");
        assert_eq!(primary_of(1, &views), Some(2));
        assert_eq!(primary_of(2, &views), None);
        assert_eq!(primary_of(1, &[(1, view(3, "leader", false)), (2, None)]), None);
    }
}
