//! How connections are opened: TLS, user, protocol version, database.

use std::fmt;
use std::time::Duration;

use fastness_resp::request::encode;
use fastness_resp::value::Value;

use crate::address::Address;
use crate::connection::{Connection, ConnectionError};
use crate::format::escape;
use crate::tls::Tls;

/// How long a node may take to answer HELLO, AUTH and SELECT.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; `None`: the user `default`.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// RESP2.
    Resp2,
    /// RESP3; a server that does not speak it is an error.
    Resp3,
    /// RESP3 if the server speaks it.
    Resp3IfServed,
}

/// Everything that a new connection needs.
#[derive(Clone)]
pub struct Access {
    /// TLS, if used.
    pub tls: Option<Tls>,
    /// Who the user is; `None`: nobody authenticates.
    pub credentials: Option<Credentials>,
    /// The version of the protocol.
    pub protocol: ProtocolChoice,
    /// The database.
    pub database: u32,
}

/// Why a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It cannot be connected to.
    #[error("could not connect to {address}: {error}")]
    Unreachable {
        /// The node.
        address: Address,
        /// What failed.
        error: ConnectionError,
    },
    /// It refuses a command that prepares the connection.
    #[error("{address} refused {command}: {text}")]
    Refused {
        /// The node.
        address: Address,
        /// The name of the command.
        command: &'static str,
        /// The error, without control characters.
        text: String,
    },
    /// There is no node to connect to.
    #[error("no address of a node is known")]
    NoAddress,
}

/// A connection that is ready for commands.
pub struct Prepared {
    /// The connection.
    pub connection: Connection,
    /// Whether it speaks RESP3.
    pub is_resp3: bool,
}

impl Access {
    /// Connects, authenticates, and selects protocol and database.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn open(&self, address: &Address) -> Result<Prepared, AccessError> {
        let unreachable = |error| AccessError::Unreachable { address: address.clone(), error };
        let mut connection = Connection::open(address, self.tls.as_ref()).await.map_err(unreachable)?;
        if let Some(credentials) = &self.credentials {
            let user = credentials.user.as_deref();
            let request = [Some(&b"AUTH"[..]), user, Some(credentials.password.as_slice())];
            let request: Vec<&[u8]> = request.into_iter().flatten().collect();
            prepare(&mut connection, "AUTH", &request).await?;
        }
        let is_resp3 = self.speak(&mut connection).await?;
        if self.database > 0 {
            prepare(&mut connection, "SELECT", &[b"SELECT", self.database.to_string().as_bytes()]).await?;
        }
        Ok(Prepared { connection, is_resp3 })
    }

    /// Selects the protocol; returns whether it is RESP3. A server that demands authentication first is asked again
    /// after that.
    pub(crate) async fn speak(&self, connection: &mut Connection) -> Result<bool, AccessError> {
        if self.protocol == ProtocolChoice::Resp2 {
            return Ok(false);
        }
        match prepare(connection, "HELLO", &[b"HELLO", b"3"]).await {
            Ok(()) => Ok(true),
            Err(AccessError::Refused { text, .. })
                if self.protocol == ProtocolChoice::Resp3IfServed || text.starts_with("NOAUTH") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Runs a command on which the others depend.
async fn prepare(connection: &mut Connection, command: &'static str, request: &[&[u8]]) -> Result<(), AccessError> {
    let address = connection.address().clone();
    let mut bytes = Vec::new();
    encode(request, &mut bytes);
    let answer = async {
        connection.send(&bytes).await?;
        loop {
            match connection.receive().await? {
                Value::Push(_) => {}
                reply => return Ok::<_, ConnectionError>(reply),
            }
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, answer).await;
    let answer = answer.unwrap_or(Err(ConnectionError::TimedOut(ANSWER_TIME_MAX)));
    match answer {
        Ok(Value::Error(text)) => Err(AccessError::Refused { address, command, text: escape::text(&text) }),
        Ok(_) => Ok(()),
        Err(error) => Err(AccessError::Unreachable { address, error }),
    }
}
