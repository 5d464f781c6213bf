//! Passes messages on, in slices between which others run, and removes from the table who does not track any more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_resp::Protocol;

use super::outbox::{Invalid, InvalidDelivery, To};
use super::{Tracking, message};
use crate::resp_server::ReplicaServer;
use crate::resp_server::clients::Client;

/// Clients that one slice visits.
const SLICE_CLIENTS: usize = 256;
/// How long one slice lasts, about.
const SLICE_TIME: Duration = Duration::from_millis(1);
/// Random keys that leave a table that is over its bound in one slice.
const SLICE_EVICTED: usize = 256;
/// Keys that are cleared up in one slice.
const SLICE_CLEARED: usize = 1024;
/// Pause after such a slice.
const CLEAR_PAUSE: Duration = Duration::from_millis(5);

impl Tracking {
    /// Whether nothing is to be passed on.
    fn is_idle(&self) -> bool {
        self.outbox.borrow().is_idle() && self.prefixes.borrow().changed_bytes() == 0
    }

    /// Resolves once something is to be done.
    async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes the message that is due. Changes of a turn under prefixes become messages when no other is due.
    fn next(&self) -> Option<InvalidDelivery> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_idle() {
            for (prefix, names) in self.prefixes.borrow_mut().take_changed() {
                outbox.add_prefixed(prefix, names);
            }
        }
        outbox.take()
    }
}

/// Everything that a replica does for client-side caching beside commands, until it is dropped.
pub(crate) async fn run(server: Rc<ReplicaServer>) {
    tokio::join!(deliver(&server), clear_up(&server));
}

async fn deliver(server: &ReplicaServer) {
    let tracking = &server.tracking;
    loop {
        tracking.woken().await;
        loop {
            let is_over = tracking.shrink(SLICE_EVICTED);
            let until = Instant::now() + SLICE_TIME;
            while let Some(delivery) = tracking.next() {
                if let Some(rest) = server.deliver_some(delivery) {
                    tracking.outbox.borrow_mut().put_back(rest);
                    break;
                }
                if Instant::now() >= until {
                    break;
                }
            }
            tracking.count();
            if !is_over && tracking.is_idle() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Frees tables that were emptied, and removes readers that have left.
async fn clear_up(server: &ReplicaServer) {
    let tracking = &server.tracking;
    loop {
        tracking.clears.notified().await;
        while free_some(tracking) {
            tracking.count();
            tokio::time::sleep(CLEAR_PAUSE).await;
        }
        tracking.count();
        if !tracking.has_left.replace(false) {
            continue;
        }
        let tracks = |id: u64| server.clients.get(id).is_some_and(|client| is_reader(&client));
        let mut below = usize::MAX;
        while below > 0 {
            below = tracking.keys.borrow_mut().clear_up(below, SLICE_CLEARED, tracks);
            tracking.count();
            tokio::time::sleep(CLEAR_PAUSE).await;
        }
        if tracking.has_left.get() {
            tracking.clears.notify_one();
        }
    }
}

fn free_some(tracking: &Tracking) -> bool {
    let mut retired = tracking.retired.borrow_mut();
    if let Some(table) = retired.last_mut()
        && !table.free(SLICE_CLEARED)
    {
        retired.pop();
    }
    !retired.is_empty()
}

/// Whether a client gets the changes of keys that it has read.
fn is_reader(client: &Client) -> bool {
    client.tracking.is_on() && !client.tracking.is_bcast()
}

impl ReplicaServer {
    /// Passes a message to some of its receivers; returns it if others are left.
    fn deliver_some(&self, mut delivery: InvalidDelivery) -> Option<InvalidDelivery> {
        let InvalidDelivery { invalid, to, encoded, .. } = &mut delivery;
        let encode = |protocol: Protocol| match &*invalid {
            Invalid::Key(name) => message::keys(protocol, [&name[..]]),
            Invalid::Keys(names) => message::keys(protocol, names.keys().map(|name| &name[..])),
            Invalid::Everything => message::everything(protocol),
        };
        let is_left = match to {
            To::Readers(readers, from) => {
                let some = &readers[*from..readers.len().min(*from + SLICE_CLIENTS)];
                for client in some.iter().filter_map(|id| self.clients.get(*id)).filter(|client| is_reader(client)) {
                    self.inform(&client, |protocol| encoded.of(protocol, encode).clone());
                }
                *from += some.len();
                *from < readers.len()
            }
            To::Prefix(prefix, after) => {
                let mut some = Vec::new();
                let rest = self.tracking.prefixes.borrow().visit(prefix, *after, SLICE_CLIENTS, |id| some.push(id));
                let some = some.into_iter().filter_map(|id| self.clients.get(id));
                for client in some.filter(|client| !client.tracking.has_shorter(prefix)) {
                    match &*invalid {
                        Invalid::Keys(names) if names.values().any(|writer| *writer == client.id) => {
                            let others = names.iter().filter(|(_, writer)| **writer != client.id);
                            let others = others.map(|(name, _)| &name[..]);
                            self.inform(&client, |protocol| message::keys(protocol, others));
                        }
                        _ => self.inform(&client, |protocol| encoded.of(protocol, encode).clone()),
                    }
                }
                *after = rest.unwrap_or(*after);
                rest.is_some()
            }
            To::All(after) => {
                let (some, rest) = self.clients.some_after(*after, SLICE_CLIENTS);
                for client in some.iter().filter(|client| client.tracking.is_on()) {
                    self.inform(client, |protocol| encoded.of(protocol, encode).clone());
                }
                *after = rest.unwrap_or(*after);
                rest.is_some()
            }
        };
        is_left.then_some(delivery)
    }

    /// Passes messages to a client that tracks, or to the connection of its REDIRECT. In RESP2 it gets none itself, and
    /// the other connection only if it is subscribed.
    fn inform(&self, client: &Rc<Client>, messages: impl FnOnce(Protocol) -> message::Notices) {
        let Some(redirect) = client.tracking.redirect() else { return };
        let other = if redirect == 0 { None } else { self.clients.get(redirect) };
        if redirect != 0 && other.is_none() {
            client.tracking.set_broken();
            if client.protocol.get() == Protocol::Resp3 {
                self.send_invalid(client, &message::broken(redirect));
            }
            return;
        }
        let receiver = other.as_ref().unwrap_or(client);
        let protocol = receiver.protocol.get();
        if protocol == Protocol::Resp3 || (other.is_some() && receiver.is_subscribed()) {
            for message in messages(protocol) {
                self.send_invalid(receiver, &message);
            }
        }
    }

    fn send_invalid(&self, receiver: &Client, message: &Arc<Vec<u8>>) {
        let limits = self.node.config.load().client_output_buffer_limit;
        let hard_bytes = match limits.of(receiver.is_subscribed()).hard_bytes {
            0 => self.eviction.bound.get(),
            hard => hard,
        };
        self.push_to(receiver, message, hard_bytes);
        receiver.call();
    }
}
