//! Effects of sets. An effect names only members that it adds or removes, each once.

use super::packed::SetForm;
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, Items, TypeEffect, items_max};
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Frozen op numbers.
mod op {
    pub(super) const SADD: u16 = 96;
    pub(super) const SADD_TEXTS: u16 = 97;
    pub(super) const SADD_TABLE: u16 = 98;
    pub(super) const SREM: u16 = 99;
    pub(super) const SREM_PACK: u16 = 100;
}

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetEffect<'a> {
    /// Adds members.
    Add {
        /// The set; a missing key counts as an empty set.
        key: Key<'a>,
        /// What is added.
        members: Items<'a>,
        /// The set has at least this form afterwards. Commands choose forms as Valkey does, from arguments that an
        /// effect does not name.
        least: SetForm,
    },
    /// Removes members, and the key with the last of them.
    Remove {
        /// The set.
        key: Key<'a>,
        /// What is removed.
        members: Items<'a>,
        /// Whether a large set becomes a packed one, if what is left fits one.
        pack: bool,
    },
}

impl<'a> SetEffect<'a> {
    #[inline]
    fn key(&self) -> Key<'a> {
        match *self {
            SetEffect::Add { key, .. } | SetEffect::Remove { key, .. } => key,
        }
    }

    fn members(&self) -> Items<'a> {
        match *self {
            SetEffect::Add { members, .. } | SetEffect::Remove { members, .. } => members,
        }
    }
}

impl<'a> TypeEffect<'a> for SetEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::SADD | op::SADD_TEXTS | op::SADD_TABLE | op::SREM | op::SREM_PACK => count >= 2,
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
        Ok(match op {
            op::SADD => SetEffect::Add { key, members, least: SetForm::Ints },
            op::SADD_TEXTS => SetEffect::Add { key, members, least: SetForm::Texts },
            op::SADD_TABLE => SetEffect::Add { key, members, least: SetForm::Table },
            op::SREM => SetEffect::Remove { key, members, pack: false },
            op::SREM_PACK => SetEffect::Remove { key, members, pack: true },
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    fn encode(&self, to: &mut Encoder) {
        let op = match self {
            SetEffect::Add { least: SetForm::Ints, .. } => op::SADD,
            SetEffect::Add { least: SetForm::Texts, .. } => op::SADD_TEXTS,
            SetEffect::Add { least: SetForm::Table, .. } => op::SADD_TABLE,
            SetEffect::Remove { pack: false, .. } => op::SREM,
            SetEffect::Remove { pack: true, .. } => op::SREM_PACK,
        };
        to.keyed(op, 1 + self.members().len() as u64, self.key()).items(self.members());
    }

    fn arguments_max(&self) -> usize {
        self.key().bytes.len() + items_max(&self.members())
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
            SetEffect::Add { key, members, least } => keyspace.add_members(&key, members.iter(), least, now),
            SetEffect::Remove { key, members, pack: false } => keyspace.remove_members(&key, members.iter(), now),
            SetEffect::Remove { key, members, pack: true } => keyspace.keep_few_members(&key, members.iter(), now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        match *self {
            SetEffect::Remove { pack: true, .. } => Impact::Replaces,
            SetEffect::Add { members, .. } | SetEffect::Remove { members, .. } => {
                Impact::ChangesParts { named: members, step: 1 }
            }
        }
    }
}
