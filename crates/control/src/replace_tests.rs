//! Tests of the conditions for a replacement, and of the map during one.

use fastness_types::{DiskId, ShardId};

use super::*;
use crate::fixtures::{node, three_nodes};
use crate::map::MapError;

fn newcomer(id: u64, az: &str) -> Newcomer {
    let info = NodeInfo { resp_tls_port: 8400 + 10 * id as u16, ..node(id, az) };
    Newcomer { info, pristine: true }
}

/// The reports of the leaders while node 1 is down.
fn groups(map: &ClusterMap) -> BTreeMap<GroupId, GroupView> {
    let view = |group| {
        let halves = vec![voters_of(map, group).collect()];
        GroupView { leader: NodeId(2), halves, answering: BTreeSet::from([NodeId(2), NodeId(3)]) }
    };
    groups_of(map).map(|group| (group, view(group))).collect()
}

fn refused(map: &ClusterMap, old: u64, new: &Newcomer, groups: &BTreeMap<GroupId, GroupView>, reason: &str) {
    let error = check(map, NodeId(old), new, groups).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_dead_node_is_replaced_in_its_az_or_in_one_that_has_none() {
    let map = three_nodes();
    for az in ["a", "d"] {
        assert_eq!(check(&map, NodeId(1), &newcomer(4, az), &groups(&map)), Ok(vec![]));
    }
}

#[test]
fn a_replacement_that_breaks_the_az_rule_is_refused_with_advice() {
    let map = three_nodes();
    let error = check(&map, NodeId(1), &newcomer(4, "b"), &groups(&map)).unwrap_err();
    assert!(matches!(error, ReplaceError::Placement { group: GroupName(GroupId::CONTROL), .. }), "{error}");
    for part in ["the control plane", "AZ b holds 2 of 3 voters", "1 + 1 + 1", "Use a new node in AZ a"] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    // Node 1 votes in shard 1 only.
    let mut map = three_nodes();
    map.nodes.push(node(5, "e"));
    (map.control_voters, map.shards[1].members) =
        (vec![NodeId(2), NodeId(3), NodeId(5)], vec![NodeId(2), NodeId(3), NodeId(5)]);
    refused(&map, 1, &newcomer(4, "c"), &groups(&map), "shard 1 would break the AZ rule");
    map.durability = fastness_types::Durability::Disabled;
    assert_eq!(check(&map, NodeId(1), &newcomer(4, "c"), &groups(&map)), Ok(vec![]), "nothing is promised");
}

#[test]
fn names_must_be_right() {
    let map = three_nodes();
    let all = groups(&map);
    refused(&map, 9, &newcomer(4, "a"), &all, "no node 9 in this cluster; its nodes are 1, 2, 3");
    refused(&map, 1, &newcomer(2, "a"), &all, "belongs to the cluster already");
    refused(&map, 1, &newcomer(1, "a"), &all, "belongs to the cluster already");
    let map = map.with_replacement(NodeId(1), &node(4, "a")).unwrap();
    refused(&map, 2, &newcomer(5, "b"), &all, "node 4 is replacing node 1");
    refused(&map, 4, &newcomer(1, "a"), &all, "was replaced");
    let map = map.with_replacement_finished(NodeId(4)).unwrap();
    refused(&map, 1, &newcomer(5, "a"), &all, "replaced already, by node 4");
    refused(&map, 2, &newcomer(1, "b"), &all, "a node with that id was replaced");
    let mut back = newcomer(5, "b");
    back.info.disk = DiskId([1; 16]);
    refused(&map, 2, &back, &all, "or its disk, was replaced");
}

#[test]
fn a_node_that_serves_or_is_not_new_or_does_not_fit_is_refused() {
    let map = three_nodes();
    let all = groups(&map);
    let used = Newcomer { pristine: false, ..newcomer(4, "a") };
    refused(&map, 1, &used, &all, "its disk is not empty");
    let mut same_address = newcomer(4, "a");
    same_address.info.peer_address = map.nodes[1].peer_address.clone();
    refused(&map, 1, &same_address, &all, "which is node 2's");
    same_address.info.peer_address = map.nodes[0].peer_address.clone();
    same_address.info.resp_tls_port = 65_535;
    refused(&map, 1, &same_address, &all, "above 65535");

    let with = |change: &dyn Fn(&mut GroupView)| {
        let mut groups = all.clone();
        change(groups.get_mut(&GroupId::from(ShardId(2))).unwrap());
        groups
    };
    refused(
        &map,
        1,
        &newcomer(4, "a"),
        &with(&|view| view.leader = NodeId(1)),
        "running (it leads shard 2): stop it first",
    );
    let hears = with(&|view| view.answering.extend([NodeId(1)]));
    refused(&map, 1, &newcomer(4, "a"), &hears, "node 2, which leads shard 2, hears it");
    let joint = with(&|view| view.halves.push(BTreeSet::from([NodeId(4)])));
    refused(&map, 1, &newcomer(4, "a"), &joint, "membership of shard 2 does not match");
    let mut without = all.clone();
    without.remove(&GroupId::CONTROL);
    refused(&map, 1, &newcomer(4, "a"), &without, "the control plane has no primary");
}

/// A replacing node that fails is replaced in turn; the nodes that left before it continue to leave.
#[test]
fn a_replacement_may_be_replaced_before_it_is_complete() {
    let map = three_nodes().with_replacement(NodeId(1), &node(4, "a")).unwrap();
    let mut all = groups(&map);
    all.values_mut().for_each(|view| view.halves.insert(0, BTreeSet::from([NodeId(1), NodeId(2), NodeId(3)])));
    check(&map, NodeId(4), &newcomer(5, "a"), &all).unwrap();
    let map = map.with_replacement(NodeId(4), &node(5, "a")).unwrap();
    let leaving: Vec<_> = map.leaving().iter().map(|node| node.id.0).collect();
    assert_eq!((leaving, map.replacement.as_ref().unwrap().by), (vec![1, 4], NodeId(5)));
    assert_eq!(map.shards[1].members, [NodeId(2), NodeId(3), NodeId(5)]);
    assert_eq!([1, 4, 5, 2].map(|id| map.place_of(NodeId(id)).0), [5, 5, 5, 2]);
    let map = map.with_replacement_finished(NodeId(5)).unwrap();
    assert_eq!([1, 4].map(|id| map.replaced_by(NodeId(id))), [Some(NodeId(5)); 2]);
    assert_eq!(map.known().map(|id| id.0).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn the_map_names_the_new_node_from_the_start_and_the_old_one_until_the_end() {
    let before = three_nodes();
    assert!(before.is_first());
    let map = before.with_replacement(NodeId(1), &node(4, "a")).unwrap();
    assert_eq!((map.version, map.is_first()), (2, false));
    assert_eq!(map.shards[0].members, [NodeId(4), NodeId(2), NodeId(3)]);
    assert_eq!(map.shards[1].members, [NodeId(2), NodeId(3), NodeId(4)]);
    assert_eq!(map.control_voters, [NodeId(4), NodeId(2), NodeId(3)]);
    assert!(map.is_arriving(NodeId(4)) && map.node(NodeId(1)).is_none() && map.leaving() == &before.nodes[..1]);

    let ids = |members: &[crate::group::Member]| members.iter().map(|member| member.node.0).collect::<Vec<_>>();
    let goal = goal_of(&map, GroupId::CONTROL);
    assert_eq!(
        (ids(&goal.voters), ids(&goal.learners), goal.keep),
        (vec![4, 2, 3], vec![], BTreeSet::from([NodeId(1)]))
    );
    let goal = goal_of(&map, GroupId::from(ShardId(2)));
    assert_eq!((ids(&goal.voters), goal.keep.len(), goal.known.len()), (vec![2, 3, 4], 0, 4));

    assert_eq!(map.with_replacement_finished(NodeId(9)), None);
    let done = map.with_replacement_finished(NodeId(4)).unwrap();
    assert_eq!((done.version, done.leaving().len(), done.replaced_by(NodeId(1))), (3, 0, Some(NodeId(4))));
    assert!(goal_of(&done, GroupId::CONTROL).keep.is_empty());
    assert_eq!(done.with_replacement(NodeId(1), &node(5, "a")), Err(MapError::Nodes));
    assert_eq!(done.with_replacement(NodeId(2), &node(1, "b")), Err(MapError::Replaced(NodeId(1))));
}
