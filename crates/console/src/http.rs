//! Serves HTTP connections, with bounds: how many there are, how long the head of a request may take, and how long a
//! connection may last with all of its requests. A client that sends slowly, or reads nothing, blocks nobody else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct HttpBounds {
    /// Connections at a time; further ones wait to be accepted.
    pub connections_max: usize,
    /// Longest time for a TLS handshake, and for receiving the head of a request.
    pub head_time_max: Duration,
    /// Longest time for a connection, with all of its requests.
    pub connection_time_max: Duration,
}

/// Who sends a request. Each request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
}

/// The bytes of a connection.
pub trait HttpStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> HttpStream for S {}

/// A connection whose first bytes were looked at.
pub struct Opened {
    /// Its bytes, decrypted.
    pub stream: Box<dyn HttpStream>,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

/// Opens connections: a listener may speak TLS.
#[async_trait]
pub trait Opener: Send + Sync {
    /// Performs a handshake where there is one. The caller limits the time.
    async fn open(&self, tcp: TcpStream) -> io::Result<Opened>;
}

/// A listener without TLS.
pub struct Plaintext;

#[async_trait]
impl Opener for Plaintext {
    async fn open(&self, tcp: TcpStream) -> io::Result<Opened> {
        Ok(Opened { stream: Box::new(tcp), is_encrypted: false })
    }
}

/// Serves `router` until `end` resolves. Connections that are open then end with the process or with their time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    opener: Arc<dyn Opener>,
    bounds: HttpBounds,
    end: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections_max));
    tokio::pin!(end);
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => return,
        };
        let Ok((tcp, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, opener) = (router.clone(), opener.clone());
        tokio::spawn(async move {
            let connection = serve_connection(tcp, address, router, opener, bounds);
            // A connection that breaks, or lasts too long, is of no interest.
            let _ = tokio::time::timeout(bounds.connection_time_max, connection).await;
            drop(slot);
        });
    }
}

async fn serve_connection(
    tcp: TcpStream,
    address: SocketAddr,
    router: Router,
    opener: Arc<dyn Opener>,
    bounds: HttpBounds,
) {
    let Ok(Ok(opened)) = tokio::time::timeout(bounds.head_time_max, opener.open(tcp)).await else { return };
    let Opened { stream, is_encrypted } = opened;
    let service = TowerToHyperService::new(router.layer(Extension(Caller { address, is_encrypted })));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time_max)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BOUNDS: HttpBounds = HttpBounds {
        connections_max: 2,
        head_time_max: Duration::from_millis(300),
        connection_time_max: Duration::from_millis(900),
    };

    const CALLER: &str = "GET /caller HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let caller = |Extension(caller): Extension<Caller>| async move { caller.address.ip().to_string() };
        let stuck = || async { std::future::pending::<&'static str>().await };
        let router = Router::new().route("/caller", get(caller)).route("/stuck", get(stuck));
        tokio::spawn(serve(listener, router, Arc::new(Plaintext), BOUNDS, std::future::pending()));
        address
    }

    async fn send(address: SocketAddr, request: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp
    }

    /// Everything until the server closes the connection.
    async fn rest(mut tcp: TcpStream) -> String {
        let mut answer = Vec::new();
        // The server may reset the connection.
        let _ = tcp.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_request_knows_its_caller() {
        let answer = rest(send(server().await, CALLER).await).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn clients_that_do_not_end_lose_their_places() {
        let address = server().await;
        let started = Instant::now();
        // Both places: one that never ends its head, and one whose answer never comes.
        let _slow = send(address, "GET /caller HTTP/1.1\r\nHost:").await;
        let stuck = send(address, "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let third = rest(send(address, CALLER).await).await;
        assert!(third.ends_with("127.0.0.1"), "{third}");
        assert!(started.elapsed() >= BOUNDS.head_time_max, "there was a third place");
        assert_eq!(rest(stuck).await, "");
        assert!(started.elapsed() >= BOUNDS.connection_time_max);
    }
}
