//! The state of group 0 at one position of its log, and how an entry changes it.
//!
//! Everything here is a function of the state and the entry, so all nodes that have applied the same entries have the
//! same state, whether they applied them one by one or started from a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_types::{Durability, Epoch, LogIndex, Seq};

use crate::command::{self, Command, DecodeError, Envelope};
use crate::map::ClusterMap;

/// The state of group 0 at one position of its log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlState {
    /// The newest entry that it includes; 0: none.
    pub index: LogIndex,
    /// The epoch of that entry.
    pub epoch: Epoch,
    /// The newest command of that epoch.
    pub seq: Seq,
    /// The cluster's map; `None` until the cluster is created.
    pub map: Option<Arc<ClusterMap>>,
}

/// What an applied entry was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// An entry without a command.
    Nothing,
    /// The command of this number in the entry's epoch.
    Command {
        /// Its number.
        seq: Seq,
        /// Whether it has had an effect.
        has_changed: bool,
    },
}

/// Why an entry cannot be applied. Fatal to the node's control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It cannot be decoded.
    #[error("entry {}: {error}", index.0)]
    Decode {
        /// The entry.
        index: LogIndex,
        /// Why not.
        error: DecodeError,
    },
    /// A command before it is missing.
    #[error("entry {} has sequence {} of epoch {epoch}, expected {}: an entry before it is missing", index.0, found.0, expected.0)]
    Gap {
        /// The entry.
        index: LogIndex,
        /// Its epoch.
        epoch: Epoch,
        /// Its number.
        found: Seq,
        /// The number that was expected.
        expected: Seq,
    },
    /// It is another entry than the next one.
    #[error("group 0's log returned entry {} instead of {}", found.0, expected.0)]
    Order {
        /// The entry.
        found: LogIndex,
        /// The next one.
        expected: LogIndex,
    },
}

impl ControlState {
    /// Applies the next committed entry.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&mut self, entry: &Committed) -> Result<Applied, ApplyError> {
        let expected = LogIndex(self.index.0 + 1);
        if entry.index != expected {
            return Err(ApplyError::Order { found: entry.index, expected });
        }
        if entry.epoch != self.epoch {
            (self.epoch, self.seq) = (entry.epoch, Seq(0));
        }
        let applied = match &entry.payload {
            EntryPayload::Batch(payload) => self.apply_command(entry, payload)?,
            EntryPayload::Blank | EntryPayload::Membership => Applied::Nothing,
        };
        self.index = entry.index;
        Ok(applied)
    }

    fn apply_command(&mut self, entry: &Committed, payload: &Bytes) -> Result<Applied, ApplyError> {
        let index = entry.index;
        let decoded = command::decode(payload);
        let Envelope { seq, command } = decoded.map_err(|error| ApplyError::Decode { index, error })?;
        let expected = self.seq.next();
        if seq != expected {
            return Err(ApplyError::Gap { index, epoch: entry.epoch, found: seq, expected });
        }
        self.seq = seq;
        Ok(Applied::Command { seq, has_changed: self.change_map(command) })
    }

    /// Whether the command has had an effect.
    fn change_map(&mut self, command: Command) -> bool {
        let changed = match (command, &self.map) {
            (Command::Create(map), None) => Some(map),
            (Command::Create(_), Some(_)) => {
                tracing::info!("ignored a second map in the control plane's log: the cluster has one already");
                None
            }
            (_, None) => None,
            (command, Some(map)) => change_existing(map, command),
        };
        let has_changed = changed.is_some();
        if let Some(map) = changed {
            self.map = Some(Arc::new(map));
        }
        has_changed
    }
}

/// The map after a command; `None`: it has no effect.
fn change_existing(map: &ClusterMap, command: Command) -> Option<ClusterMap> {
    match command {
        Command::Create(_) => None,
        Command::SetDurability(mode) => set_durability(map, mode),
        Command::ReplaceNode { map_version, old, new } if map.version == map_version => {
            match map.with_replacement(old, &new) {
                Ok(map) => Some(map),
                Err(error) => {
                    tracing::warn!(%old, new = %new.id, %error, "ignored the replacement of a node: the cluster map would be invalid");
                    None
                }
            }
        }
        Command::ReplaceNode { map_version, old, new } => {
            tracing::info!(%old, new = %new.id, map_version, "ignored the replacement of a node: it was checked against another version of the cluster map");
            None
        }
        Command::SetSettings(change) => map.with_settings(&change),
        Command::FirstSettings(change) => map.with_settings(&map.settings.missing(&change)),
        Command::FinishReplacement { by } => map.with_replacement_finished(by),
        Command::ChangeUsers(change) => map.with_users(&change),
    }
}

fn set_durability(map: &ClusterMap, mode: Durability) -> Option<ClusterMap> {
    if map.durability == mode {
        return None;
    }
    if !map.may_become(mode) {
        tracing::warn!(from = %map.durability, to = %mode, "ignored a change of the durability mode: whether a cluster is durable is fixed when it is created");
        return None;
    }
    let version = map.version + 1;
    Some(ClusterMap { version, durability: mode, durability_version: version, ..map.clone() })
}
