//! One worker's way to the primary of its slot. It never repeats a command.

use std::time::Duration;

use fastness_resp::value::Value;
use fastness_types::Slot;

use crate::connection::{Connection, Endpoint, Login};
use crate::topology::Topology;

/// Number of refusals after which a route finds the primary again.
const REFUSALS_MAX: u32 = 8;

/// The reply to a command, or how it failed.
#[derive(Debug)]
pub enum Attempt {
    /// The node replied.
    Reply(Endpoint, Value),
    /// Nothing was sent: the primary is not known, or it cannot be reached.
    NotSent(Option<Endpoint>),
    /// No reply arrived.
    NoReply(Endpoint),
}

/// A connection to the primary of one slot.
pub struct Route {
    seeds: Vec<Endpoint>,
    /// The seed that is asked next.
    next: usize,
    login: Login,
    timeout: Duration,
    slot: Slot,
    primary: Option<Endpoint>,
    open: Option<(Endpoint, Connection)>,
    refusals: u32,
}

impl Route {
    /// A route that asks the seeds in turn, beginning with the one of this number.
    #[must_use]
    pub fn new(seeds: &[Endpoint], first: usize, login: Login, timeout: Duration, slot: Slot) -> Route {
        Route { seeds: seeds.to_vec(), next: first, login, timeout, slot, primary: None, open: None, refusals: 0 }
    }

    /// Sends a command to the primary, as far as it is known.
    pub async fn call(&mut self, command: &[&[u8]]) -> Attempt {
        let Some(primary) = self.primary().await else {
            self.next += 1;
            return Attempt::NotSent(None);
        };
        let mut connection = match self.open.take() {
            Some((endpoint, connection)) if endpoint == primary => connection,
            _ => match Connection::open_as(&primary, &self.login, self.timeout).await {
                Ok(connection) => connection,
                Err(_) => {
                    self.look_elsewhere();
                    return Attempt::NotSent(Some(primary));
                }
            },
        };
        let Ok(reply) = connection.call(command).await else {
            self.look_elsewhere();
            return Attempt::NoReply(primary);
        };
        if let Value::Error(text) = &reply {
            match moved(text, &primary) {
                Some(other) => self.primary = Some(other),
                // The node may be cut off, or no primary for other reasons: another one may know better. A primary
                // that refuses for a while (its log is behind) is asked for again each time.
                None => {
                    self.refusals += 1;
                    if self.refusals.is_multiple_of(REFUSALS_MAX) {
                        self.look_elsewhere();
                    }
                }
            }
        }
        self.open = Some((primary.clone(), connection));
        Attempt::Reply(primary, reply)
    }

    /// Finds the primary again before the next command, with the next seed.
    pub fn look_elsewhere(&mut self) {
        self.primary = None;
        self.next += 1;
    }

    async fn primary(&mut self) -> Option<Endpoint> {
        if self.primary.is_none() {
            let seed = self.seeds.get(self.next % self.seeds.len().max(1))?;
            let topology = Topology::read(std::slice::from_ref(seed), &self.login, self.timeout).await.ok()?;
            self.primary = topology.primary(self.slot).cloned();
        }
        self.primary.clone()
    }
}

/// The endpoint that a MOVED names.
fn moved(text: &[u8], from: &Endpoint) -> Option<Endpoint> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix("MOVED ")?;
    let (host, port) = text.split(' ').nth(1)?.rsplit_once(':')?;
    let host = if host.is_empty() { from.host.as_str() } else { host };
    Some(Endpoint::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_primary() {
        let from = Endpoint::new("a", 1);
        assert_eq!(moved(b"MOVED 12 b:7000", &from), Some(Endpoint::new("b", 7000)));
        assert_eq!(moved(b"MOVED 12 :7000", &from), Some(Endpoint::new("a", 7000)));
        assert_eq!(moved(b"CLUSTERDOWN No", &from), None);
    }
}
