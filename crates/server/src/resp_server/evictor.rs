//! Closes the largest connections while all of them take too much; see [`super::eviction`].

use std::rc::Rc;
use std::time::Duration;

use super::ReplicaServer;
use super::clients::Client;
use super::stats::add;

/// Connections that are closed between two pauses.
const EVICTED_AT_ONCE: usize = 2;
/// How long others are served then.
const PAUSE: Duration = Duration::from_millis(10);

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
            || client.has_read.get() && taken <= self.eviction.ceiling_of_all()
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
