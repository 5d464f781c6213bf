//! One connection to one node.
//!
//! Replies are found in the read buffer without parsing them again for each piece that arrives. All waits for replies
//! can be cancelled: what has arrived is kept.

use std::time::Duration;

use fastness_resp::ReplyExtent;
use fastness_resp::value::{self, Value, ValueError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::tls::{Tls, TlsError};

/// How long a node may take to accept a connection, with its TLS handshake.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a check for a closed connection waits for what has already arrived.
const CLOSED_CHECK: Duration = Duration::from_millis(2);
/// Longest reply, bytes.
const REPLY_BYTES_MAX: usize = 4 << 30;
/// Short requests are joined up to this length, bytes, before they are written.
const WRITE_BYTES: usize = 64 * 1024;
/// The read buffer gives memory back when it is empty and has more than this, bytes.
const INPUT_BYTES_KEPT: usize = 1 << 20;

/// Why a connection cannot be opened, or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket or the TLS handshake failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The TLS files or the name of the host are unusable.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// The node did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The node closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// What arrived is not a reply.
    #[error("this is not a server that speaks RESP: {0}")]
    Malformed(#[from] ValueError),
    /// A reply over the limit.
    #[error("a reply is longer than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLong,
}

impl From<TlsError> for ConnectionError {
    fn from(error: TlsError) -> ConnectionError {
        ConnectionError::Tls(Box::new(error))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub struct Connection {
    address: Address,
    replies: Replies,
    writer: WriteHalf<Box<dyn Stream>>,
}

/// The side that reads.
struct Replies {
    reader: ReadHalf<Box<dyn Stream>>,
    input: Vec<u8>,
    /// Where the next reply starts in `input`.
    start: usize,
    extent: ReplyExtent,
}

impl Replies {
    async fn next(&mut self) -> Result<Value, ConnectionError> {
        loop {
            if let Some((len, _)) = self.extent.end(&self.input[self.start..])? {
                let Some((reply, _)) = value::parse(&self.input[self.start..self.start + len])? else {
                    return Err(ValueError::InvalidLine.into());
                };
                self.start += len;
                return Ok(reply);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        // The extent of a reply counts from its start, so the bytes before it can be dropped at any time.
        self.input.drain(..self.start);
        self.start = 0;
        if self.input.is_empty() && self.input.capacity() > INPUT_BYTES_KEPT {
            self.input = Vec::new();
        }
        if self.input.len() > REPLY_BYTES_MAX {
            return Err(ConnectionError::ReplyTooLong);
        }
        self.input.reserve(WRITE_BYTES);
        match self.reader.read_buf(&mut self.input).await? {
            0 => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open(address: &Address, tls: Option<&Tls>) -> Result<Connection, ConnectionError> {
        let connect = async {
            let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
            tcp.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let name = tls.name_of(&address.host)?;
                    Box::new(TlsConnector::from(tls.config.clone()).connect(name, tcp).await?)
                }
            };
            Ok::<_, ConnectionError>(stream)
        };
        let stream = tokio::time::timeout(CONNECT_TIME_MAX, connect)
            .await
            .map_err(|_| ConnectionError::TimedOut(CONNECT_TIME_MAX))??;
        let (reader, writer) = tokio::io::split(stream);
        let replies = Replies { reader, input: Vec::new(), start: 0, extent: ReplyExtent::default() };
        Ok(Connection { address: address.clone(), replies, writer })
    }

    /// The node.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends complete requests.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn send(&mut self, requests: &[u8]) -> Result<(), ConnectionError> {
        self.writer.write_all(requests).await?;
        Ok(self.writer.flush().await?)
    }

    /// The next reply or push message.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn receive(&mut self) -> Result<Value, ConnectionError> {
        self.replies.next().await
    }

    /// Whether the node has closed the connection while nobody used it.
    pub async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(CLOSED_CHECK, self.replies.fill()).await, Ok(Err(_)))
    }

    /// Sends requests and receives their replies at the same time, so that neither side waits for the other. Passes
    /// each reply in order, until `on_reply` returns that it was the last one.
    ///
    /// # Errors
    /// See [`ConnectionError`]; the replies before the failure have been passed.
    pub async fn exchange<'a>(
        &mut self,
        requests: impl IntoIterator<Item = &'a [u8]>,
        silence_max: Duration,
        mut on_reply: impl FnMut(Value) -> bool,
    ) -> Result<(), ConnectionError> {
        let Connection { replies, writer, .. } = self;
        let write = write_all(writer, requests);
        let read = async {
            loop {
                let next = tokio::time::timeout(silence_max, replies.next()).await;
                if on_reply(next.map_err(|_| ConnectionError::TimedOut(silence_max))??) {
                    return Ok::<_, ConnectionError>(());
                }
            }
        };
        tokio::pin!(write, read);
        let mut is_written = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut read => return ended,
                // After a failed write the replies to what was written before may still arrive; then reading fails.
                _ = &mut write, if !is_written => is_written = true,
            }
        }
    }
}

async fn write_all<'a>(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    requests: impl IntoIterator<Item = &'a [u8]>,
) -> std::io::Result<()> {
    let mut joined = Vec::new();
    for request in requests {
        if joined.len() + request.len() > WRITE_BYTES {
            writer.write_all(&joined).await?;
            joined.clear();
        }
        match request.len() > WRITE_BYTES {
            true => writer.write_all(request).await?,
            false => joined.extend_from_slice(request),
        }
    }
    writer.write_all(&joined).await?;
    writer.flush().await
}
