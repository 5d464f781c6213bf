//! Accepts clients, off the loop's thread: limits, socket options, TLS handshake; then hands the connection over.
//!
//! Bounds: the rate at which one source may open connections (`sources.rs`); `maxclients` for the whole node,
//! handshakes included; a handshake takes at most [`HANDSHAKE_MAX`]; the loop's mailbox is bounded, and while it is
//! full nobody is accepted. Clients over `maxclients` get an error, through TLS where they speak it:
//! [`REFUSALS_MAX`](crate::descriptors::REFUSALS_MAX) at a time, for two seconds each at most.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::clients::Arrival;
use crate::auth::Origin;
use crate::certificates::Newest;
use crate::mailbox::{Incoming, ToReplica, Transport};
use crate::shared::{ClientSlot, NodeShared, Phase};
use crate::sources;

/// What the kernel takes for a client beyond what may be on its way to it, bytes (`TCP_NOTSENT_LOWAT`). Otherwise it
/// takes megabytes for each client that does not read: memory that no bound of ours counts, and time to copy them.
const NOT_SENT_BYTES: u32 = 128 * 1024;
/// Longest TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pauses after the system could not accept (out of file descriptors): the first, and what they double to.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a TLS client over `maxclients` has for its handshake and for reading why it is refused.
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// The error that clients over `maxclients` get.
const REFUSAL: &[u8] = b"-ERR max number of clients reached\r\n";

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
    tls: Option<Newest<ServerConfig>>,
    node: Arc<NodeShared>,
    replica: mpsc::Sender<ToReplica>,
) {
    let closing = node.reached(Phase::Waiting);
    tokio::pin!(closing);
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => return,
        };
        match accepted {
            Ok((tcp, address)) => {
                pause = ACCEPT_PAUSE.0;
                welcome(tcp, address, tls.as_ref().map(Newest::load), &node, &replica).await;
            }
            Err(error) => {
                node.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(others) = node.throttles.accept.permit() {
                    tracing::warn!(%error, others, "cannot accept a client");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}

async fn welcome(
    tcp: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    node: &Arc<NodeShared>,
    replica: &mpsc::Sender<ToReplica>,
) {
    if !node.admits(address, tls.is_some()) {
        return sources::refuse(&tcp, tls.is_some());
    }
    let Some(slot) = node.take_client_slot() else { return refuse(tcp, address, tls, node).await };
    let arrival = arrival(&tcp, address, tls.is_some(), node);
    if let Err(error) = set_options(&tcp, node.config.load().tcp_keepalive) {
        tracing::debug!(%address, %error, "socket options");
    }
    match tls {
        None => hand_over(tcp, None, arrival, slot, replica).await,
        Some(tls) => {
            let replica = replica.clone();
            tokio::spawn(async move {
                match handshake(tcp, tls).await {
                    Ok((tcp, tls)) => {
                        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
                        let origin = Origin::of(&slot.node, certificate.map(|certificate| &**certificate));
                        hand_over(tcp, Some(tls), Arrival { origin, ..arrival }, slot, &replica).await;
                    }
                    Err(error) => tracing::debug!(%address, %error, "TLS handshake"),
                }
            });
        }
    }
}

/// Tells a client that `maxclients` is reached, and closes. Nobody waits for it.
async fn refuse(mut tcp: TcpStream, address: SocketAddr, tls: Option<Arc<ServerConfig>>, node: &Arc<NodeShared>) {
    node.rejected.fetch_add(1, Ordering::Relaxed);
    if let Some(others) = node.throttles.maxclients.permit() {
        tracing::warn!(client = %address, maxclients = node.maxclients(), others, "client refused: maxclients reached");
    }
    let Some(tls) = tls else {
        // It fits into the socket's buffer or is lost.
        let _ = tcp.try_write(REFUSAL);
        let _ = tcp.shutdown().await;
        return;
    };
    let Ok(permit) = node.refusals.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        // A client that is too slow, or breaks, is closed without the error.
        let _ = tokio::time::timeout(REFUSAL_MAX, refuse_tls(tcp, tls)).await;
        drop(permit);
    });
}

async fn refuse_tls(tcp: TcpStream, tls: Arc<ServerConfig>) -> io::Result<()> {
    let mut stream = tokio_rustls::TlsAcceptor::from(tls).accept(tcp).await?;
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    // What it has sent is read: a socket that is closed over unread bytes resets the connection, and the reply is lost.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

fn arrival(tcp: &TcpStream, address: SocketAddr, tls: bool, node: &NodeShared) -> Arrival {
    Arrival {
        id: node.next_client(),
        address,
        local_address: tcp.local_addr().unwrap_or(address),
        tls,
        fd: tcp.as_raw_fd(),
        account: None,
        origin: Origin::default(),
    }
}

fn set_options(tcp: &TcpStream, keepalive: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = socket2::SockRef::from(tcp);
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    if !keepalive.is_zero() {
        // As Valkey: three probes, so that a dead client is noticed within about twice the span.
        let interval = (keepalive / 3).max(Duration::from_secs(1));
        let options = TcpKeepalive::new().with_time(keepalive).with_interval(interval).with_retries(3);
        socket.set_tcp_keepalive(&options)?;
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
    slot: ClientSlot,
    replica: &mpsc::Sender<ToReplica>,
) {
    if let Ok(tcp) = tcp.into_std() {
        // A replica that has ended takes nobody: the connection is closed.
        let transport = Transport::Socket(tcp, tls);
        let _ = replica.send(ToReplica::Connection(Incoming { transport, arrival, slot })).await;
    }
}
