//! Short forms for the mock server of the crate, and a proxy that breaks connections.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastness_client::testing::{MockFault, MockServer};
use fastness_client::{CallSettings, Client, Code, Idempotency};
use tokio::net::TcpListener;

pub async fn start_node() -> MockServer {
    MockServer::start().await.unwrap()
}

/// The next calls meet these, one each.
pub fn script(node: &MockServer, faults: impl IntoIterator<Item = MockFault>) {
    faults.into_iter().for_each(|fault| node.fail_next(fault));
}

pub fn refuse(code: Code, reason: &str, retry_after: Option<Duration>) -> MockFault {
    MockFault::Refused { code, reason: reason.to_owned(), retry_after }
}

/// Another node serves all slots.
pub fn moved(to: &MockServer) -> MockFault {
    moved_slots(to.address(), 0..=16_383)
}

pub fn moved_slots(address: &str, slots: RangeInclusive<u16>) -> MockFault {
    MockFault::Moved { address: address.to_owned(), slots }
}

pub fn names(node: &MockServer) -> Vec<&'static str> {
    node.calls().into_iter().map(|call| call.name).collect()
}

/// The keys of each batch.
pub fn batches(node: &MockServer) -> Vec<Vec<String>> {
    let calls = node.calls().into_iter().filter(|call| call.name == "batch");
    let text = |key: &bytes::Bytes| String::from_utf8(key.to_vec()).unwrap();
    calls.map(|call| call.keys.iter().map(text).collect()).collect()
}

/// A listener that breaks every connection after it has received something on it, and counts the connections that it
/// broke. It breaks the first `count`; after that it passes the bytes on to a node.
pub async fn breaking_proxy(count: usize, node: &MockServer) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broken = Arc::new(Mutex::new(0));
    let (counter, to) = (broken.clone(), node.address().to_owned());
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&to).await.unwrap();
            if connection < count {
                *counter.lock().unwrap() += 1;
                tokio::spawn(break_at_response(stream, server));
            } else {
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut server).await });
            }
        }
    });
    (address, broken)
}

/// The same client, whose writes have no idempotency key.
pub fn unkeyed(client: &Client) -> Client {
    client.with_options(CallSettings { idempotency: Idempotency::Off, ..CallSettings::default() })
}

/// Passes bytes on until the node has seen a call and its answer is on its way, which is the worst moment.
async fn break_at_response(mut client: tokio::net::TcpStream, mut server: tokio::net::TcpStream) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    /// Type of an HTTP/2 frame that carries headers.
    const HEADERS: u8 = 1;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let upwards = tokio::io::copy(&mut from_client, &mut to_server);
    let downwards = async {
        loop {
            let mut head = [0_u8; 9];
            from_server.read_exact(&mut head).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            from_server.read_exact(&mut payload).await?;
            if head[3] == HEADERS {
                return std::io::Result::Ok(());
            }
            to_client.write_all(&head).await?;
            to_client.write_all(&payload).await?;
        }
    };
    tokio::select! {
        _ = upwards => {}
        _ = downwards => {}
    }
}
