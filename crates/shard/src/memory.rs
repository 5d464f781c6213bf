//! What counts against `maxmemory` beside the data: effects that have not committed, and what front ends hold for
//! clients.
//!
//! Valkey's rule is that what its allocator has given out counts, but for what only feeds replicas. So here: the data
//! and an image of it that is being written, and what may have to come back (the engine counts those), open effects
//! until they commit, and of every connection what was received and not executed, replies that have not left, whether
//! held for a commit or not taken by the client, queued commands and watched keys. Not counted is what the log and the
//! links to other nodes hold, which is bounded by options of its own.
//!
//! Nothing is walked: a front end tells what a connection holds when that changes ([`ClientShare::set`]), the sum is
//! kept, and the engine is told it before a command asks whether there is memory.

use std::cell::Cell;
use std::rc::Rc;

/// Where the memory of one replica is, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Keys and values, with their tables.
    pub data: u64,
    /// Of an image of the data that is being written, with what of it waits for the disk.
    pub image: u64,
    /// Effects that have not committed.
    pub open_effects: u64,
    /// What they have replaced, kept until they commit.
    pub undo: u64,
    /// Fragments of a batch of which the log does not hold the last yet.
    pub fragments: u64,
    /// What connections hold.
    pub clients: u64,
}

impl MemoryUse {
    /// What is compared with `maxmemory`.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.data + self.overhead()
    }

    /// All but the data.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        self.image + self.open_effects + self.undo + self.fragments + self.clients
    }
}

/// What one connection holds. It counts until this is dropped.
#[derive(Debug)]
pub struct ClientShare {
    sum: Rc<Cell<u64>>,
    bytes: u64,
}

impl ClientShare {
    /// It holds so many bytes now.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes != self.bytes {
            debug_assert!(self.sum.get() >= self.bytes, "the sum is of all shares");
            self.sum.set(self.sum.get() - self.bytes + bytes);
            self.bytes = bytes;
        }
    }

    /// What it was said to hold.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What all connections hold together.
#[derive(Debug, Default)]
pub(crate) struct ClientMemory(Rc<Cell<u64>>);

impl ClientMemory {
    /// A new connection's share, which is nothing yet.
    pub(crate) fn share(&self) -> ClientShare {
        ClientShare { sum: self.0.clone(), bytes: 0 }
    }

    /// The sum of all shares.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let sum = ClientMemory::default();
        let (mut one, mut other) = (sum.share(), sum.share());
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!((sum.bytes(), one.bytes(), other.bytes()), (8, 3, 5));
        drop(one);
        assert_eq!(sum.bytes(), 5);
        other.set(0);
        assert_eq!(sum.bytes(), 0);
    }
}
