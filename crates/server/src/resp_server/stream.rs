//! A client's byte stream on the loop's thread: plain TCP, TLS whose handshake was done elsewhere, or a connection in
//! memory from another front end of the node.
//!
//! Nothing here waits but [`ClientStream::ready`]: reading and sending take what the socket gives and takes at once. A
//! read that came back short has emptied the socket, and the readiness is cleared with it, so that a request costs one
//! `recv` and not two.

use std::io::{self, Read, Write};

use futures::FutureExt;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use rustls::ServerConnection;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

use super::pipe::ReplicaEnd;
use super::received::{Closed, Filled};

/// Ciphertext that may wait in a TLS connection; more plaintext is not taken until it has left.
const CIPHERTEXT_BYTES_MAX: usize = 256 * 1024;
/// Ciphertext read at a time.
const RECORDS_BYTES: usize = 64 * 1024;

/// See the module.
pub enum ClientStream {
    /// A socket.
    Socket(SocketStream),
    /// Memory.
    Memory(ReplicaEnd),
}

impl ClientStream {
    /// Whether plaintext, or TLS's word that nothing follows, has arrived already, so that the socket need not be
    /// waited for.
    #[must_use]
    pub fn has_plaintext(&mut self) -> bool {
        match self {
            ClientStream::Socket(socket) => socket.has_plaintext(),
            ClientStream::Memory(_) => false,
        }
    }

    /// Waits until it can be read, written, or both.
    ///
    /// # Errors
    /// The socket's.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            ClientStream::Socket(socket) => socket.tcp.ready(interest).await,
            ClientStream::Memory(end) => Ok(end.ready(interest).await),
        }
    }

    /// Resolves once the client has closed its side: what it has sent before is not read, so that nothing else tells. A
    /// socket's state is polled every so often.
    pub async fn closed(&self, every: std::time::Duration) -> Closed {
        match self {
            ClientStream::Socket(socket) => socket.closed(every).await,
            ClientStream::Memory(end) => end.closed().await,
        }
    }

    /// Whether the client has closed its side, as far as that is known without waiting.
    #[must_use]
    pub fn closed_now(&self) -> Option<Closed> {
        match self {
            ClientStream::Socket(socket) => socket.closed_now(),
            ClientStream::Memory(end) => end.is_closed().then_some(Closed::Broken),
        }
    }

    /// Reads what arrives and drops it, until the client has closed its side. After [`ClientStream::close`].
    pub async fn read_away(&mut self) {
        if let ClientStream::Socket(socket) = self {
            socket.read_away().await;
        }
    }

    /// Appends what is there, up to the room in `buf`, which the caller has reserved.
    ///
    /// # Errors
    /// The socket's, or TLS's.
    pub fn fill(&mut self, buf: &mut Vec<u8>) -> io::Result<Filled> {
        match self {
            ClientStream::Socket(socket) => socket.fill(buf),
            ClientStream::Memory(end) => Ok(end.fill(buf)),
        }
    }

    /// Sends what is taken at once; returns how much of `bytes` was taken over.
    ///
    /// # Errors
    /// The socket's, or TLS's; the other end is closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            ClientStream::Socket(socket) => socket.send(bytes),
            ClientStream::Memory(end) => end.send(bytes).ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether something that was taken over has not left yet (TLS only): call [`ClientStream::flush`] when the socket
    /// can be written.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        matches!(self, ClientStream::Socket(SocketStream { tls: Some(tls), .. }) if tls.wants_write())
    }

    /// Sends ciphertext that waits.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            ClientStream::Socket(SocketStream { tcp, tls: Some(tls), in_tls }) => flush_tls(tcp, tls, in_tls),
            _ => Ok(()),
        }
    }

    /// What encryption or a connection in memory holds, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            ClientStream::Socket(SocketStream { tls: Some(_), in_tls, .. }) => size_of::<ServerConnection>() + in_tls,
            ClientStream::Socket(_) => 0,
            ClientStream::Memory(end) => end.heap_bytes(),
        }
    }

    /// Tells a TLS client that nothing follows.
    pub fn close(&mut self) {
        if let ClientStream::Socket(SocketStream { tcp, tls: Some(tls), in_tls }) = self {
            tls.send_close_notify();
            // The client may be gone already.
            let _ = flush_tls(tcp, tls, in_tls);
        }
    }
}

/// A socket, and its encryption.
pub struct SocketStream {
    tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Bytes that TLS took and has not sent, about: what encryption adds to them is not counted.
    in_tls: usize,
}

impl SocketStream {
    /// Takes a connection over: `tls` is its state after the handshake. Must run on the runtime that will poll it.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn new(tcp: std::net::TcpStream, tls: Option<Box<ServerConnection>>) -> io::Result<SocketStream> {
        let mut tls = tls;
        if let Some(tls) = &mut tls {
            tls.set_buffer_limit(Some(CIPHERTEXT_BYTES_MAX));
        }
        Ok(SocketStream { tcp: TcpStream::from_std(tcp)?, tls, in_tls: 0 })
    }

    fn has_plaintext(&mut self) -> bool {
        match &mut self.tls {
            None => false,
            Some(tls) => tls
                .process_new_packets()
                .is_ok_and(|state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed()),
        }
    }

    async fn closed(&self, every: std::time::Duration) -> Closed {
        loop {
            tokio::time::sleep(every).await;
            if let Some(closed) = self.closed_now() {
                return closed;
            }
        }
    }

    fn closed_now(&self) -> Option<Closed> {
        match self.tcp.ready(Interest::READABLE | Interest::WRITABLE).now_or_never() {
            Some(Err(_)) => Some(Closed::Broken),
            Some(Ok(ready)) if ready.is_write_closed() => Some(Closed::Broken),
            Some(Ok(ready)) if ready.is_read_closed() => Some(Closed::Half),
            // The runtime may not have asked the socket since it was closed.
            _ => self.has_ended().then_some(Closed::Half),
        }
    }

    /// Whether the end of the stream is the next thing to be read.
    fn has_ended(&self) -> bool {
        let mut byte = [0];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(rustix::net::recv(&self.tcp, &mut byte, flags), Ok((_, 0)))
    }

    async fn read_away(&mut self) {
        if socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let mut unread = vec![0; RECORDS_BYTES];
        while self.tcp.ready(Interest::READABLE).await.is_ok() {
            match (Socket { tcp: &self.tcp }).read(&mut unread) {
                Ok(0) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    fn fill(&mut self, buf: &mut Vec<u8>) -> io::Result<Filled> {
        match &mut self.tls {
            None => {
                let room = buf.capacity() - buf.len();
                receive(&self.tcp, room, |tcp| Ok(rustix::net::recv(tcp, spare_capacity(buf), RecvFlags::DONTWAIT)?.1))
            }
            Some(tls) => fill_tls(&self.tcp, tls, &mut self.in_tls, buf),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => would_block_is_zero(self.tcp.try_io(Interest::WRITABLE, || {
                Ok(rustix::net::send(&self.tcp, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
            })),
            Some(tls) => {
                let mut taken = 0;
                loop {
                    let accepted = tls.writer().write(&bytes[taken..])?;
                    taken += accepted;
                    self.in_tls += accepted;
                    flush_tls(&self.tcp, tls, &mut self.in_tls)?;
                    if accepted == 0 || taken == bytes.len() {
                        return Ok(taken);
                    }
                }
            }
        }
    }
}

/// One `recv`, and the readiness cleared if it came back short.
fn receive(tcp: &TcpStream, room: usize, recv: impl FnOnce(&TcpStream) -> io::Result<usize>) -> io::Result<Filled> {
    let mut received = None;
    let outcome = tcp.try_io(Interest::READABLE, || {
        let len = recv(tcp)?;
        received = Some(len);
        // The runtime clears its note that the socket is readable. What arrives after the `recv` sets it again.
        if len > 0 && len < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match (received, outcome) {
        (Some(0), _) => Ok(Filled::End),
        (Some(len), _) => Ok(Filled::Bytes(len)),
        (None, outcome) => would_block_is_zero(outcome.map(|()| 0)).map(Filled::Bytes),
    }
}

fn would_block_is_zero(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted => Ok(0),
        outcome => outcome,
    }
}

fn fill_tls(tcp: &TcpStream, tls: &mut ServerConnection, in_tls: &mut usize, buf: &mut Vec<u8>) -> io::Result<Filled> {
    let before = buf.len();
    loop {
        let ended = take_plaintext(tls, buf)?;
        if buf.len() > before {
            return Ok(Filled::Bytes(buf.len() - before));
        }
        if ended {
            return Ok(Filled::End);
        }
        let mut socket = Socket { tcp };
        match tls.read_tls(&mut socket) {
            Ok(0) => return Ok(Filled::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Filled::Bytes(0)),
            Err(error) => return Err(error),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why.
            let _ = flush_tls(tcp, tls, in_tls);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if tls.wants_write() {
            flush_tls(tcp, tls, in_tls)?;
        }
    }
}

/// Moves decrypted bytes to `buf`; `true` if the client has said that nothing follows.
fn take_plaintext(tls: &mut ServerConnection, buf: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0u8; 16 * 1024];
    loop {
        match tls.reader().read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(len) => buf.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if buf.capacity() - buf.len() < chunk.len() {
            return Ok(false);
        }
    }
}

fn flush_tls(tcp: &TcpStream, tls: &mut ServerConnection, in_tls: &mut usize) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Socket { tcp }) {
            Ok(sent) => *in_tls = in_tls.saturating_sub(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    *in_tls = 0;
    Ok(())
}

/// The socket as the blocking reader and writer that rustls expects; never blocks.
struct Socket<'a> {
    tcp: &'a TcpStream,
}

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = buf.len().min(RECORDS_BYTES);
        let read = |tcp: &TcpStream| Ok(rustix::net::recv(tcp, &mut buf[..room], RecvFlags::DONTWAIT)?.1);
        match receive(self.tcp, room, read)? {
            Filled::Bytes(0) => Err(io::ErrorKind::WouldBlock.into()),
            Filled::Bytes(len) => Ok(len),
            Filled::End => Ok(0),
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
