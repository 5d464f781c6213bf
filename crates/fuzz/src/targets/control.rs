//! Entries of group 0: changes of the cluster's map.

use fastness_control::command::{self, Command, Envelope};
use fastness_control::fixtures::{node, three_nodes};
use fastness_control::{ClusterMap, Password, SettingsChange, UsersChange};
use fastness_types::{Durability, NodeId, Seq};

use super::input::{linear, words};
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
