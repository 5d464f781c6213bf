//! The metrics port speaks HTTP and, to whoever starts with a TLS handshake, HTTPS, with the node's certificate.

use std::io;

use async_trait::async_trait;
use fastness_console::http::{Opened, Opener};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Newest;

/// The first byte of a TLS handshake, which no HTTP request starts with.
const HANDSHAKE: u8 = 0x16;

/// Opens connections with or without TLS, as the client wishes.
pub struct MaybeTls {
    /// The newest certificate.
    pub tls: Newest<ServerConfig>,
}

#[async_trait]
impl Opener for MaybeTls {
    async fn open(&self, tcp: TcpStream) -> io::Result<Opened> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first[0] == HANDSHAKE {
            let stream = TlsAcceptor::from(self.tls.load()).accept(tcp).await?;
            return Ok(Opened { stream: Box::new(stream), is_encrypted: true });
        }
        Ok(Opened { stream: Box::new(tcp), is_encrypted: false })
    }
}
