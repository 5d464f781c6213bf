//! What counts against `maxmemory` besides the data: uncommitted effects, and what front ends hold for clients.
//!
//! Valkey's rule is that everything its allocator has handed out counts, except what only feeds replicas. The same
//! holds here. Counted are the data, an image of it that is being written, and undo records (the engine counts these);
//! uncommitted effects; and of every connection its unexecuted input, replies that have not left, whether they are held
//! for a commit or not taken by the client, queued commands and watched keys. Not counted is what the log and the links
//! to other nodes hold, which is bounded by options of its own.
//!
//! Nothing is scanned: a front end reports what a connection holds when that changes ([`ClientShare::set`]), the sum is
//! kept, and the engine gets it before it decides whether a command has memory.

use std::cell::Cell;
use std::rc::Rc;

/// Memory of one replica by purpose, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Keys and values, with their tables.
    pub data: u64,
    /// An image of the data that is being written, with the part of it that waits for the disk.
    pub image: u64,
    /// Effects that have not committed.
    pub open_effects: u64,
    /// Undo records of these.
    pub undo: u64,
    /// Fragments of a batch whose last one the log does not hold yet.
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

    /// What it holds, as last set.
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
    fn shares_add_up_and_are_returned() {
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
