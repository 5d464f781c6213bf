//! What all connections of a replica may take together (`maxmemory-clients`), and how the largest are closed.
//!
//! By the sum of what connections take, but for those with CLIENT NO-EVICT:
//! - Below the bound a connection may have as many unread replies as there is room left (a dynamic threshold:
//!   Choudhury and Hahne, 1998). One alone gets half of the bound, a thousand get a thousandth each, and wait for their
//!   clients to read.
//! - Above the bound a connection gets no more replies than it reads, and about once a second the largest are closed
//!   until the others are within the bound. A client that is just reading a long reply has that second.
//! - Above the ceiling, an eighth more, no command runs of a connection that has never taken a whole reply, and the
//!   largest are closed at once. Newcomers that request long replies wait, and clients that read are served.
//! - Above twice the bound no command runs at all. So the sum stays within that and one turn of one connection, however
//!   many connections request at one moment.
//!
//! Connections are closed a few at a time with pauses in which others are served: whoever is closed may come back at
//! once, and costs as much again.
//!
//! Valkey closes the largest whenever the sum is over the bound (`evictClients`), without the other levels.

use std::cell::Cell;

use tokio::sync::Notify;

/// The ceiling is above the bound by this part of the bound.
const CEILING_PART: u64 = 8;
/// The ceiling for everybody is this multiple of the bound.
const CEILING_OF_ALL: u64 = 2;

/// See the module.
#[derive(Debug)]
pub struct Eviction {
    /// The bound, bytes; `u64::MAX`: none.
    pub(super) bound: Cell<u64>,
    /// Whether connections are being closed.
    pub(super) runs: Cell<bool>,
    /// Notified when the sum is below the ceiling again.
    pub(super) room: Notify,
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction { bound: Cell::new(u64::MAX), runs: Cell::new(false), room: Notify::new() }
    }
}

impl Eviction {
    /// The ceiling for those that have never taken a whole reply, bytes.
    pub(super) fn ceiling(&self) -> u64 {
        let bound = self.bound.get();
        bound.saturating_add(bound / CEILING_PART)
    }

    /// The ceiling for everybody, bytes.
    pub(super) fn ceiling_of_all(&self) -> u64 {
        self.bound.get().saturating_mul(CEILING_OF_ALL)
    }

    /// Resolves once commands may run again that waited above the ceiling.
    pub(super) async fn has_made_room(&self) {
        self.room.notified().await;
    }
}
