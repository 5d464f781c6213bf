//! One connection, with pipelined requests and their replies. The caller's time-out bounds every wait.

use std::sync::Arc;
use std::time::Duration;

use fastness_resp::Protocol;
use fastness_resp::value::{self, Value};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Address of a front end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Client-side TLS; without it connections are plaintext.
#[derive(Clone)]
pub struct Tls(pub Arc<ClientConfig>);

impl Tls {
    /// Trusts the CA certificates in this PEM text and presents no certificate.
    ///
    /// # Errors
    /// If the text holds no usable certificate.
    pub fn trusting(ca_pem: &[u8]) -> Result<Tls, IoError> {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        for cert in rustls_pki_types::CertificateDer::pem_slice_iter(ca_pem) {
            let cert = cert.map_err(|e| IoError::Tls(e.to_string()))?;
            roots.add(cert).map_err(|e| IoError::Tls(e.to_string()))?;
        }
        if roots.is_empty() {
            return Err(IoError::Tls("no CA certificate in the PEM text".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| IoError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls(Arc::new(config)))
    }
}

/// What a client needs to be let in.
#[derive(Clone, Default)]
pub struct Login {
    /// TLS, if used.
    pub tls: Option<Tls>,
    /// Password of the user `default`, if it needs one.
    pub password: Option<String>,
}

/// Why a connection can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// No reply arrived within the time-out.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server closed the connection.
    #[error("connection closed")]
    Closed,
    /// The server sent bytes that are not RESP.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The TLS material is unusable, or the handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server does not accept the password, at least not now.
    #[error("not logged in: {0}")]
    NotLoggedIn(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One open connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    read_pos: usize,
    timeout: Duration,
}

/// Appends one command in RESP's array form.
pub fn encode(command: &[&[u8]], out: &mut Vec<u8>) {
    fastness_resp::request::encode(command, out);
}

impl Connection {
    /// Connects; `timeout` bounds this and every later wait.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn open(endpoint: &Endpoint, tls: Option<&Tls>, timeout: Duration) -> Result<Connection, IoError> {
        let connect = async {
            let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            tcp.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| IoError::Tls(e.to_string()))?;
                    let stream = TlsConnector::from(tls.0.clone()).connect(name, tcp).await;
                    Box::new(stream.map_err(|e| IoError::Tls(e.to_string()))?)
                }
            };
            Ok::<_, IoError>(stream)
        };
        let stream = tokio::time::timeout(timeout, connect).await.map_err(|_| IoError::TimedOut(timeout))??;
        Ok(Connection { stream, input: Vec::with_capacity(16 * 1024), read_pos: 0, timeout })
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn open_as(endpoint: &Endpoint, login: &Login, timeout: Duration) -> Result<Connection, IoError> {
        let mut connection = Connection::open(endpoint, login.tls.as_ref(), timeout).await?;
        if let Some(password) = &login.password {
            match connection.call(&[b"AUTH", password.as_bytes()]).await? {
                Value::Simple(_) => {}
                other => return Err(IoError::NotLoggedIn(format!("{other:?}"))),
            }
        }
        Ok(connection)
    }

    /// Selects the protocol version.
    ///
    /// # Errors
    /// See [`IoError`]. A server that refuses the version is treated as one that does not speak RESP.
    pub async fn speak(&mut self, protocol: Protocol) -> Result<(), IoError> {
        if protocol == Protocol::Resp2 {
            return Ok(());
        }
        match self.call(&[b"HELLO", b"3"]).await? {
            Value::Map(_) => Ok(()),
            other => Err(IoError::Malformed(format!("unexpected reply to HELLO 3: {other:?}"))),
        }
    }

    /// Sends bytes that contain complete commands.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        tokio::time::timeout(self.timeout, self.stream.write_all(bytes))
            .await
            .map_err(|_| IoError::TimedOut(self.timeout))??;
        tokio::time::timeout(self.timeout, self.stream.flush())
            .await
            .map_err(|_| IoError::TimedOut(self.timeout))??;
        Ok(())
    }

    /// The next reply.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn receive(&mut self) -> Result<Value, IoError> {
        loop {
            match value::parse(&self.input[self.read_pos..]) {
                Ok(Some((reply, used))) => {
                    self.read_pos += used;
                    if self.read_pos == self.input.len() {
                        self.input.clear();
                        self.read_pos = 0;
                    }
                    return Ok(reply);
                }
                Ok(None) => self.fill().await?,
                Err(error) => return Err(IoError::Malformed(error.to_string())),
            }
        }
    }

    async fn fill(&mut self) -> Result<(), IoError> {
        if self.read_pos > 0 {
            self.input.drain(..self.read_pos);
            self.read_pos = 0;
        }
        let read = tokio::time::timeout(self.timeout, self.stream.read_buf(&mut self.input))
            .await
            .map_err(|_| IoError::TimedOut(self.timeout))??;
        if read == 0 { Err(IoError::Closed) } else { Ok(()) }
    }

    /// Sends one command and returns its reply.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn call(&mut self, command: &[&[u8]]) -> Result<Value, IoError> {
        let mut bytes = Vec::with_capacity(64);
        encode(command, &mut bytes);
        self.send_raw(&bytes).await?;
        self.receive().await
    }
}

impl Connection {
    /// Skips `count` replies and returns the number of errors in them, also as elements of arrays.
    ///
    /// # Errors
    /// See [`IoError`].
    pub async fn skip_replies(&mut self, count: usize) -> Result<usize, IoError> {
        // Values that are to come: an array is followed by its elements.
        let (mut values, mut errors) = (count, 0);
        loop {
            while values > 0 {
                let Some(value) = Skipped::read(&self.input[self.read_pos..])? else { break };
                self.read_pos += value.length;
                values = values - 1 + value.elements;
                errors += usize::from(value.is_error);
            }
            if values == 0 {
                if self.read_pos == self.input.len() {
                    self.input.clear();
                    self.read_pos = 0;
                }
                return Ok(errors);
            }
            self.fill().await?;
        }
    }
}

/// A value at the start of what has arrived, of which only the extent matters.
#[derive(Debug, PartialEq, Eq)]
struct Skipped {
    /// Bytes, without the elements of an array, set or map.
    length: usize,
    /// Number of the elements that follow.
    elements: usize,
    is_error: bool,
}

impl Skipped {
    /// `None` if the value is not complete.
    fn read(input: &[u8]) -> Result<Option<Skipped>, IoError> {
        let Some(line) = input.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let header = line + 1;
        let number = || {
            let digits = std::str::from_utf8(&input[1..line.saturating_sub(1)]).ok();
            digits.and_then(|d| d.parse::<usize>().ok()).ok_or_else(|| IoError::Malformed("length of a reply".into()))
        };
        let value = |length, elements| Skipped { length, elements, is_error: input[0] == b'-' };
        Ok(Some(match input[0] {
            b'+' | b':' | b'_' | b'#' | b',' | b'-' => value(header, 0),
            b'$' | b'*' if input[1] == b'-' => value(header, 0),
            b'*' | b'~' => value(header, number()?),
            b'%' => value(header, 2 * number()?),
            b'$' => {
                let length = header + number()? + 2;
                if input.len() < length {
                    return Ok(None);
                }
                value(length, 0)
            }
            other => {
                let text = format!(
                    "unexpected reply type {:?}: not pushed messages nor errors of many lines",
                    char::from(other)
                );
                return Err(IoError::Malformed(text));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_skipped_whole() {
        let read = |input: &[u8]| Skipped::read(input).expect("well formed");
        let value = |length, elements, is_error| Some(Skipped { length, elements, is_error });
        assert_eq!(read(b"+OK\r\n+"), value(5, 0, false));
        assert_eq!(read(b"-MOVED 1 a:2\r\n"), value(14, 0, true));
        assert_eq!(read(b"$3\r\nabc\r\n"), value(9, 0, false));
        assert_eq!(read(b"$3\r\nabc\r"), None);
        assert_eq!(read(b"$-1\r\n"), value(5, 0, false));
        assert_eq!(read(b"$3"), None);
        assert_eq!(read(b"*2\r\n:1\r\n"), value(4, 2, false));
        assert_eq!(read(b"*-1\r\n"), value(5, 0, false));
        assert_eq!(read(b"%2\r\n"), value(4, 4, false));
        assert!(Skipped::read(b">1\r\n").is_err() && Skipped::read(b"*x\r\n").is_err());
    }
}
