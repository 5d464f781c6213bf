//! Idempotency keys: a write that carries one takes effect once, however often it is sent.
//!
//! # The problem
//! A client that sends a write and gets no answer cannot know whether it took effect. If it sends the write again, it
//! may take effect twice; if it does not, never. Simple solutions fail:
//!
//! - *Remember answers in the memory of the primary.* The write is sent again mostly because the primary has changed.
//! - *Remember them in keys of the data.* They would be seen by KEYS, FLUSHALL would remove them, and each write would
//!   need a transaction.
//! - *Remember them on every node by itself.* A record that exists where the effect was undone answers with something
//!   that did not happen, and one that is missing where the effect exists lets it happen again.
//!
//! # The solution
//! A key is the name of a client and a sequence number. The first write with a key leaves a [`Record`] with its reply.
//! The record is part of the **unit** of the write in the log (`record.rs`), so it exists exactly where the effects do:
//! it is applied with them, undone with them, part of snapshots (`stored.rs`) and of the digest. A repeated write is
//! answered with the recorded reply, which is released when the first attempt has committed, whatever the mode says
//! about other replies. A write without effects leaves no record: it may run again.
//!
//! A record is bound to its user (names of clients of two users never meet) and to a checksum of the command and its
//! arguments: another write with the same key is refused.
//!
//! # Records leave
//! Their number per client, their memory over all and their age are bounded. What leaves is decided by the primary, and
//! is in the log. Nothing that has left may run again: a *floor* per client, and one for all clients without records,
//! is the highest sequence number that has left; a write at or below it whose record is not there is refused. So
//! sequence numbers have to grow, roughly: they are microseconds since 1970 when the write was first sent, or were
//! when the connection started to count. One that lies far in the future is refused, because it would raise the floor
//! for all clients.

pub(crate) mod attempt;
pub(crate) mod record;
pub(crate) mod records;
pub(crate) mod stored;

use std::sync::Arc;

/// Identifies a write, so that it takes effect once although it is sent several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey<'a> {
    /// The client, by a name that it has chosen; 1 to [`fastness_types::limits::IDEMPOTENCY_CLIENT_BYTES_MAX`] bytes.
    pub client: &'a [u8],
    /// The number of the write among those of the client: microseconds since 1970, or higher than the numbers before.
    pub sequence: u64,
    /// What tells this write from others with its key; `None`: the checksum of the command and its arguments.
    pub payload: Option<u128>,
}

/// Gives the writes of a connection their keys (CLIENT IDEMPOTENCY): consecutive sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyCounter {
    /// The client.
    pub client: Arc<[u8]>,
    /// The number of the next write.
    pub next: u64,
}

impl IdempotencyCounter {
    /// The key of the next write.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey<'_> {
        IdempotencyKey { client: &self.client, sequence: self.next, payload: None }
    }
}
