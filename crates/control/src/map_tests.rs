//! Tests of [`super::ClusterMap`].

use super::*;
use crate::fixtures::{node, three_nodes};

#[test]
fn settings_change_one_by_one_and_have_the_version_that_set_them() {
    let map = three_nodes();
    assert_eq!(map.settings, ClusterSettings::default());
    let lag = SettingsChange { max_lag: Some(Duration::from_secs(1)), ..SettingsChange::default() };
    let with_lag = map.with_settings(&lag).unwrap();
    assert_eq!((with_lag.version, with_lag.settings.version), (2, 2));
    assert_eq!(with_lag.settings.max_lag, Some(LagBound { bound: Duration::from_secs(1), version: 2 }));
    assert_eq!(with_lag.settings.password, None);
    assert_eq!(with_lag.with_settings(&lag), None, "nothing is changed");
    let secret = SettingsChange { password: Some(Password::Sha256([203; 32])), ..SettingsChange::default() };
    let with_both = with_lag.with_settings(&secret).unwrap();
    assert_eq!((with_both.version, with_both.settings.version), (3, 3));
    assert_eq!(with_both.settings.max_lag, with_lag.settings.max_lag, "the bound is as old as it was");
    let first = SettingsChange { password: Some(Password::None), max_lag: Some(Duration::from_secs(9)) };
    assert_eq!(with_lag.settings.missing(&first), SettingsChange { max_lag: None, ..first.clone() });
    assert_eq!(with_both.settings.missing(&first), SettingsChange::default());
    assert!(with_both.settings.are_complete() && !with_lag.settings.are_complete());
    assert!(!format!("{with_both:?}").contains("203, 203"), "no hash is ever logged");
}

#[test]
fn users_change_from_what_they_were_computed_from() {
    let map = three_nodes();
    let change = |base, rules: &[(&str, Option<&str>)]| {
        let rules = rules.iter().map(|(name, rules)| ((*name).to_owned(), rules.map(str::to_owned))).collect();
        UsersChange { base, rules }
    };
    let first = map.with_users(&change(0, &[("a", Some("on #0123")), ("b", Some("off"))])).unwrap();
    assert_eq!((first.version, first.settings.version, first.settings.users.version), (2, 2, 2));
    assert_eq!(first.with_users(&change(0, &[("a", None)])), None, "others have changed meanwhile");
    let second = first.with_users(&change(2, &[("a", None), ("c", Some("on")), ("d", None)])).unwrap();
    let rules = &second.settings.users.rules;
    assert_eq!(rules.iter().map(|(name, rules)| (&**name, &**rules)).collect::<Vec<_>>(), [("b", "off"), ("c", "on")]);
    let lag = SettingsChange { max_lag: Some(Duration::from_secs(1)), ..SettingsChange::default() };
    let third = second.with_settings(&lag).unwrap();
    assert_eq!(
        (third.settings.version, third.settings.users.version),
        (4, 3),
        "other settings leave users as they are"
    );
    assert!(!format!("{first:?}").contains("0123"), "no hash is ever logged");
}

#[test]
fn a_good_map_passes() {
    assert_eq!(three_nodes().check(), Ok(()));
}

#[test]
fn slots_find_their_shard() {
    let map = three_nodes();
    assert_eq!(map.shard_of(Slot(0)).unwrap().id, ShardId(1));
    assert_eq!(map.shard_of(Slot(8191)).unwrap().id, ShardId(1));
    assert_eq!(map.shard_of(Slot(8192)).unwrap().id, ShardId(2));
    assert_eq!(map.shard_of(Slot(16383)).unwrap().id, ShardId(2));
    assert_eq!(map.shard_of(Slot(16384)), None);
}

#[test]
fn ports_follow_the_shard() {
    let node = node(1, "a");
    assert_eq!(node.resp_port_of(ShardId(1)), Some(7410));
    assert_eq!(node.resp_port_of(ShardId(3)), Some(7412));
    assert_eq!(node.resp_port_of(ShardId(0)), None);
    assert_eq!(node.resp_port_of(ShardId(u32::MAX)), None);
    assert_eq!(node.resp_tls_port_of(ShardId(1)), None);
}

/// Breaks the map in one way and expects that error.
fn broken(change: impl FnOnce(&mut ClusterMap), expect: MapError) {
    let mut map = three_nodes();
    change(&mut map);
    assert_eq!(map.check(), Err(expect));
}

#[test]
fn each_broken_invariant_has_its_own_error() {
    broken(|m| m.nodes.swap(0, 1), MapError::Nodes);
    broken(|m| m.nodes[1].id = NodeId(1), MapError::Nodes);
    broken(|m| m.nodes[1].disk = DiskId::default(), MapError::Disk(NodeId(2)));
    broken(|m| m.nodes[2].disk = m.nodes[0].disk, MapError::Disk(NodeId(3)));
    broken(|m| m.nodes[2].peer_address.clear(), MapError::Address(NodeId(3)));
    broken(|m| m.shards[1].first = Slot(8193), MapError::Slots);
    broken(|m| m.shards[1].last = Slot(16382), MapError::Slots);
    broken(|m| m.shards[1].id = ShardId(3), MapError::Slots);
    broken(|m| m.shards.clear(), MapError::Slots);
    broken(|m| m.shards[0].members[1] = NodeId(1), MapError::Members(ShardId(1)));
    broken(|m| m.shards[1].members[0] = NodeId(4), MapError::Members(ShardId(2)));
    broken(|m| m.control_voters.clear(), MapError::Voters);
}
