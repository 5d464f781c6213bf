//! Where calls go: what a topology says of each shard, and who answers a read.

use std::sync::Arc;

use fastness_wire::v1;

use crate::settings::ReadConsistency;
use crate::slots::{Member, ShardRoute};

/// The routes that a topology names. What is not valid in it is left out.
pub(crate) fn routes(topology: &v1::Topology) -> Vec<ShardRoute> {
    let node = |id: u64| topology.nodes.iter().find(|node| node.id == id && !node.address.is_empty());
    let member = |of: &v1::TopologyMember| {
        let node = node(of.node)?;
        Some(Member { address: node.address.as_str().into(), az: node.availability_zone.as_str().into() })
    };
    let route = |shard: &v1::TopologyShard| {
        let slots = u16::try_from(shard.first_slot).ok()?..=u16::try_from(shard.last_slot).ok()?;
        let primary = node(shard.primary).map(|node| node.address.as_str().into());
        let serving = shard.members.iter().filter(|member| member.serves_reads || member.node == shard.primary);
        Some(ShardRoute { slots, shard: shard.id, primary, members: serving.filter_map(member).collect() })
    };
    topology.shards.iter().filter_map(route).collect()
}

/// The replica that a read goes to; absent: the primary. `members` are those that serve reads, `turn` rises with each
/// read.
pub(crate) fn choose_replica(
    consistency: ReadConsistency,
    own_az: Option<&str>,
    (primary, members): (Option<&Arc<str>>, &[Member]),
    turn: usize,
    is_silent: impl Fn(&str) -> bool,
) -> Option<Arc<str>> {
    let is_primary = |member: &Member| primary == Some(&member.address);
    let az = match consistency {
        ReadConsistency::Primary | ReadConsistency::Linearizable => return None,
        ReadConsistency::Replica { .. } => None,
        ReadConsistency::AzLocal => {
            let own = own_az?;
            if members.iter().any(|member| is_primary(member) && *member.az == *own) {
                return None;
            }
            Some(own)
        }
    };
    let fits = |member: &&Member| !is_primary(member) && az.is_none_or(|az| *member.az == *az);
    let fits: Vec<&Member> = members.iter().filter(fits).filter(|member| !is_silent(&member.address)).collect();
    let chosen = fits.get(turn.checked_rem(fits.len())?)?;
    Some(chosen.address.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn topology() -> v1::Topology {
        let node =
            |id: u64, az: &str| v1::TopologyNode { id, address: format!("n{id}:1"), availability_zone: az.to_owned() };
        let member = |node| v1::TopologyMember { node, serves_reads: node != 5 };
        v1::Topology {
            cluster: vec![1].into(),
            map_version: 7,
            nodes: vec![node(1, "a"), node(2, "b"), node(3, "c"), node(4, "b"), node(5, "b")],
            shards: vec![v1::TopologyShard {
                id: 1,
                first_slot: 0,
                last_slot: 16_383,
                members: [1, 2, 3, 4, 5, 9].map(member).to_vec(),
                primary: 1,
            }],
        }
    }

    #[track_caller]
    fn check(consistency: ReadConsistency, az: Option<&str>, failed: &[&str], expect: [Option<&str>; 4]) {
        let route = routes(&topology()).remove(0);
        let chosen = (0..4).map(|turn| {
            let of = (route.primary.as_ref(), &*route.members);
            choose_replica(consistency, az, of, turn, |address| failed.contains(&address))
        });
        let expect = expect.map(|address| address.map(Arc::from)).to_vec();
        assert_eq!(chosen.collect::<Vec<_>>(), expect, "{consistency:?} {az:?} {failed:?}");
    }

    #[test]
    fn reads_go_where_they_may() {
        let any = ReadConsistency::Replica { max_staleness: None };
        let (n2, n3, n4) = (Some("n2:1"), Some("n3:1"), Some("n4:1"));
        for consistency in [ReadConsistency::Primary, ReadConsistency::Linearizable] {
            check(consistency, Some("b"), &[], [None; 4]);
        }
        check(any, Some("c"), &[], [n2, n3, n4, n2]);
        check(any, None, &["n3:1"], [n2, n4, n2, n4]);
        check(any, None, &["n2:1", "n3:1", "n4:1"], [None; 4]);
        let local = ReadConsistency::AzLocal;
        check(local, Some("b"), &[], [n2, n4, n2, n4]);
        check(local, Some("b"), &["n2:1"], [n4; 4]);
        check(local, Some("c"), &[], [n3; 4]);
        check(local, Some("c"), &["n3:1"], [None; 4]);
        check(local, Some("a"), &[], [None; 4]);
        check(local, Some("nowhere"), &[], [None; 4]);
        check(local, None, &[], [None; 4]);
    }

    #[test]
    fn what_is_not_valid_is_left_out() {
        let mut wrong = topology();
        wrong.shards[0].last_slot = 70_000;
        wrong.nodes.clear();
        assert!(routes(&wrong).is_empty());
        let mut unknown = topology();
        unknown.shards[0].primary = 0;
        let route = routes(&unknown).remove(0);
        assert_eq!((route.primary, route.members.len()), (None, 4));
    }
}
