//! Encoding of a change of the map in group 0's log. **Frozen**: the golden test below has the bytes.
//!
//! A payload is one JSON object: `{"version": 1, "sequence": n, "command": …}`. It is JSON because these entries are
//! few, are read by people in emergencies, and live as long as the cluster. The log encrypts them like all entries.
//!
//! Rules:
//! - The meaning of a field never changes. A new field has a default that means what its absence meant before.
//! - A new command, or one that old readers would interpret wrongly, raises `version`. A reader stops at a version or a
//!   command that it does not know, because its map would differ from the others' if it skipped the entry.

pub(crate) mod stored_map;

use fastness_types::{Az, ClusterId, DiskId, Durability, HashSeed, NodeId, Seq, ShardId, Slot, UnknownDurability};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::map::{ClusterMap, ClusterSettings, MapError, NodeInfo, Password, SettingsChange, ShardMap, UsersChange};

/// The newest version that this code reads. Each entry has the oldest version that knows its command.
pub const COMMAND_VERSION: u32 = 5;

/// A change of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The cluster's first map. Without effect if there is a map already.
    Create(ClusterMap),
    /// The operator's new desired durability mode (since version 2). Without effect if the mode is desired already, or
    /// if the change would make a durable cluster non-durable or the reverse.
    SetDurability(Durability),
    /// A node replaces another one in every group (since version 3). Without effect on a map of another version than
    /// `map_version`, because the replacement was checked against that one.
    ReplaceNode {
        /// The version of the map that the replacement was checked against.
        map_version: u64,
        /// The node that is replaced.
        old: NodeId,
        /// The node that replaces it.
        new: NodeInfo,
    },
    /// Every group has the membership that the map gives it, so no leaving node is a member any more (since version 3).
    /// Without effect for another replacement than the one in progress.
    FinishReplacement {
        /// The replacing node.
        by: NodeId,
    },
    /// Changes settings of the cluster (since version 4).
    SetSettings(SettingsChange),
    /// The first settings of the cluster (since version 4). Settings that were made already keep their value.
    FirstSettings(SettingsChange),
    /// Changes users (since version 5). Without effect on users of another version than the change's base.
    ChangeUsers(UsersChange),
}

impl Command {
    /// The oldest version that knows the command.
    fn version(&self) -> u32 {
        match self {
            Command::Create(_) => 1,
            Command::SetDurability(_) => 2,
            Command::ReplaceNode { .. } | Command::FinishReplacement { .. } => 3,
            Command::SetSettings(_) | Command::FirstSettings(_) => 4,
            Command::ChangeUsers(_) => 5,
        }
    }
}

/// Why a payload could not be read. Each of these errors is fatal to the node's control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error(
        "the entry has version {found}, this node reads versions up to {COMMAND_VERSION}: upgrade it to the version of the other nodes"
    )]
    Version {
        /// The version of the entry.
        found: u32,
    },
    /// No version writes such a payload.
    #[error("the entry is not readable: {0}")]
    Malformed(String),
    /// The payload is readable, but its map breaks an invariant.
    #[error("the entry has an invalid map: {0}")]
    Map(#[from] MapError),
}

/// A command with its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Number within the epoch, from 1, without gaps.
    pub seq: Seq,
    /// The change.
    pub command: Command,
}

/// Encodes the payload of a proposal.
#[must_use]
pub fn encode(envelope: &Envelope) -> Vec<u8> {
    let command = match &envelope.command {
        Command::Create(map) => CommandForm::Create { map: map.into() },
        Command::SetDurability(mode) => CommandForm::SetDurability { durability: mode.name().to_owned() },
        Command::ReplaceNode { map_version, old, new } => {
            CommandForm::ReplaceNode { map_version: *map_version, old: old.0, new: new.into() }
        }
        Command::FinishReplacement { by } => CommandForm::FinishReplacement { by: by.0 },
        Command::SetSettings(change) => CommandForm::SetSettings(change.into()),
        Command::FirstSettings(change) => CommandForm::FirstSettings(change.into()),
        Command::ChangeUsers(UsersChange { base, rules }) => {
            CommandForm::ChangeUsers { base: *base, rules: rules.clone() }
        }
    };
    let form = EnvelopeForm { version: envelope.command.version(), sequence: envelope.seq.0, command };
    serde_json::to_vec(&form).expect("plain structs of numbers and strings have a JSON form")
}

/// Decodes the payload of a committed entry.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(payload: &[u8]) -> Result<Envelope, DecodeError> {
    let malformed = |e: serde_json::Error| DecodeError::Malformed(e.to_string());
    // The version is checked first, so that an entry of a newer version is not reported as malformed.
    let VersionForm { version } = serde_json::from_slice(payload).map_err(malformed)?;
    if version == 0 || version > COMMAND_VERSION {
        return Err(DecodeError::Version { found: version });
    }
    let form: EnvelopeForm = serde_json::from_slice(payload).map_err(malformed)?;
    let command = match form.command {
        CommandForm::Create { map } => Command::Create(map.into_map()?),
        CommandForm::SetDurability { durability } => Command::SetDurability(parse_durability(&durability)?),
        CommandForm::ReplaceNode { map_version, old, new } => {
            Command::ReplaceNode { map_version, old: NodeId(old), new: new.into_node()? }
        }
        CommandForm::FinishReplacement { by } => Command::FinishReplacement { by: NodeId(by) },
        CommandForm::SetSettings(form) => Command::SetSettings(form.into_change()?),
        CommandForm::FirstSettings(form) => Command::FirstSettings(form.into_change()?),
        CommandForm::ChangeUsers { base, rules } => Command::ChangeUsers(UsersChange { base, rules }),
    };
    if version < command.version() {
        return Err(DecodeError::Malformed(format!("version {version} has no such command")));
    }
    Ok(Envelope { seq: Seq(form.sequence), command })
}

#[derive(Deserialize)]
struct VersionForm {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeForm {
    version: u32,
    sequence: u64,
    command: CommandForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CommandForm {
    Create {
        map: MapForm,
    },
    SetDurability {
        durability: String,
    },
    ReplaceNode {
        map_version: u64,
        old: u64,
        new: NodeForm,
    },
    FinishReplacement {
        by: u64,
    },
    SetSettings(SettingsForm),
    FirstSettings(SettingsForm),
    /// `null`: the user is deleted.
    ChangeUsers {
        base: u64,
        rules: BTreeMap<String, Option<String>>,
    },
}

/// An absent field leaves its setting unchanged.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsForm {
    /// 64 hexadecimal digits, the SHA-256 of the password; empty: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability_max_lag_ms: Option<u64>,
}

impl From<&SettingsChange> for SettingsForm {
    fn from(change: &SettingsChange) -> SettingsForm {
        SettingsForm {
            password_sha256: change.password.as_ref().map(password_text),
            durability_max_lag_ms: change.max_lag.map(|bound| bound.as_millis() as u64),
        }
    }
}

impl SettingsForm {
    fn into_change(self) -> Result<SettingsChange, DecodeError> {
        let password = self.password_sha256.as_deref().map(password_from).transpose()?;
        Ok(SettingsChange { password, max_lag: self.durability_max_lag_ms.map(Duration::from_millis) })
    }
}

/// The stored form of a password: 64 hexadecimal digits, or nothing.
fn password_text(password: &Password) -> String {
    match password {
        Password::None => String::new(),
        Password::Sha256(hash) => hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn password_from(text: &str) -> Result<Password, DecodeError> {
    if text.is_empty() { Ok(Password::None) } else { sha256(text).map(Password::Sha256) }
}

fn sha256(text: &str) -> Result<[u8; 32], DecodeError> {
    let malformed = || DecodeError::Malformed("a password is not stored as 64 hexadecimal digits".to_owned());
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(malformed());
    }
    for (byte, digits) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[digits..digits + 2], 16).map_err(|_| malformed())?;
    }
    Ok(hash)
}

fn parse_durability(name: &str) -> Result<Durability, DecodeError> {
    name.parse().map_err(|error: UnknownDurability| DecodeError::Malformed(error.to_string()))
}

#[derive(Serialize, Deserialize)]
struct MapForm {
    cluster_id: String,
    hash_seed: String,
    map_version: u64,
    durability: String,
    #[serde(default = "first", skip_serializing_if = "is_first")]
    durability_version: u64,
    replicas: u32,
    nodes: Vec<NodeForm>,
    shards: Vec<ShardForm>,
    control_voters: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct NodeForm {
    id: u64,
    disk: String,
    az: String,
    peer_address: String,
    grpc_address: String,
    announce_host: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    announce_hostname: String,
    resp_port: u16,
    resp_tls_port: u16,
}

#[derive(Serialize, Deserialize)]
struct ShardForm {
    id: u32,
    slots: [u16; 2],
    members: Vec<u64>,
    config_epoch: u64,
}

/// The value of an absent `durability_version`.
fn first() -> u64 {
    1
}

fn is_first(version: &u64) -> bool {
    *version == first()
}

fn hex(bytes: &[u8; 16]) -> String {
    ClusterId(*bytes).to_string()
}

impl From<&ClusterMap> for MapForm {
    fn from(map: &ClusterMap) -> MapForm {
        MapForm {
            cluster_id: hex(&map.cluster_id.0),
            hash_seed: hex(&map.hash_seed.0),
            map_version: map.version,
            durability: map.durability.name().to_owned(),
            durability_version: map.durability_version,
            replicas: map.replicas,
            nodes: map.nodes.iter().map(NodeForm::from).collect(),
            shards: map.shards.iter().map(ShardForm::from).collect(),
            control_voters: map.control_voters.iter().map(|id| id.0).collect(),
        }
    }
}

impl From<&NodeInfo> for NodeForm {
    fn from(node: &NodeInfo) -> NodeForm {
        NodeForm {
            id: node.id.0,
            disk: node.disk.to_string(),
            az: node.az.to_string(),
            peer_address: node.peer_address.clone(),
            grpc_address: node.grpc_address.clone(),
            announce_host: node.announce_host.clone(),
            announce_hostname: node.announce_hostname.clone(),
            resp_port: node.resp_port,
            resp_tls_port: node.resp_tls_port,
        }
    }
}

impl From<&ShardMap> for ShardForm {
    fn from(shard: &ShardMap) -> ShardForm {
        ShardForm {
            id: shard.id.0,
            slots: [shard.first.0, shard.last.0],
            members: shard.members.iter().map(|id| id.0).collect(),
            config_epoch: shard.config_epoch,
        }
    }
}

impl MapForm {
    fn into_map(self) -> Result<ClusterMap, DecodeError> {
        let id = |text: &str| text.parse::<ClusterId>().map_err(|e| DecodeError::Malformed(e.to_string()));
        let map = ClusterMap {
            cluster_id: id(&self.cluster_id)?,
            hash_seed: HashSeed(id(&self.hash_seed)?.0),
            version: self.map_version,
            durability: parse_durability(&self.durability)?,
            durability_version: self.durability_version,
            replicas: self.replicas,
            nodes: self.nodes.into_iter().map(NodeForm::into_node).collect::<Result<_, _>>()?,
            shards: self.shards.into_iter().map(ShardForm::into_shard).collect(),
            control_voters: self.control_voters.into_iter().map(NodeId).collect(),
            // The log has only the cluster's first map; later changes are commands. A snapshot has them beside it.
            replacement: None,
            replaced: Vec::new(),
            settings: ClusterSettings::default(),
        };
        map.check()?;
        Ok(map)
    }
}

impl NodeForm {
    fn into_node(self) -> Result<NodeInfo, DecodeError> {
        Ok(NodeInfo {
            id: NodeId(self.id),
            disk: self.disk.parse::<DiskId>().map_err(|e| DecodeError::Malformed(e.to_string()))?,
            az: Az::from(self.az.as_str()),
            peer_address: self.peer_address,
            grpc_address: self.grpc_address,
            announce_host: self.announce_host,
            announce_hostname: self.announce_hostname,
            resp_port: self.resp_port,
            resp_tls_port: self.resp_tls_port,
        })
    }
}

impl ShardForm {
    fn into_shard(self) -> ShardMap {
        ShardMap {
            id: ShardId(self.id),
            first: Slot(self.slots[0]),
            last: Slot(self.slots[1]),
            members: self.members.into_iter().map(NodeId).collect(),
            config_epoch: self.config_epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{node, three_nodes};

    /// The bytes that version 1 writes. Never change them: if this test fails, the format has changed and existing
    /// clusters would not start.
    const GOLDEN: &str = include_str!("../tests/golden/create-v1.json");

    fn create() -> Envelope {
        Envelope { seq: Seq(1), command: Command::Create(three_nodes()) }
    }

    #[test]
    fn the_format_is_frozen() {
        assert_eq!(String::from_utf8(encode(&create())).unwrap(), GOLDEN.trim_end());
        assert_eq!(decode(GOLDEN.as_bytes()), Ok(create()));
    }

    #[test]
    fn optional_fields_decode_to_themselves() {
        let mut map = three_nodes();
        map.nodes[0].announce_hostname = "db1.example".into();
        let envelope = Envelope { seq: Seq(7), command: Command::Create(map) };
        assert_eq!(decode(&encode(&envelope)), Ok(envelope));
    }

    #[test]
    fn a_newer_version_is_named_even_if_all_else_is_strange() {
        let found = decode(br#"{"version": 6, "command": {"teleport": {}}}"#);
        assert_eq!(found, Err(DecodeError::Version { found: 6 }));
    }

    #[test]
    fn a_change_of_the_mode_is_frozen_too() {
        let envelope = Envelope { seq: Seq(3), command: Command::SetDurability(Durability::Async) };
        let text = r#"{"version":2,"sequence":3,"command":{"set_durability":{"durability":"async"}}}"#;
        assert_eq!(String::from_utf8(encode(&envelope)).unwrap(), text);
        assert_eq!(decode(text.as_bytes()), Ok(envelope));
        for wrong in [text.replace("async", "maybe"), text.replace(":2,", ":1,"), text.replace(":2,", ":0,")] {
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replacement_is_frozen_too() {
        let replace = Command::ReplaceNode { map_version: 5, old: NodeId(1), new: node(4, "a") };
        let golden = include_str!("../tests/golden/replace-node-v3.json").lines();
        for (command, text) in [replace, Command::FinishReplacement { by: NodeId(4) }].into_iter().zip(golden) {
            let envelope = Envelope { seq: Seq(3), command };
            assert_eq!(String::from_utf8(encode(&envelope)).unwrap(), text);
            assert_eq!(decode(text.as_bytes()), Ok(envelope));
            for wrong in [text.replace("\"version\":3", "\"version\":2"), text.replace(":4", ":\"x\"")] {
                assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn settings_are_frozen_too() {
        let all = SettingsChange {
            password: Some(Password::Sha256([0xab; 32])),
            max_lag: Some(Duration::from_millis(1_500)),
        };
        let none = SettingsChange { password: Some(Password::None), max_lag: None };
        let commands = [Command::SetSettings(all.clone()), Command::SetSettings(none), Command::FirstSettings(all)];
        let golden = include_str!("../tests/golden/settings-v4.json").lines();
        for (command, text) in commands.into_iter().zip(golden) {
            let envelope = Envelope { seq: Seq(3), command };
            assert_eq!(String::from_utf8(encode(&envelope)).unwrap(), text);
            assert_eq!(decode(text.as_bytes()), Ok(envelope));
            let shorter = text.replace("abab\"", "ab\"");
            let wrong = [text.replace("\"version\":4", "\"version\":3"), text.replace("password", "pass"), shorter];
            for wrong in wrong.iter().filter(|wrong| *wrong != text) {
                assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn a_change_of_users_is_frozen_too() {
        let rules = [("alice", Some("on ~* -@all +get".to_owned())), ("bob", None)];
        let rules = rules.map(|(name, rules)| (name.to_owned(), rules)).into();
        let envelope = Envelope { seq: Seq(3), command: Command::ChangeUsers(UsersChange { base: 7, rules }) };
        let text = r#"{"version":5,"sequence":3,"command":{"change_users":{"base":7,"rules":{"alice":"on ~* -@all +get","bob":null}}}}"#;
        assert_eq!(String::from_utf8(encode(&envelope)).unwrap(), text);
        assert_eq!(decode(text.as_bytes()), Ok(envelope));
        for wrong in [text.replace(":5,", ":4,"), text.replace("null", "1"), text.replace("base", "vase")] {
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_command_is_an_error() {
        let text = String::from_utf8(encode(&create())).unwrap().replace("\"create\"", "\"destroy\"");
        assert!(matches!(decode(text.as_bytes()), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn rubbish_and_broken_maps_are_errors() {
        for text in ["", "{}", "[1]", "\u{0}", r#"{"version":"1"}"#, r#"{"version":1,"sequence":1}"#] {
            assert!(matches!(decode(text.as_bytes()), Err(DecodeError::Malformed(_))), "{text}");
        }
        let text = String::from_utf8(encode(&create())).unwrap().replace("[8192,16383]", "[8192,16000]");
        assert_eq!(decode(text.as_bytes()), Err(DecodeError::Map(MapError::Slots)));
    }
}
