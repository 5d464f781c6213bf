//! Effects of sorted sets. An effect names only members that it changes, each once, with the scores that result.

use super::members::Member;
use super::score::from_bytes;
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, Items, TypeEffect, items_max};
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Frozen op numbers.
mod op {
    pub(super) const ZADD: u16 = 128;
    pub(super) const ZADD_TABLE: u16 = 129;
    pub(super) const ZREM: u16 = 130;
}

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum ZsetEffect<'a> {
    Add {
        key: Key<'a>,
        /// Members, each followed by its score ([`super::score::bytes_of`]).
        members: Items<'a>,
        to_table: bool,
    },
    Remove {
        key: Key<'a>,
        members: Items<'a>,
    },
}

/// The members and scores of a [`ZsetEffect::Add`].
pub fn scored<'a>(members: Items<'a>) -> impl Iterator<Item = Member<'a>> + Clone + Send + use<'a> {
    members.pairs().filter_map(|(name, score)| Some((name, from_bytes(score)?)))
}

impl<'a> ZsetEffect<'a> {
    #[inline]
    fn key(&self) -> Key<'a> {
        match *self {
            ZsetEffect::Add { key, .. } | ZsetEffect::Remove { key, .. } => key,
        }
    }

    fn items(&self) -> Items<'a> {
        match *self {
            ZsetEffect::Add { members, .. } | ZsetEffect::Remove { members, .. } => members,
        }
    }
}

impl<'a> TypeEffect<'a> for ZsetEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::ZADD => count >= 3 && count % 2 == 1,
            op::ZADD_TABLE => count % 2 == 1,
            op::ZREM => count >= 2,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        let members = arguments.items(count - 1)?;
        match op {
            op::ZADD | op::ZADD_TABLE => {
                if !members.pairs().all(|(_, score)| from_bytes(score).is_some()) {
                    return Err(DecodeError::Number);
                }
                Ok(ZsetEffect::Add { key, members, to_table: op == op::ZADD_TABLE })
            }
            op::ZREM => Ok(ZsetEffect::Remove { key, members }),
            other => Err(DecodeError::UnknownOp(u64::from(other))),
        }
    }

    fn encode(&self, to: &mut Encoder) {
        let op = match self {
            ZsetEffect::Add { to_table: false, .. } => op::ZADD,
            ZsetEffect::Add { to_table: true, .. } => op::ZADD_TABLE,
            ZsetEffect::Remove { .. } => op::ZREM,
        };
        let items = self.items();
        to.keyed(op, 1 + items.len() as u64, self.key()).items(items);
    }

    fn arguments_max(&self) -> usize {
        self.key().bytes.len() + items_max(&self.items())
    }

    #[inline]
    fn level(&self) -> FormatLevel {
        FormatLevel::COLLECTIONS
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::One(self.key())
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        match *self {
            ZsetEffect::Add { key, members, to_table } => keyspace.set_scores(&key, scored(members), to_table, now),
            ZsetEffect::Remove { key, members } => keyspace.remove_scores(&key, members.iter(), now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        let step = if matches!(self, ZsetEffect::Add { .. }) { 2 } else { 1 };
        Impact::ChangesParts { named: self.items(), step }
    }
}
