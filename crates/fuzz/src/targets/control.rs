//! Entries of group 0, which are changes of the cluster's map, and its snapshots.

use std::sync::Arc;

use fastness_consensus::snapshot::SnapshotPart;
use fastness_control::command::{self, Command, Envelope};
use fastness_control::fixtures::{node, three_nodes};
use fastness_control::{ClusterMap, ControlState, Password, SettingsChange, UsersChange, snapshot};
use fastness_types::{Durability, Epoch, LogIndex, NodeId, Seq};

use super::input::{joined, linear, pieces, words};
use crate::Target;

pub(super) const CONTROL: Target = Target {
    name: "control",
    what: "changes of the cluster's map: written and read back as themselves, and a map that has changed is valid",
    bytes_max: 1_600,
    share: 20,
    seeds,
    words: || {
        words(&[
            "null",
            "{}",
            "[]",
            "\"version\":5",
            "\"sequence\":0",
            "\"create\":",
            "\"set_durability\":",
            "\"replace_node\":",
            "18446744073709551616",
            "-1",
            "1e9",
            "\"\\u0000\"",
            "\"slots\":[0,16383]",
            "\"members\":[1]",
        ])
    },
    memory: |length| 8 * linear(length),
    run: change,
};

pub(super) const CONTROL_SNAPSHOT: Target = Target {
    name: "control-snapshot",
    what: "snapshots of group 0: what is accepted has a valid map, and is written and read back as itself",
    bytes_max: 2_400,
    share: 10,
    seeds: snapshots,
    words: || {
        words(&[
            "null",
            "\"version\":1",
            "\"sequence\":0",
            "\"bytes\":",
            "\"replacement\":null",
            "\"replaced\":[]",
            "\"password_sha256\":\"\"",
            "\"rules\":{}",
            "18446744073709551616",
            "-1",
            "\"\\u0000\"",
        ])
    },
    memory: |length| 16 * linear(length),
    run: restore,
};

fn seeds() -> Vec<Vec<u8>> {
    let rules = [("alice", Some("on ~* -@all +get".to_owned())), ("bob", None)];
    let rules = rules.map(|(name, rules)| (name.to_owned(), rules)).into();
    let settings =
        |password, lag: Option<u64>| SettingsChange { password, max_lag: lag.map(std::time::Duration::from_millis) };
    let commands = [
        Command::Create(three_nodes()),
        Command::SetDurability(Durability::Async),
        Command::ReplaceNode { map_version: 1, old: NodeId(1), new: node(4, "a") },
        Command::FinishReplacement { by: NodeId(4) },
        Command::SetSettings(settings(Some(Password::Sha256([0xab; 32])), Some(1_500))),
        Command::FirstSettings(settings(Some(Password::None), None)),
        Command::ChangeUsers(UsersChange { base: 0, rules }),
    ];
    commands.into_iter().map(|command| command::encode(&Envelope { seq: Seq(3), command })).collect()
}

fn change(input: &[u8]) -> bool {
    let Ok(envelope) = command::decode(input) else { return false };
    let written = command::encode(&envelope);
    let again = command::decode(&written).unwrap_or_else(|error| panic!("what was written: {error}"));
    assert_eq!(again, envelope, "a change is read as it was written");
    let map = three_nodes();
    let changed: Option<ClusterMap> = match &envelope.command {
        Command::Create(map) => Some(map.clone()),
        Command::SetDurability(_) => None,
        Command::ReplaceNode { old, new, .. } => map.with_replacement(*old, new).ok(),
        Command::FinishReplacement { by } => {
            let replacing = map.with_replacement(NodeId(1), &node(4, "a")).expect("node 1 can be replaced");
            replacing.with_replacement_finished(*by)
        }
        Command::SetSettings(change) | Command::FirstSettings(change) => map.with_settings(change),
        Command::ChangeUsers(change) => map.with_users(change),
    };
    if let Some(map) = changed {
        assert_eq!(map.check(), Ok(()), "a map that has changed is valid");
    }
    true
}

/// Parts of a snapshot: each has its kind (0 head, 1 chunk, 2 tail) before its bytes.
fn snapshots() -> Vec<Vec<u8>> {
    let map = three_nodes();
    let rules = [("alice".to_owned(), Some("on ~* -@all +get".to_owned()))].into();
    let users = map.with_users(&UsersChange { base: 0, rules });
    let replacing = map.with_replacement(NodeId(1), &node(4, "a")).ok();
    let replaced = replacing.as_ref().and_then(|map| map.with_replacement_finished(NodeId(4)));
    let settings = SettingsChange {
        password: Some(Password::Sha256([0xab; 32])),
        max_lag: Some(std::time::Duration::from_millis(1_500)),
    };
    let settings = map.with_settings(&settings);
    let maps = [None, Some(map), users, replacing, replaced, settings];
    let epoch = Epoch { term: 3, node: NodeId(2) };
    let states = maps.map(|map| ControlState { index: LogIndex(120), epoch, seq: Seq(17), map: map.map(Arc::new) });
    let seed = |state: &ControlState| {
        let parts = snapshot::encode(state).unwrap_or_else(|error| panic!("a state of three nodes: {error}"));
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| [&[kind(part)][..], part.bytes()].concat()).collect();
        joined(parts.iter().map(|part| &part[..]))
    };
    states.iter().map(seed).collect()
}

fn kind(part: &SnapshotPart) -> u8 {
    match part {
        SnapshotPart::Head(_) => 0,
        SnapshotPart::Chunk(_) => 1,
        SnapshotPart::Tail(_) => 2,
    }
}

fn restore(input: &[u8]) -> bool {
    let part = |piece: &[u8]| {
        let (kind, bytes) = piece.split_first()?;
        let bytes = bytes.to_vec().into();
        Some(match kind {
            0 => SnapshotPart::Head(bytes),
            1 => SnapshotPart::Chunk(bytes),
            _ => SnapshotPart::Tail(bytes),
        })
    };
    let parts: Vec<SnapshotPart> = pieces(input).into_iter().filter_map(part).collect();
    let Ok(state) = snapshot::decode(&parts) else { return false };
    if let Some(map) = &state.map {
        assert_eq!(map.check(), Ok(()), "a map in a snapshot is valid");
    }
    let written = snapshot::encode(&state).unwrap_or_else(|error| panic!("what was read: {error}"));
    let again = snapshot::decode(&written).unwrap_or_else(|error| panic!("what was written: {error}"));
    assert_eq!(again, state, "a snapshot is read as it was written");
    true
}
