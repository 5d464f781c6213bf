//! Effects of hashes. An effect names only fields that it changes, each once.

use super::fields::FieldTable;
use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Expired, Impact, Items, TypeEffect, items_max};
use crate::keyspace::{Entry, ExpiryChange, Key, Keyspace};
use fastness_types::WallMs;

/// Frozen op numbers.
mod op {
    pub(super) const HSET: u16 = 32;
    pub(super) const HSET_PXAT: u16 = 33;
    pub(super) const HSET_KEEPTTL: u16 = 34;
    pub(super) const HDEL: u16 = 35;
    pub(super) const HPEXPIREAT: u16 = 36;
    pub(super) const HPERSIST: u16 = 37;
}

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum HashEffect<'a> {
    Set { key: Key<'a>, pairs: Items<'a>, expiry: ExpiryChange },
    Remove { key: Key<'a>, fields: Items<'a> },
    ExpireAt { key: Key<'a>, at: WallMs, fields: Items<'a> },
    Persist { key: Key<'a>, fields: Items<'a> },
}

impl<'a> HashEffect<'a> {
    #[inline]
    fn key(&self) -> Key<'a> {
        match *self {
            HashEffect::Set { key, .. }
            | HashEffect::Remove { key, .. }
            | HashEffect::ExpireAt { key, .. }
            | HashEffect::Persist { key, .. } => key,
        }
    }

    fn items(&self) -> Items<'a> {
        match *self {
            HashEffect::Set { pairs, .. } => pairs,
            HashEffect::Remove { fields, .. }
            | HashEffect::ExpireAt { fields, .. }
            | HashEffect::Persist { fields, .. } => fields,
        }
    }
}

impl<'a> TypeEffect<'a> for HashEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::HSET | op::HSET_KEEPTTL => count >= 3 && count % 2 == 1,
            op::HSET_PXAT => count >= 4 && count.is_multiple_of(2),
            op::HDEL | op::HPERSIST => count >= 2,
            op::HPEXPIREAT => count >= 3,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        count: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        let key = arguments.key()?;
        Ok(match op {
            op::HSET => HashEffect::Set { key, pairs: arguments.items(count - 1)?, expiry: ExpiryChange::Drop },
            op::HSET_KEEPTTL => HashEffect::Set { key, pairs: arguments.items(count - 1)?, expiry: ExpiryChange::Keep },
            op::HSET_PXAT => {
                let expiry = ExpiryChange::At(WallMs(arguments.number()?));
                HashEffect::Set { key, pairs: arguments.items(count - 2)?, expiry }
            }
            op::HDEL => HashEffect::Remove { key, fields: arguments.items(count - 1)? },
            op::HPEXPIREAT => {
                let at = WallMs(arguments.number()?);
                HashEffect::ExpireAt { key, at, fields: arguments.items(count - 2)? }
            }
            op::HPERSIST => HashEffect::Persist { key, fields: arguments.items(count - 1)? },
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    fn encode(&self, to: &mut Encoder) {
        let key = self.key();
        let count = self.items().len() as u64;
        match *self {
            HashEffect::Set { expiry: ExpiryChange::Drop, .. } => to.keyed(op::HSET, 1 + count, key),
            HashEffect::Set { expiry: ExpiryChange::Keep, .. } => to.keyed(op::HSET_KEEPTTL, 1 + count, key),
            HashEffect::Set { expiry: ExpiryChange::At(at), .. } => {
                to.keyed(op::HSET_PXAT, 2 + count, key).number_arg(at.0)
            }
            HashEffect::Remove { .. } => to.keyed(op::HDEL, 1 + count, key),
            HashEffect::ExpireAt { at, .. } => to.keyed(op::HPEXPIREAT, 2 + count, key).number_arg(at.0),
            HashEffect::Persist { .. } => to.keyed(op::HPERSIST, 1 + count, key),
        }
        .items(self.items());
    }

    fn arguments_max(&self) -> usize {
        self.key().bytes.len() + items_max(&self.items())
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::One(self.key())
    }

    fn perform(&self, keyspace: &mut Keyspace, now: WallMs) {
        match *self {
            HashEffect::Set { key, pairs, expiry } => keyspace.set_fields(&key, pairs.pairs(), expiry, now),
            HashEffect::Remove { key, fields } => keyspace.remove_fields(&key, fields.iter(), now),
            HashEffect::ExpireAt { key, at, fields } => keyspace.expire_fields(&key, Some(at), fields.iter(), now),
            HashEffect::Persist { key, fields } => keyspace.expire_fields(&key, None, fields.iter(), now),
        }
    }

    fn impact(&self) -> Impact<'a> {
        let step = if matches!(self, HashEffect::Set { .. }) { 2 } else { 1 };
        Impact::ChangesParts { named: self.items(), step }
    }

    /// The latest deadline of the removed fields, if all are past theirs.
    fn removes_expired(&self, keyspace: &Keyspace, now: WallMs) -> Option<Expired> {
        let HashEffect::Remove { key, fields } = self else { return None };
        let table = FieldTable::of(keyspace.find(key)?)?;
        let past = |field: &[u8]| table.find(field).and_then(Entry::deadline).filter(|at| *at < now);
        let latest = fields.iter().map(past).try_fold(WallMs(0), |latest, at| Some(latest.max(at?)))?;
        Some(Expired::Parts { latest })
    }
}
