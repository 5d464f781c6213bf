//! Committed values with their position, for watchers.
//!
//! The memory of a replica is the committed log up to its applied position. That of a primary has uncommitted effects
//! as well; a key without any (`dirty.rs`) is as it was at the applied position. While a script is suspended, any key
//! may have some.

use fastness_engine::stored::Stored;
use fastness_types::LogIndex;

use crate::role::Phase;
use crate::state::State;

/// What is committed at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommittedValue {
    /// There is no such key.
    Missing,
    /// A value.
    Stored(Stored),
    /// Uncommitted effects cover it: not known now.
    Covered,
}

impl CommittedValue {
    /// Bytes that were copied.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            CommittedValue::Stored(stored) => stored.value.bytes(),
            CommittedValue::Missing | CommittedValue::Covered => 0,
        }
    }
}

impl State {
    /// The position of what is committed; `None`: memory is being restored, or the replica has stopped.
    pub(crate) fn committed_position(&self) -> Option<LogIndex> {
        (self.replica.phase == Phase::Serving).then_some(self.replica.position.applied)
    }

    /// What is committed at a key at [`State::committed_position`].
    pub(crate) fn committed_value(&self, key: &[u8], bytes_max: usize) -> CommittedValue {
        let engine = &self.replica.data.engine;
        let key = engine.key(key);
        let is_covered = self.leader.as_ref().is_some_and(|leader| leader.is_covered(key.hash));
        if is_covered {
            return CommittedValue::Covered;
        }
        engine.stored(&key, bytes_max).map_or(CommittedValue::Missing, CommittedValue::Stored)
    }
}
