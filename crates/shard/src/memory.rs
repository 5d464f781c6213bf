//! Memory that counts against `maxmemory` besides the data: uncommitted effects, and the buffers of clients.
//!
//! As in Valkey, all allocated memory counts, except buffers that only serve replication. Counted are: the data, an
//! image of it that is being written, and undo records (all three counted by the engine); uncommitted effects; and for
//! every connection its unexecuted input, its unsent replies (pending for a commit, or not read by the client), queued
//! commands and watched keys; keyspace notifications on their way; idempotency records. The memory of the log and of
//! the links to other nodes is not counted; it is bounded by its own options.
//!
//! Nothing is scanned. A front end reports the memory of a connection when it changes ([`ClientShare::set`]). The sum
//! is passed to the engine before it decides whether a command may use more memory.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::BootNs;

/// Memory of one replica by purpose, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Keys and values, with their tables.
    pub data: u64,
    /// An image of the data that is being written, including chunks that wait for the disk.
    pub image: u64,
    /// Effects that have not committed.
    pub open_effects: u64,
    /// Undo records of the uncommitted effects.
    pub undo: u64,
    /// Collected fragments of a batch that is not complete.
    pub fragments: u64,
    /// Memory of connections, and keyspace notifications that wait for their commit or delivery.
    pub clients: u64,
    /// What clients have read that cache it (CLIENT TRACKING).
    pub tracking: u64,
    /// Idempotency records.
    pub records: u64,
}

impl MemoryUse {
    /// The sum that is compared with `maxmemory`.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.data + self.overhead()
    }

    /// All but the data.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        let clients = self.clients + self.tracking;
        self.image + self.open_effects + self.undo + self.fragments + clients + self.records
    }
}

/// The memory of one connection. It counts until this is dropped.
#[derive(Debug)]
pub struct ClientShare {
    sum: Rc<Cell<u64>>,
    bytes: u64,
}

impl ClientShare {
    /// Sets the memory of the connection, in bytes.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes != self.bytes {
            debug_assert!(self.sum.get() >= self.bytes, "the sum is of all shares");
            self.sum.set(self.sum.get() - self.bytes + bytes);
            self.bytes = bytes;
        }
    }

    /// The memory of the connection, as last set.
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

/// For how long memory was over its bound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrun {
    since: Option<BootNs>,
    before: Duration,
}

impl Overrun {
    /// Records whether memory is over its bound now.
    pub(crate) fn follow(&mut self, is_over: bool, now: BootNs) {
        if !is_over {
            self.before += self.current(now);
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// How long it has been over its bound; 0: it is not.
    pub(crate) fn current(&self, now: BootNs) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// How long it was in all.
    pub(crate) fn total(&self, now: BootNs) -> Duration {
        self.before + self.current(now)
    }
}

/// The memory of all connections.
#[derive(Debug, Default)]
pub(crate) struct ClientMemory(Rc<Cell<u64>>);

impl ClientMemory {
    /// The share of a new connection, initially 0.
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
    fn times_over_the_bound_add_up() {
        let (mut overrun, at) = (Overrun::default(), |ms: u64| BootNs(ms * 1_000_000));
        for (is_over, ms) in [(false, 1), (true, 10), (true, 15), (false, 20), (false, 30), (true, 40)] {
            overrun.follow(is_over, at(ms));
        }
        let ms = |span: Duration| span.as_millis();
        assert_eq!((ms(overrun.current(at(45))), ms(overrun.total(at(45)))), (5, 15));
    }

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
