//! Accepts connections of other nodes and of administrators: TLS handshakes, off the thread that serves what comes over
//! them.
//!
//! Anybody who reaches the port can start a handshake, so its cost is bounded:
//! - On the port for clients, a source may open connections at a bounded rate only (`sources.rs`).
//! - Handshakes run on the runtime that [`Guard::accept`] is called in, the node's shared one: none runs on consensus'
//!   thread, where it would delay heartbeats.
//! - A handshake takes at most `PEER_HANDSHAKE_TIME_MAX`, and `PEER_HANDSHAKES_MAX` are under way at once; one more is
//!   refused: its connection is closed. The nodes of a cluster try again.
//! - Connections that are through are bounded by `PEER_CONNECTIONS_MAX`, too; a quarter of them are for those whose
//!   certificate names an administrator or a node. A certificate was signed by the cluster's CA; what it allows
//!   is checked by whoever serves the connection.
//! - Refusals and failed handshakes are counted, and logged no more often than every `LOG_EVERY`.
//!
//! A connection is served by another runtime than the one that accepted it: [`GrpcStream::adopt`] moves the socket
//! there, so that no wake-up crosses threads.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::api::lane::Lanes;
use crate::certificates::Newest;
use crate::descriptors::Bounds;
use crate::shared::NodeShared;
use crate::sources;
use crate::tls::Identity;

/// Between two lines in the log about connections that were refused, or failed.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Pause after the system could not accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Finished connections that wait to be taken over.
const FINISHED_MAX: usize = 16;

/// Accepts on one port.
pub struct Guard {
    /// The option that names the port, for the log.
    port: &'static str,
    bounds: Bounds,
    /// Bounds what one source may open, if the port is for clients, too.
    node: Option<Arc<NodeShared>>,
    tls: Newest<ServerConfig>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    clients: Arc<Semaphore>,
    refused: AtomicU64,
    failed: AtomicU64,
    log: Rarely,
}

impl Guard {
    /// For the port that the option `port` names.
    #[must_use]
    pub fn new(port: &'static str, tls: impl Into<Newest<ServerConfig>>, bounds: Bounds) -> Arc<Guard> {
        Guard::make(port, tls.into(), bounds, None)
    }

    /// The same for a port that clients of this node connect to.
    #[must_use]
    pub fn for_clients(
        port: &'static str,
        tls: impl Into<Newest<ServerConfig>>,
        bounds: Bounds,
        node: Arc<NodeShared>,
    ) -> Arc<Guard> {
        Guard::make(port, tls.into(), bounds, Some(node))
    }

    fn make(
        port: &'static str,
        tls: Newest<ServerConfig>,
        bounds: Bounds,
        node: Option<Arc<NodeShared>>,
    ) -> Arc<Guard> {
        Arc::new(Guard {
            port,
            bounds,
            node,
            tls,
            handshakes: Arc::new(Semaphore::new(bounds.handshakes_max)),
            connections: Arc::new(Semaphore::new(bounds.connections_max)),
            clients: Arc::new(Semaphore::new(bounds.clients_max())),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            log: Rarely::default(),
        })
    }

    /// Accepts on the current runtime until nobody takes the connections any more. They are through their handshake,
    /// and are to be adopted where they are served.
    pub fn accept(self: &Arc<Self>, listener: TcpListener) -> mpsc::Receiver<io::Result<TlsStream<GrpcStream>>> {
        let (to, finished) = mpsc::channel(FINISHED_MAX);
        tokio::spawn(self.clone().run(listener, to));
        finished
    }

    async fn run(self: Arc<Self>, listener: TcpListener, to: mpsc::Sender<io::Result<TlsStream<GrpcStream>>>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = to.closed() => return,
            };
            match accepted {
                Ok((tcp, address)) => self.welcome(tcp, address, &to),
                Err(error) => {
                    self.log_rarely(&format!("the system accepts none: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(
        self: &Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        to: &mpsc::Sender<io::Result<TlsStream<GrpcStream>>>,
    ) {
        if self.node.as_ref().is_some_and(|node| !node.admits(address, true)) {
            return sources::refuse(&tcp, true);
        }
        let permits = (self.connections.clone().try_acquire_owned(), self.handshakes.clone().try_acquire_owned());
        let (Ok(connection), Ok(handshake)) = permits else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.log_rarely(&format!("{address}: refused, too many connections or handshakes at once"));
            return;
        };
        let (guard, to) = (self.clone(), to.clone());
        tokio::spawn(async move {
            let handshaken = guard.handshake(tcp, connection).await;
            drop(handshake);
            match handshaken {
                Ok(mut stream) => {
                    if guard.admit(&mut stream) {
                        // Nobody takes it if the node ends.
                        return drop(to.send(Ok(stream)).await);
                    }
                    guard.refused.fetch_add(1, Ordering::Relaxed);
                    guard.log_rarely(&format!("{address}: refused, too many connections of clients"));
                }
                Err(error) => {
                    guard.failed.fetch_add(1, Ordering::Relaxed);
                    guard.log_rarely(&format!("{address}: {error}"));
                }
            }
        });
    }

    async fn handshake(&self, tcp: TcpStream, connection: OwnedSemaphorePermit) -> io::Result<TlsStream<GrpcStream>> {
        tcp.set_nodelay(true)?;
        let stream = GrpcStream { tcp: Some(tcp), lanes: Arc::default(), _connection: connection, client: None };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no handshake in time");
        let accepting = TlsAcceptor::from(self.tls.load()).accept(stream);
        tokio::time::timeout(self.bounds.handshake_time_max, accepting).await.map_err(late)?
    }

    /// Gives a client its place; `false`: there is none left. Administrators and nodes need none.
    fn admit(&self, stream: &mut TlsStream<GrpcStream>) -> bool {
        let (socket, tls) = stream.get_mut();
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        if certificate.is_some_and(|certificate| Identity::of(certificate).is_some()) {
            return true;
        }
        socket.client = self.clients.clone().try_acquire_owned().ok();
        socket.client.is_some()
    }

    fn log_rarely(&self, newest: &str) {
        if !self.log.is_time(LOG_EVERY) {
            return;
        }
        let (refused, failed) = (self.refused.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let port = self.port;
        tracing::warn!(
            port,
            refused,
            failed,
            newest,
            "connections were refused or have failed (totals since the start)"
        );
    }

    /// Connections that were refused at a bound.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Says yes at most once in a span.
#[derive(Debug, Default)]
struct Rarely(Mutex<Option<Instant>>);

impl Rarely {
    fn is_time(&self, span: Duration) -> bool {
        let mut last = self.0.lock();
        let is_time = last.is_none_or(|last| last.elapsed() >= span);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }
}

/// What calls know of the connection that they come through.
#[derive(Debug, Clone)]
pub struct GrpcConnectInfo {
    /// Its addresses.
    pub tcp: TcpConnectInfo,
    /// Its connections to replicas.
    pub lanes: Arc<Lanes>,
}

/// The socket below a connection's TLS.
#[derive(Debug)]
pub struct GrpcStream {
    /// Gone only if moving it to another runtime has failed.
    tcp: Option<TcpStream>,
    lanes: Arc<Lanes>,
    _connection: OwnedSemaphorePermit,
    /// Its place among the clients.
    client: Option<OwnedSemaphorePermit>,
}

impl GrpcStream {
    /// Moves a connection to the current runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn adopt(mut stream: TlsStream<GrpcStream>) -> io::Result<TlsStream<GrpcStream>> {
        let socket = stream.get_mut().0;
        let tcp = socket.tcp.take().ok_or(io::ErrorKind::NotConnected)?.into_std()?;
        socket.tcp = Some(TcpStream::from_std(tcp)?);
        Ok(stream)
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.tcp.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Connected for GrpcStream {
    type ConnectInfo = GrpcConnectInfo;

    fn connect_info(&self) -> GrpcConnectInfo {
        let tcp = self.tcp.as_ref();
        let tcp = TcpConnectInfo {
            local_addr: tcp.and_then(|tcp| tcp.local_addr().ok()),
            remote_addr: tcp.and_then(|tcp| tcp.peer_addr().ok()),
        };
        GrpcConnectInfo { tcp, lanes: self.lanes.clone() }
    }
}

impl AsyncRead for GrpcStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for GrpcStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().tcp()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().tcp()?.poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.as_ref().is_some_and(TcpStream::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp()?.poll_shutdown(cx)
    }
}
