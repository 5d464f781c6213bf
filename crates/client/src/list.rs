//! Calls on lists: commands with typed arguments and replies.

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::typed::{Words, bytes, count, done, each, flag, optional};

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListSide {
    /// Where the first element is.
    Head,
    /// Where the last element is.
    Tail,
}

impl ListSide {
    fn word(self) -> &'static str {
        self.of("LEFT", "RIGHT")
    }

    fn of(self, head: &'static str, tail: &'static str) -> &'static str {
        match self {
            ListSide::Head => head,
            ListSide::Tail => tail,
        }
    }
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
        self.typed_write(Words::new(side.of("LPUSH", "RPUSH")).key(key).some(elements)?, count).await
    }

    /// Removes and returns the element at an end of a list; absent if there is no such key. A list without elements
    /// ceases to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_pop(&self, key: impl AsRef<[u8]>, side: ListSide) -> Result<Option<Bytes>, ClientError> {
        self.typed_write(Words::new(side.of("LPOP", "RPOP")).key(key), optional(bytes)).await
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
        self.typed_write(Words::new(side.of("LPOP", "RPOP")).key(key).number(count), each(bytes)).await
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
        let words = Words::new("LMOVE").key(source).key(destination).arg(from.word()).arg(to.word());
        self.typed_write(words, optional(bytes)).await
    }

    /// Returns the number of elements of a list; 0 if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_len(&self, key: impl AsRef<[u8]>) -> Result<u64, ClientError> {
        self.typed_read(Words::new("LLEN").key(key), count).await
    }

    /// Returns the elements of a list from one position up to and including another. Positions below 0 count from the
    /// tail: -1 is the last element.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_range(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<Bytes>, ClientError> {
        self.typed_read(Words::new("LRANGE").key(key).number(start).number(stop), each(bytes)).await
    }

    /// Returns the element at a position of a list, as in [`Client::list_range`]; absent if there is none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_get(&self, key: impl AsRef<[u8]>, position: i64) -> Result<Option<Bytes>, ClientError> {
        self.typed_read(Words::new("LINDEX").key(key).number(position), optional(bytes)).await
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
        self.typed_write(Words::new("LSET").key(key).number(position).arg(element), done).await
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
        let words = Words::new("LINSERT").key(key).arg(side.of("BEFORE", "AFTER")).arg(pivot).arg(element);
        self.typed_write(words, flag).await
    }

    /// Removes elements that are equal to `element`: up to `most` from the head on, or from the tail on if it is below
    /// 0;
    /// all of them if it is 0. Returns how many there were.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_remove(
        &self,
        key: impl AsRef<[u8]>,
        most: i64,
        element: impl AsRef<[u8]>,
    ) -> Result<u64, ClientError> {
        self.typed_write(Words::new("LREM").key(key).number(most).arg(element), count).await
    }

    /// Removes the elements of a list outside of a range, as in [`Client::list_range`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_trim(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<(), ClientError> {
        self.typed_write(Words::new("LTRIM").key(key).number(start).number(stop), done).await
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
        self.typed_read(Words::new("LPOS").key(key).arg(element), optional(count)).await
    }
}
