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
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::ReplicaServer;
use super::clients::Client;
use super::stats::add;

/// Connections that are closed between two pauses.
const EVICTED_AT_ONCE: usize = 2;
/// How long others are served then.
const PAUSE: Duration = Duration::from_millis(10);
/// The ceiling is above the bound by this part of the bound.
const CEILING_PART: u64 = 8;
/// The ceiling for everybody is this multiple of the bound.
const CEILING_OF_ALL: u64 = 2;

/// See the module.
#[derive(Debug)]
pub struct Eviction {
    /// The bound, bytes; `u64::MAX`: none.
    bound: Cell<u64>,
    /// Whether connections are being closed.
    runs: Cell<bool>,
    /// Notified when the sum is below the ceiling again.
    room: Notify,
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction { bound: Cell::new(u64::MAX), runs: Cell::new(false), room: Notify::new() }
    }
}

impl Eviction {
    /// The ceiling, bytes.
    fn ceiling(&self) -> u64 {
        let bound = self.bound.get();
        bound.saturating_add(bound / CEILING_PART)
    }

    /// Resolves once commands may run again that waited above the ceiling.
    pub(super) async fn has_made_room(&self) {
        self.room.notified().await;
    }
}

impl ReplicaServer {
    /// What the connections take, but for those with CLIENT NO-EVICT, bytes.
    fn evictable_bytes(&self) -> u64 {
        self.shard.client_bytes().saturating_sub(self.clients.no_evict_bytes())
    }

    /// What a connection may add to the unread replies of all of them, bytes; 0: the bound is reached.
    pub(crate) fn room_for_replies(&self) -> u64 {
        self.eviction.bound.get().saturating_sub(self.evictable_bytes())
    }

    /// Whether the largest connections are to be closed at once.
    #[inline]
    pub(super) fn are_clients_above_ceiling(&self) -> bool {
        self.evictable_bytes() > self.eviction.ceiling()
    }

    /// Whether commands of this connection may run, as far as the memory of all of them is concerned.
    #[inline]
    pub(crate) fn has_room_for(&self, client: &Client) -> bool {
        let taken = self.evictable_bytes();
        taken <= self.eviction.ceiling()
            || client.no_evict.get()
            || client.has_read.get() && taken <= self.eviction.bound.get().saturating_mul(CEILING_OF_ALL)
    }

    /// Goes by the bound that is configured, and closes the largest connections while all of them take more. About once
    /// a second.
    pub(crate) fn evict_clients(self: &Rc<Self>) {
        let config = self.node.config.load();
        self.eviction.bound.set(config.maxmemory_clients.bytes(config.maxmemory).unwrap_or(u64::MAX));
        // The sum of those with CLIENT NO-EVICT is counted anew even if nothing is to be closed.
        if self.evict_some() > 0 || self.are_clients_above_ceiling() {
            self.start_evicting();
        } else {
            self.eviction.room.notify_waiters();
        }
    }

    /// Closes the largest connections, a few at a time, until the others are within the bound.
    pub(super) fn start_evicting(self: &Rc<Self>) {
        if self.eviction.runs.replace(true) {
            return;
        }
        let server = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                let closed = server.evict_some();
                tokio::time::sleep(PAUSE).await;
                if server.are_clients_above_ceiling() {
                    continue;
                }
                server.eviction.room.notify_waiters();
                if closed == 0 {
                    break;
                }
            }
            server.eviction.runs.set(false);
        });
    }

    /// Closes a few; returns how many.
    fn evict_some(&self) -> usize {
        let max = self.eviction.bound.get();
        let closed = self.clients.evict(max, EVICTED_AT_ONCE);
        for client in &closed {
            add(&self.stats.evicted_clients, 1);
            if let Some(others) = self.node.throttles.evicted.permit() {
                let (address, bytes) = (client.address, client.memory.get());
                tracing::warn!(client = %address, bytes, max, others, "client evicted: maxmemory-clients exceeded");
            }
        }
        closed.len()
    }
}
