//! Calls on lists: commands of Valkey, with their replies as types.

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSide {
    /// Where the first element is.
    Head,
    /// Where the last element is.
    Tail,
}

impl ListSide {
    fn word(self) -> &'static [u8] {
        match self {
            ListSide::Head => b"LEFT",
            ListSide::Tail => b"RIGHT",
        }
    }

    fn of(self, head: &'static [u8], tail: &'static [u8]) -> &'static [u8] {
        match self {
            ListSide::Head => head,
            ListSide::Tail => tail,
        }
    }
}

/// A reply of another kind than the command has.
fn unexpected(reply: &ReplyValue) -> ClientError {
    ClientError::OutcomeUnknown { message: format!("the server has answered with a reply of another kind: {reply:?}") }
}

fn to_count(reply: &ReplyValue) -> Result<u64, ClientError> {
    reply.as_integer().and_then(|count| u64::try_from(count).ok()).ok_or_else(|| unexpected(reply))
}

fn to_element(reply: ReplyValue) -> Result<Option<Bytes>, ClientError> {
    match reply {
        ReplyValue::Null => Ok(None),
        ReplyValue::Bytes(element) => Ok(Some(element)),
        other => Err(unexpected(&other)),
    }
}

fn to_elements(reply: ReplyValue) -> Result<Vec<Bytes>, ClientError> {
    let values = match reply {
        ReplyValue::Null => return Ok(Vec::new()),
        ReplyValue::Array(values) => values,
        other => return Err(unexpected(&other)),
    };
    let element = |value| match value {
        ReplyValue::Bytes(element) => Ok(element),
        other => Err(unexpected(&other)),
    };
    values.into_iter().map(element).collect()
}

impl Client {
    /// Adds elements at an end of a list, at least one, one after the other; returns the length of the list. A missing
    /// key counts as empty.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_push<E: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        side: ListSide,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<u64, ClientError> {
        let mut args = vec![side.of(b"LPUSH", b"RPUSH").to_vec(), key.as_ref().to_vec()];
        args.extend(elements.into_iter().map(|element| element.as_ref().to_vec()));
        if args.len() == 2 {
            return Err(ClientError::invalid("at least one element is needed"));
        }
        to_count(&self.execute(args).await?)
    }

    /// Removes and returns the element at an end of a list; absent if there is no such key. A list without elements
    /// ceases to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_pop(&self, key: impl AsRef<[u8]>, side: ListSide) -> Result<Option<Bytes>, ClientError> {
        to_element(self.execute([side.of(b"LPOP", b"RPOP"), key.as_ref()]).await?)
    }

    /// As [`Client::list_pop`], of up to `count` elements; the one at the end comes first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_pop_many(
        &self,
        key: impl AsRef<[u8]>,
        side: ListSide,
        count: u64,
    ) -> Result<Vec<Bytes>, ClientError> {
        let count = count.to_string();
        to_elements(self.execute([side.of(b"LPOP", b"RPOP"), key.as_ref(), count.as_bytes()]).await?)
    }

    /// Moves the element at an end of a list to an end of another list, or of the same, and returns it; absent if there
    /// is no list to take it from. Both keys must have one slot.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_move(
        &self,
        source: impl AsRef<[u8]>,
        from: ListSide,
        destination: impl AsRef<[u8]>,
        to: ListSide,
    ) -> Result<Option<Bytes>, ClientError> {
        let args = [&b"LMOVE"[..], source.as_ref(), destination.as_ref(), from.word(), to.word()];
        to_element(self.execute(args).await?)
    }

    /// Returns the number of elements of a list; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        to_count(&self.execute_read([&b"LLEN"[..], key.as_ref()]).await?)
    }

    /// Returns the elements of a list from one position up to and including another. Positions below 0 count from the
    /// tail: -1 is the last element.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_range(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<Bytes>, ClientError> {
        let (start, stop) = (start.to_string(), stop.to_string());
        to_elements(self.execute_read([&b"LRANGE"[..], key.as_ref(), start.as_bytes(), stop.as_bytes()]).await?)
    }

    /// Returns the element at a position of a list, as in [`Client::list_range`]; absent if there is none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_get(&self, key: impl AsRef<[u8]>, position: i64) -> Result<Option<Bytes>, ClientError> {
        let position = position.to_string();
        to_element(self.execute_read([&b"LINDEX"[..], key.as_ref(), position.as_bytes()]).await?)
    }

    /// Replaces the element at a position of a list, as in [`Client::list_range`].
    ///
    /// # Errors
    /// See [`ClientError`]; refused with the reason `ERR` if there is no such key or position.
    pub async fn list_set(
        &self,
        key: impl AsRef<[u8]>,
        position: i64,
        element: impl AsRef<[u8]>,
    ) -> Result<(), ClientError> {
        let position = position.to_string();
        self.execute([&b"LSET"[..], key.as_ref(), position.as_bytes(), element.as_ref()]).await.map(drop)
    }

    /// Adds an element beside the first one that is equal to `pivot`: before it at [`ListSide::Head`], after it at
    /// [`ListSide::Tail`]. Returns whether there is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_insert(
        &self,
        key: impl AsRef<[u8]>,
        side: ListSide,
        pivot: impl AsRef<[u8]>,
        element: impl AsRef<[u8]>,
    ) -> Result<bool, ClientError> {
        let beside = side.of(b"BEFORE", b"AFTER");
        let reply = self.execute([&b"LINSERT"[..], key.as_ref(), beside, pivot.as_ref(), element.as_ref()]).await?;
        reply.as_integer().map(|len| len > 0).ok_or_else(|| unexpected(&reply))
    }

    /// Removes elements that are equal to `element`: up to `count` from the head on, or from the tail on if it is below
    /// 0; all of them if it is 0. Returns how many there were.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_remove(
        &self,
        key: impl AsRef<[u8]>,
        count: i64,
        element: impl AsRef<[u8]>,
    ) -> Result<u64, ClientError> {
        let count = count.to_string();
        to_count(&self.execute([&b"LREM"[..], key.as_ref(), count.as_bytes(), element.as_ref()]).await?)
    }

    /// Removes the elements of a list outside of a range, as in [`Client::list_range`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_trim(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<(), ClientError> {
        let (start, stop) = (start.to_string(), stop.to_string());
        self.execute([&b"LTRIM"[..], key.as_ref(), start.as_bytes(), stop.as_bytes()]).await.map(drop)
    }

    /// Returns the position of the first element that is equal to this one; absent if there is none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_find(
        &self,
        key: impl AsRef<[u8]>,
        element: impl AsRef<[u8]>,
    ) -> Result<Option<u64>, ClientError> {
        match self.execute_read([&b"LPOS"[..], key.as_ref(), element.as_ref()]).await? {
            ReplyValue::Null => Ok(None),
            reply => to_count(&reply).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn replies_are_what_the_commands_have() {
        assert_eq!(to_count(&ReplyValue::Integer(3)).unwrap(), 3);
        assert!(to_count(&ReplyValue::Integer(-1)).is_err() && to_count(&ReplyValue::Null).is_err());
        assert_eq!(to_element(ReplyValue::Null).unwrap(), None);
        assert_eq!(to_element(ReplyValue::Bytes("a".into())).unwrap(), Some("a".into()));
        assert!(to_element(ReplyValue::Integer(1)).unwrap_err().may_have_happened());
        let elements = ReplyValue::Array(vec![ReplyValue::Bytes("a".into()), ReplyValue::Bytes("b".into())]);
        assert_eq!(to_elements(elements).unwrap(), ["a", "b"]);
        assert!(to_elements(ReplyValue::Null).unwrap().is_empty());
        assert!(to_elements(ReplyValue::Array(vec![ReplyValue::Null])).is_err());
    }
}
