//! What a change of the map is recorded as.

use fastness_events::Event;

use crate::map::ClusterMap;

/// The events of the change from one map to the next one. Of users and settings only names are recorded, because their
/// values contain hashes of passwords.
pub(crate) fn between(before: Option<&ClusterMap>, after: &ClusterMap) -> Vec<Event> {
    let Some(before) = before else {
        let (nodes, shards) = (after.nodes.len() as u64, after.shards.len() as u64);
        return vec![Event::ClusterCreated { nodes, shards, mode: after.durability }];
    };
    let mut events = Vec::new();
    if before.durability != after.durability {
        events.push(Event::ModeDesired { from: before.durability, to: after.durability });
    }
    match (&before.replacement, &after.replacement) {
        (before, Some(after)) if before.as_ref() != Some(after) => {
            let old = after.leaving.iter().map(|node| node.id);
            events.extend(old.map(|old| Event::ReplacementStarted { old, new: after.by }));
        }
        (Some(before), None) => events.push(Event::ReplacementFinished { new: before.by }),
        _ => {}
    }
    let (old, new) = (&before.settings, &after.settings);
    let changed = [("requirepass", old.password != new.password), ("durability-max-lag", old.max_lag != new.max_lag)];
    let options: Vec<_> = changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect();
    if !options.is_empty() {
        events.push(Event::SettingsChanged { options: options.join(", "), version: new.version });
    }
    let (old, new, version) = (&old.users.rules, &new.users.rules, new.version);
    let changed: Vec<_> =
        new.iter().filter(|(name, rules)| old.get(*name) != Some(*rules)).map(|(name, _)| name).collect();
    let deleted: Vec<_> = old.keys().filter(|name| !new.contains_key(*name)).collect();
    if !(changed.is_empty() && deleted.is_empty()) {
        events.push(Event::UsersChanged { changed: names(&changed), deleted: names(&deleted), version });
    }
    events
}

fn names(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use fastness_types::{Durability, NodeId};

    use super::*;
    use crate::fixtures::three_nodes;
    use crate::map::UsersChange;

    #[test]
    fn a_change_of_users_is_recorded_by_names_only() {
        let before = three_nodes();
        let rules = BTreeMap::from([("bob".to_owned(), Some("on #secret ~* +@all".to_owned()))]);
        let with = before.with_users(&UsersChange { base: 0, rules }).unwrap();
        let changed = between(Some(&before), &with);
        let version = with.settings.version;
        let expected = Event::UsersChanged { changed: "bob".to_owned(), deleted: String::new(), version };
        assert_eq!(changed, vec![expected]);
        let rules = BTreeMap::from([("bob".to_owned(), None)]);
        let without = with.with_users(&UsersChange { base: with.settings.users.version, rules }).unwrap();
        let version = without.settings.version;
        let expected = Event::UsersChanged { changed: String::new(), deleted: "bob".to_owned(), version };
        assert_eq!(between(Some(&with), &without), vec![expected]);
    }

    #[test]
    fn each_part_of_a_map_has_its_event() {
        let map = three_nodes();
        let created = between(None, &map);
        assert!(matches!(&created[..], [Event::ClusterCreated { nodes: 3, .. }]), "{created:?}");
        assert_eq!(between(Some(&map), &map), vec![]);
        let other = Durability::Async;
        let changed = ClusterMap { durability: other, ..map.clone() };
        let from = map.durability;
        let expected = if from == other { vec![] } else { vec![Event::ModeDesired { from, to: other }] };
        assert_eq!(between(Some(&map), &changed), expected);
        let replacement = crate::map::Replacement { leaving: vec![map.nodes[0].clone()], by: NodeId(4) };
        let replacing = ClusterMap { replacement: Some(replacement), ..map.clone() };
        let started = Event::ReplacementStarted { old: map.nodes[0].id, new: NodeId(4) };
        assert_eq!(between(Some(&map), &replacing), vec![started]);
        assert_eq!(between(Some(&replacing), &map), vec![Event::ReplacementFinished { new: NodeId(4) }]);
    }
}
