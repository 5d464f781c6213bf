//! Accepts clients, off the loop's thread: limits, socket options, TLS handshake; then hands the connection over.
//!
//! Bounds: `maxclients` for the whole process, handshakes included; a handshake takes at most [`HANDSHAKE_MAX`]; the
//! loop's mailbox is bounded, and while it is full nobody is accepted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::clients::Arrival;
use crate::replica::ToReplica;
use crate::shared::{NodeShared, Phase};

/// Longest TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after the system could not accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that is ready to be served.
pub struct Incoming {
    /// The socket, non-blocking.
    pub tcp: std::net::TcpStream,
    /// TLS after its handshake.
    pub tls: Option<Box<ServerConnection>>,
    /// Who it is.
    pub arrival: Arrival,
}

/// Opens a listening socket.
///
/// # Errors
/// The address is in use or not this machine's.
pub fn listen(address: IpAddr, port: u16, backlog: u64) -> io::Result<std::net::TcpListener> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts for one replica until the node serves no more.
pub async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    node: Arc<NodeShared>,
    replica: mpsc::Sender<ToReplica>,
) {
    let closing = node.reached(Phase::Waiting);
    tokio::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => return,
        };
        match accepted {
            Ok((tcp, address)) => welcome(tcp, address, tls.clone(), &node, &replica).await,
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(
    mut tcp: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    node: &Arc<NodeShared>,
    replica: &mpsc::Sender<ToReplica>,
) {
    let config = node.config.load();
    if node.connected.fetch_add(1, Ordering::Relaxed) >= config.maxclients {
        node.connected.fetch_sub(1, Ordering::Relaxed);
        node.rejected.fetch_add(1, Ordering::Relaxed);
        if tls.is_none() {
            // It fits into the socket's buffer or is lost; nobody waits for it.
            let _ = tcp.try_write(b"-ERR max number of clients reached\r\n");
            let _ = tcp.shutdown().await;
        }
        return;
    }
    let arrival = arrival(&tcp, address, tls.is_some(), node);
    if let Err(error) = set_options(&tcp, config.tcp_keepalive) {
        tracing::debug!(%address, %error, "socket options");
    }
    match tls {
        None => hand_over(tcp, None, arrival, node, replica).await,
        Some(tls) => {
            let (node, replica) = (node.clone(), replica.clone());
            tokio::spawn(async move {
                match handshake(tcp, tls).await {
                    Ok((tcp, tls)) => hand_over(tcp, Some(tls), arrival, &node, &replica).await,
                    Err(error) => {
                        node.connected.fetch_sub(1, Ordering::Relaxed);
                        tracing::debug!(%address, %error, "TLS handshake");
                    }
                }
            });
        }
    }
}

fn arrival(tcp: &TcpStream, address: SocketAddr, tls: bool, node: &NodeShared) -> Arrival {
    Arrival {
        id: node.next_client(),
        address,
        local_address: tcp.local_addr().unwrap_or(address),
        tls,
        fd: tcp.as_raw_fd(),
    }
}

fn set_options(tcp: &TcpStream, keepalive: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    if !keepalive.is_zero() {
        // As Valkey: three probes, so that a dead client is noticed within about twice the span.
        let interval = (keepalive / 3).max(Duration::from_secs(1));
        let options = TcpKeepalive::new().with_time(keepalive).with_interval(interval).with_retries(3);
        socket2::SockRef::from(tcp).set_tcp_keepalive(&options)?;
    }
    Ok(())
}

async fn handshake(tcp: TcpStream, tls: Arc<ServerConfig>) -> io::Result<(TcpStream, Box<ServerConnection>)> {
    let accept = tokio_rustls::TlsAcceptor::from(tls).accept(tcp);
    let stream = tokio::time::timeout(HANDSHAKE_MAX, accept)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
    let (tcp, connection) = stream.into_inner();
    Ok((tcp, Box::new(connection)))
}

async fn hand_over(
    tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
    arrival: Arrival,
    node: &NodeShared,
    replica: &mpsc::Sender<ToReplica>,
) {
    let incoming = tcp.into_std().map(|tcp| Incoming { tcp, tls, arrival });
    let handed = match incoming {
        Ok(incoming) => replica.send(ToReplica::Connection(incoming)).await.is_ok(),
        Err(_) => false,
    };
    if !handed {
        node.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
