//! The boundary of a connection's task: it is entered among the clients and takes a place, and whichever way it ends
//! nothing of it is left.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures::FutureExt;

use super::clients::{Arrival, Client};
use super::stats::add;
use super::stream::ClientStream;
use super::{ReplicaServer, connection};
use crate::shared::ClientSlot;

/// A connection as the rest of the replica knows it. Whichever way its task ends, by a panic too, dropping this forgets
/// it.
struct Entry {
    server: Rc<ReplicaServer>,
    client: Rc<Client>,
    _slot: ClientSlot,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.server.pubsub.channels.leave(&self.client);
        self.server.pubsub.monitors.leave(&self.client);
        self.server.tracking.leave(&self.client);
        self.server.clients.leave(&self.client);
    }
}

/// Serves one connection until it ends. A panic ends this connection alone, unless a command was being run: then nobody
/// knows what is in memory, and the replica ends.
pub async fn serve(server: Rc<ReplicaServer>, stream: ClientStream, arrival: Arrival, slot: ClientSlot) {
    let client = server.clients.enter(&arrival);
    if !client.is_authenticated() {
        server.let_in(&client).ok();
    }
    let entry = Entry { server, client, _slot: slot };
    let (server, client) = (&entry.server, &entry.client);
    if let Err(panic) = AssertUnwindSafe(connection::serve(server, client, stream)).catch_unwind().await {
        add(&server.stats.panics, 1);
        let reason = panic_text(&*panic);
        tracing::error!(client = %client.address, command = client.command.get(), reason, "a connection's task has panicked: the client is disconnected");
        if server.executing.get() {
            server.broken.notify_one();
        }
    }
}

/// What a panic says.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}
