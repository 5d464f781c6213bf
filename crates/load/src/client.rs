//! A cluster client: finds a key's primary with `CLUSTER SLOTS` and sends the command there. It never retries, so that
//! the caller knows the outcome of each attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fastness_resp::Protocol;
use fastness_resp::value::Value;
use fastness_types::slot_of;
use parking_lot::Mutex;

use crate::connection::{Connection, Endpoint, IoError, Login, Tls, encode};
use crate::outcome::{Outcome, classify};
use crate::topology::Topology;

/// How to reach a cluster.
#[derive(Clone)]
pub struct Access {
    /// Endpoints from which the topology is read.
    pub seeds: Vec<Endpoint>,
    /// TLS, if used.
    pub tls: Option<Tls>,
    /// Protocol version of the connections.
    pub protocol: Protocol,
    /// Without a reply within this time, the outcome is unknown and the connection is closed.
    pub timeout: Duration,
}

/// The topology that clients of one cluster share; `None` until it is read, and again after a redirect.
pub type SharedTopology = Arc<Mutex<Option<Arc<Topology>>>>;

/// A client of any kind, whatever it speaks: it runs each command at most once.
#[async_trait]
pub trait Caller: Send {
    /// Runs one command on the primary of its first key. An error reply may be returned as such, or as
    /// the outcome that it means.
    ///
    /// # Errors
    /// What is known of a command that was not answered with success.
    async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome>;
}

#[async_trait]
impl Caller for Client {
    async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome> {
        Client::call(self, command).await
    }
}

/// The first key of a command. It follows the name, or, for a script, the number of keys, or the word STREAMS.
#[must_use]
pub fn key_of<'a>(command: &[&'a [u8]]) -> &'a [u8] {
    let is = |name: &[u8]| command.first().is_some_and(|first| first.eq_ignore_ascii_case(name));
    let at = if is(b"XREADGROUP") || is(b"XREAD") {
        command.iter().position(|word| word.eq_ignore_ascii_case(b"STREAMS")).map_or(1, |at| at + 1)
    } else if is(b"EVAL") || is(b"EVALSHA") || is(b"FCALL") {
        3
    } else if is(b"XGROUP") {
        2
    } else {
        1
    };
    command.get(at).copied().unwrap_or_default()
}

/// A cluster client (see the module's documentation).
pub struct Client {
    access: Access,
    connections: HashMap<Endpoint, Connection>,
    topology: SharedTopology,
}

impl Client {
    /// A client without connections.
    #[must_use]
    pub fn new(access: Access, topology: SharedTopology) -> Client {
        Client { access, connections: HashMap::new(), topology }
    }

    /// Sends one command to the primary of its first key.
    ///
    /// # Errors
    /// [`Outcome::Refused`] before anything was sent, [`Outcome::Unknown`] after that.
    pub async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome> {
        let endpoint = self.primary(key_of(command)).await.ok_or(Outcome::Refused)?;
        let mut replies = self.pipeline(&endpoint, &[command]).await?;
        Ok(replies.remove(0))
    }

    /// Sends commands as one pipeline and waits for all replies.
    ///
    /// # Errors
    /// As [`Client::call`]; the outcome applies to each command.
    pub async fn pipeline(&mut self, endpoint: &Endpoint, commands: &[&[&[u8]]]) -> Result<Vec<Value>, Outcome> {
        self.connect(endpoint).await.map_err(|_| Outcome::Refused)?;
        match self.exchange(endpoint, commands).await {
            Ok(replies) => {
                if replies.iter().any(|reply| classify(reply) != Outcome::Acknowledged) {
                    self.forget_topology();
                }
                Ok(replies)
            }
            Err(_) => {
                self.disconnect(endpoint);
                Err(Outcome::Unknown)
            }
        }
    }

    /// Runs commands between MULTI and EXEC, and returns the reply of EXEC.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn transaction(&mut self, endpoint: &Endpoint, commands: &[&[&[u8]]]) -> Result<Value, Outcome> {
        let mut all: Vec<&[&[u8]]> = vec![&[b"MULTI"]];
        all.extend_from_slice(commands);
        all.push(&[b"EXEC"]);
        let mut replies = self.pipeline(endpoint, &all).await?;
        // Without MULTI the commands have run one by one, and the refusal of EXEC says nothing about them.
        match replies.first() {
            Some(Value::Simple(_)) => replies.pop().ok_or(Outcome::Unknown),
            _ => Err(Outcome::Unknown),
        }
    }

    /// Whether the connection is open; a closed one loses its watched keys.
    #[must_use]
    pub fn is_connected(&self, endpoint: &Endpoint) -> bool {
        self.connections.contains_key(endpoint)
    }

    /// Closes a connection; the next command finds the primary again.
    pub fn disconnect(&mut self, endpoint: &Endpoint) {
        self.connections.remove(endpoint);
        self.forget_topology();
    }

    /// The primary of a key's slot; `None` if no seed answers or no node serves the slot.
    pub async fn primary(&mut self, key: &[u8]) -> Option<Endpoint> {
        self.topology().await?.primary(slot_of(key)).cloned()
    }

    /// All nodes with a copy of a key, the primary first.
    pub async fn copies(&mut self, key: &[u8]) -> Vec<Endpoint> {
        self.topology().await.map(|topology| topology.copies(slot_of(key))).unwrap_or_default()
    }

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<(), IoError> {
        if self.connections.contains_key(endpoint) {
            return Ok(());
        }
        let Access { tls, protocol, timeout, .. } = &self.access;
        let opened = match Connection::open(endpoint, tls.as_ref(), *timeout).await {
            Ok(mut connection) => connection.speak(*protocol).await.map(|()| connection),
            Err(error) => Err(error),
        };
        match opened {
            Ok(connection) => {
                self.connections.insert(endpoint.clone(), connection);
                Ok(())
            }
            Err(error) => {
                self.forget_topology();
                Err(error)
            }
        }
    }

    async fn exchange(&mut self, endpoint: &Endpoint, commands: &[&[&[u8]]]) -> Result<Vec<Value>, IoError> {
        let connection = self.connections.get_mut(endpoint).ok_or(IoError::Closed)?;
        let mut bytes = Vec::with_capacity(64 * commands.len());
        for command in commands {
            encode(command, &mut bytes);
        }
        connection.send_raw(&bytes).await?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(connection.receive().await?);
        }
        Ok(replies)
    }

    async fn topology(&mut self) -> Option<Arc<Topology>> {
        if let Some(topology) = self.topology.lock().clone() {
            return Some(topology);
        }
        let login = Login { tls: self.access.tls.clone(), password: None };
        let read = Topology::read(&self.access.seeds, &login, self.access.timeout).await;
        let topology = Arc::new(read.ok()?);
        *self.topology.lock() = Some(topology.clone());
        Some(topology)
    }

    fn forget_topology(&self) {
        *self.topology.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn a_key_is_found_in_every_command() {
        let of = |text: &'static str| key_of(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        assert_eq!(of("GET k"), b"k");
        assert_eq!(of("XADD k * f v"), b"k");
        assert_eq!(of("XREADGROUP GROUP g c COUNT 1 streams k >"), b"k");
        assert_eq!(of("eval script 1 k arg"), b"k");
        assert_eq!(of("XGROUP CREATE k g 0"), b"k");
        assert_eq!(of("PING"), b"");
    }
}
