//! A session with a cluster: one current connection, which follows redirections and is replaced when it is lost.
//!
//! A command is sent again only if it was certainly not executed: after a redirection, or if nothing was sent. The
//! reply of a command that was sent on a connection that failed is unknown, and [`SessionError::OutcomeUnknown`] says
//! so.
//!
//! The session knows what of a connection a new one must have as well: the user, the protocol, the database. What else
//! was set on the old one (CLIENT …, WATCH, MULTI) is gone, which the [`Note`] of the new connection tells the user.

use std::time::Duration;

use fastness_engine::command::CommandTable;
use fastness_resp::Args;
use fastness_resp::number::parse_int;
use fastness_resp::request::encode;
use fastness_resp::value::Value;
use tokio::time::Instant;

use crate::access::{Access, AccessError, Credentials, Prepared, ProtocolChoice};
use crate::address::Address;
use crate::connection::{Connection, ConnectionError};
use crate::redirect::{Redirect, redirect};

/// Redirections of one command that are followed.
const REDIRECTS_MAX: usize = 16;
/// How long a node that redirects to one that cannot be reached is asked again: that long a failover may take.
const REDIRECT_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two such attempts.
const REDIRECT_PAUSE: Duration = Duration::from_millis(200);
/// A connection that was not used for this long is checked before a command is sent.
const IDLE: Duration = Duration::from_secs(1);

/// What happens while a command runs, for the user.
#[derive(Debug)]
pub enum Note {
    /// The command goes to another node.
    Redirected(Redirect),
    /// The node to which the command was redirected cannot be reached; the other one is asked again.
    Unreachable(AccessError),
    /// The connection was lost before the command was sent.
    Lost(Address),
    /// There is a new connection.
    Connected(Address),
    /// A redirection that is not followed, because the transaction or the watched keys are on this connection.
    Bound(Redirect),
    /// A message that is not the reply.
    Push(Value),
}

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no connection; nothing was sent.
    #[error(transparent)]
    NotSent(#[from] AccessError),
    /// The connection was lost, and a transaction or watched keys with it; nothing was sent.
    #[error("the connection to {0} was lost, and what MULTI or WATCH had begun on it; nothing was sent")]
    TransactionLost(Address),
    /// The connection failed after the command was sent.
    #[error("{address}: {error}; it is not known whether the command was executed")]
    OutcomeUnknown {
        /// The node.
        address: Address,
        /// What failed.
        error: ConnectionError,
    },
}

/// What the current connection has been told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionState {
    /// Between MULTI and EXEC.
    pub in_transaction: bool,
    /// Commands that the transaction has queued.
    pub queued: usize,
    /// Keys are watched.
    pub is_watching: bool,
    /// It speaks RESP3.
    pub is_resp3: bool,
}

/// See the module's documentation.
pub struct Session {
    table: &'static CommandTable,
    access: Access,
    /// Tried in turn if the current node cannot be reached.
    nodes: Vec<Address>,
    address: Address,
    connection: Option<Connection>,
    /// When the connection was last used.
    used: Instant,
    state: ConnectionState,
    follows: bool,
}

/// Receives notes.
pub type OnNote<'a> = &'a mut dyn FnMut(Note);

impl Session {
    /// A session without a connection. `follows`: redirections are followed.
    ///
    /// # Errors
    /// There is no node.
    pub fn new(
        table: &'static CommandTable,
        access: Access,
        nodes: Vec<Address>,
        follows: bool,
    ) -> Result<Session, AccessError> {
        let address = nodes.first().cloned().ok_or(AccessError::NoAddress)?;
        let state = ConnectionState::default();
        Ok(Session { table, access, nodes, address, connection: None, used: Instant::now(), state, follows })
    }

    /// The node of the current connection, or of the last one.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// See [`ConnectionState`].
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// The selected database.
    #[must_use]
    pub fn database(&self) -> u32 {
        self.access.database
    }

    /// Connects to the current node, or to the first other one that can be reached.
    ///
    /// # Errors
    /// No node can be used; the error is that of the current one.
    pub async fn connect(&mut self) -> Result<(), AccessError> {
        let current = self.address.clone();
        let first = match self.access.open(&current).await {
            Ok(prepared) => {
                self.adopt(prepared);
                return Ok(());
            }
            Err(error) => error,
        };
        for other in self.nodes.clone().iter().filter(|node| **node != current) {
            if let Ok(prepared) = self.access.open(other).await {
                self.adopt(prepared);
                return Ok(());
            }
        }
        Err(first)
    }

    fn adopt(&mut self, prepared: Prepared) {
        self.address = prepared.connection.address().clone();
        self.state = ConnectionState { is_resp3: prepared.is_resp3, ..ConnectionState::default() };
        self.connection = Some(prepared.connection);
        self.used = Instant::now();
    }

    /// Closes the connection; a command that runs is abandoned.
    pub fn disconnect(&mut self) {
        self.connection = None;
        self.state = ConnectionState::default();
    }

    /// Runs one command.
    ///
    /// # Errors
    /// See [`SessionError`]. An error reply is a reply.
    pub async fn call(&mut self, command: &[Vec<u8>], note: OnNote<'_>) -> Result<Value, SessionError> {
        self.ensure_connected(note).await?;
        let mut request = Vec::new();
        encode(command, &mut request);
        let until = Instant::now() + REDIRECT_PATIENCE;
        let mut redirects = 0;
        loop {
            let reply = self.send(&request, note).await?;
            let Some(redirect) = redirect(&reply, &self.address).filter(|_| self.follows && redirects < REDIRECTS_MAX)
            else {
                self.learn(command, &reply).await;
                return Ok(reply);
            };
            if self.state.queued > 0 || self.state.is_watching {
                self.learn(command, &reply).await;
                note(Note::Bound(redirect));
                return Ok(reply);
            }
            match self.follow(&redirect, &request, note).await? {
                Followed::Moved => {
                    redirects += 1;
                    note(Note::Redirected(redirect));
                }
                Followed::Answered(reply) => return Ok(reply),
                Followed::Unreachable(error) if Instant::now() < until => {
                    note(Note::Unreachable(error));
                    tokio::time::sleep(REDIRECT_PAUSE).await;
                }
                Followed::Unreachable(error) => return Err(error.into()),
            }
        }
    }

    async fn ensure_connected(&mut self, note: OnNote<'_>) -> Result<(), SessionError> {
        if let Some(connection) = &mut self.connection
            && self.used.elapsed() > IDLE
            && connection.is_closed().await
        {
            let was_bound = self.state.in_transaction || self.state.is_watching;
            self.disconnect();
            if was_bound {
                return Err(SessionError::TransactionLost(self.address.clone()));
            }
            note(Note::Lost(self.address.clone()));
        }
        if self.connection.is_none() {
            self.connect().await?;
            note(Note::Connected(self.address.clone()));
        }
        Ok(())
    }

    /// Sends a request on the current connection and waits for its reply.
    async fn send(&mut self, request: &[u8], note: OnNote<'_>) -> Result<Value, SessionError> {
        let Some(connection) = &mut self.connection else { return Err(AccessError::NoAddress.into()) };
        let reply = exchange(connection, request, note).await;
        self.used = Instant::now();
        reply.map_err(|error| {
            self.disconnect();
            SessionError::OutcomeUnknown { address: self.address.clone(), error }
        })
    }

    /// Waits for messages, after a command that subscribes to them.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn next_message(&mut self) -> Result<Value, ConnectionError> {
        let Some(connection) = &mut self.connection else { return Err(ConnectionError::Closed) };
        let message = connection.receive().await;
        if message.is_err() {
            self.disconnect();
        }
        message
    }

    async fn follow(
        &mut self,
        redirect: &Redirect,
        request: &[u8],
        note: OnNote<'_>,
    ) -> Result<Followed, SessionError> {
        let Prepared { mut connection, is_resp3 } = match self.access.open(&redirect.to).await {
            Ok(prepared) => prepared,
            Err(error @ AccessError::Unreachable { .. }) => return Ok(Followed::Unreachable(error)),
            Err(error) => return Err(error.into()),
        };
        let not_sent = |error| AccessError::Unreachable { address: redirect.to.clone(), error };
        if redirect.is_ask {
            exchange(&mut connection, b"*1\r\n$6\r\nASKING\r\n", note).await.map_err(not_sent)?;
            note(Note::Redirected(redirect.clone()));
            let failed = |error| SessionError::OutcomeUnknown { address: redirect.to.clone(), error };
            return Ok(Followed::Answered(exchange(&mut connection, request, note).await.map_err(failed)?));
        }
        let in_transaction = self.state.in_transaction;
        if in_transaction {
            // An empty transaction moves with the session.
            exchange(&mut connection, b"*1\r\n$5\r\nMULTI\r\n", note).await.map_err(not_sent)?;
        }
        self.adopt(Prepared { connection, is_resp3 });
        self.state.in_transaction = in_transaction;
        Ok(Followed::Moved)
    }

    /// Notes what a command has changed on the connection.
    async fn learn(&mut self, command: &[Vec<u8>], reply: &Value) {
        let args = Args::owned(command);
        let Some(spec) = self.table.of_request(args) else { return };
        let is_error = reply.as_error().is_some();
        match spec.name {
            "exec" | "discard" => {
                let is_resp3 = self.state.is_resp3;
                // An error ends a transaction as well, unless there was none.
                self.state = ConnectionState { is_resp3, ..ConnectionState::default() };
            }
            _ if is_error => {}
            "multi" => self.state.in_transaction = true,
            "reset" => {
                self.state = ConnectionState::default();
                self.access.database = 0;
            }
            _ if self.state.in_transaction => self.state.queued += 1,
            "watch" => self.state.is_watching = true,
            "unwatch" => self.state.is_watching = false,
            "select" => {
                let number = args.try_get(1).and_then(parse_int).and_then(|number| u32::try_from(number).ok());
                self.access.database = number.unwrap_or(self.access.database);
            }
            "auth" => self.learn_auth(&command[1..]).await,
            "hello" => self.learn_hello(&command[1..]),
            _ => {}
        }
    }

    /// After AUTH the protocol can be selected that a server refused before.
    async fn learn_auth(&mut self, words: &[Vec<u8>]) {
        self.access.credentials = match words {
            [password] => Some(Credentials { user: None, password: password.clone() }),
            [user, password] => Some(Credentials { user: Some(user.clone()), password: password.clone() }),
            _ => return,
        };
        if !self.state.is_resp3
            && let Some(connection) = &mut self.connection
        {
            // A failure shows itself at the next command.
            self.state.is_resp3 = self.access.speak(connection).await.unwrap_or(false);
        }
    }

    fn learn_hello(&mut self, words: &[Vec<u8>]) {
        if let Some(version) = words.first() {
            self.state.is_resp3 = version == b"3";
            self.access.protocol = if self.state.is_resp3 { ProtocolChoice::Resp3 } else { ProtocolChoice::Resp2 };
        }
        if let Some(at) = words.iter().position(|word| word.eq_ignore_ascii_case(b"auth"))
            && let [user, password, ..] = &words[at + 1..]
        {
            self.access.credentials = Some(Credentials { user: Some(user.clone()), password: password.clone() });
        }
    }
}

enum Followed {
    /// The session is on the other node now.
    Moved,
    Answered(Value),
    Unreachable(AccessError),
}

async fn exchange(connection: &mut Connection, request: &[u8], note: OnNote<'_>) -> Result<Value, ConnectionError> {
    connection.send(request).await?;
    loop {
        match connection.receive().await? {
            push @ Value::Push(_) => note(Note::Push(push)),
            reply => return Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests;
