//! Calls on sets: typed wrappers over [`Client::execute`] and [`Client::execute_read`].

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;

impl Client {
    /// Adds members to a set, at least one; returns how many of them are new.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_add<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        count(self.execute(words_of("SADD", &[key.as_ref()], members)?).await?)
    }

    /// Removes members of a set, at least one; returns how many there were. A set without members ceases to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_remove<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<u64, ClientError> {
        count(self.execute(words_of("SREM", &[key.as_ref()], members)?).await?)
    }

    /// Moves a member from one set to another; returns whether the first had it. Both keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_move(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        let args = words_of("SMOVE", &[from.as_ref(), to.as_ref()], [member])?;
        Ok(count(self.execute(args).await?)? > 0)
    }

    /// Returns whether a set has a member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_contains(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        Ok(count(self.execute_read(words_of("SISMEMBER", &[key.as_ref()], [member])?).await?)? > 0)
    }

    /// Returns of each of several members, at least one, whether a set has it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_contains_each<M: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Vec<bool>, ClientError> {
        let reply = self.execute_read(words_of("SMISMEMBER", &[key.as_ref()], members)?).await?;
        reply.as_values().and_then(flags).ok_or_else(|| unexpected(&reply))
    }

    /// Returns the number of members of a set; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        count(self.execute_read([&b"SCARD"[..], key.as_ref()]).await?)
    }

    /// Returns all members of a set; none if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_members(&self, key: impl AsRef<[u8]>) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute_read([&b"SMEMBERS"[..], key.as_ref()]).await?)
    }

    /// Removes and returns up to `count` random members of a set.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_pop(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute(words_of("SPOP", &[key.as_ref()], [count.to_string()])?).await?)
    }

    /// Returns up to `count` different random members of a set.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_random(&self, key: impl AsRef<[u8]>, count: u64) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute_read(words_of("SRANDMEMBER", &[key.as_ref()], [count.to_string()])?).await?)
    }

    /// Returns the members that all of several sets have. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute_read(words_of("SINTER", &[], keys)?).await?)
    }

    /// Returns how many members all of several sets have. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter_len<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64, ClientError> {
        let mut args = words_of("SINTERCARD", &[], keys)?;
        args.insert(1, (args.len() - 1).to_string().into());
        count(self.execute_read(args).await?)
    }

    /// Stores the members that all of several sets have, in the place of what the destination holds; returns their
    /// number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_inter_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        count(self.execute(words_of("SINTERSTORE", &[destination.as_ref()], keys)?).await?)
    }

    /// Returns the members that any of several sets has. The keys, at least one, have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_union<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute_read(words_of("SUNION", &[], keys)?).await?)
    }

    /// Stores the members that any of several sets has, in the place of what the destination holds; returns their
    /// number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_union_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        count(self.execute(words_of("SUNIONSTORE", &[destination.as_ref()], keys)?).await?)
    }

    /// Returns the members of the first of several sets that none of the others has. The keys, at least one, have one
    /// slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_diff<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<BTreeSet<Bytes>, ClientError> {
        distinct(self.execute_read(words_of("SDIFF", &[], keys)?).await?)
    }

    /// Stores the members of the first of several sets that none of the others has, in the place of what the
    /// destination holds; returns their number. All keys have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn set_diff_store<K: AsRef<[u8]>>(
        &self,
        destination: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, ClientError> {
        count(self.execute(words_of("SDIFFSTORE", &[destination.as_ref()], keys)?).await?)
    }
}

/// The words of a command: its name, its keys, and at least one further argument.
fn words_of<A: AsRef<[u8]>>(
    name: &'static str,
    keys: &[&[u8]],
    further: impl IntoIterator<Item = A>,
) -> Result<Vec<Bytes>, ClientError> {
    let mut args = vec![Bytes::from_static(name.as_bytes())];
    args.extend(keys.iter().map(|key| Bytes::copy_from_slice(key)));
    let before = args.len();
    args.extend(further.into_iter().map(|arg| Bytes::copy_from_slice(arg.as_ref())));
    if args.len() == before { Err(ClientError::invalid("at least one key or member is needed")) } else { Ok(args) }
}

/// For a reply of another kind than the command has: a write has probably happened.
fn unexpected(reply: &ReplyValue) -> ClientError {
    ClientError::OutcomeUnknown { message: format!("the command has another kind of reply than {reply:?}") }
}

fn count(reply: ReplyValue) -> Result<u64, ClientError> {
    let number = reply.as_integer().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| unexpected(&reply))
}

fn flags(values: &[ReplyValue]) -> Option<Vec<bool>> {
    values.iter().map(|value| value.as_integer().map(|number| number > 0)).collect()
}

/// The members in a set or an array.
fn distinct(reply: ReplyValue) -> Result<BTreeSet<Bytes>, ClientError> {
    let bytes = |member: ReplyValue| match member {
        ReplyValue::Bytes(bytes) => Ok(bytes),
        other => Err(unexpected(&other)),
    };
    match reply {
        ReplyValue::Set(members) | ReplyValue::Array(members) => members.into_iter().map(bytes).collect(),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn commands_have_at_least_one_key_or_member() {
        let words = words_of("SADD", &[b"s"], ["a", "b"]).unwrap();
        assert_eq!(words, ["SADD", "s", "a", "b"].map(Bytes::from));
        assert!(matches!(words_of("SADD", &[b"s"], [""; 0]), Err(ClientError::Invalid { .. })));
    }

    #[test]
    fn replies_are_checked() {
        assert_eq!(count(ReplyValue::Integer(3)).unwrap(), 3);
        assert!(count(ReplyValue::Integer(-1)).is_err() && count(ReplyValue::Null).is_err());
        let members = || vec![ReplyValue::Bytes("b".into()), ReplyValue::Bytes("a".into())];
        let expected = BTreeSet::from(["a", "b"].map(Bytes::from));
        assert_eq!(distinct(ReplyValue::Set(members())).unwrap(), expected);
        assert_eq!(distinct(ReplyValue::Array(members())).unwrap(), expected);
        assert!(
            distinct(ReplyValue::Set(vec![ReplyValue::Integer(1)])).is_err() && distinct(ReplyValue::Null).is_err()
        );
        assert_eq!(flags(&[ReplyValue::Integer(1), ReplyValue::Integer(0)]), Some(vec![true, false]));
        assert_eq!(flags(&[ReplyValue::Null]), None);
    }
}
