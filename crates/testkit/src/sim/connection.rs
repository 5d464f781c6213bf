//! A client's connection to one node's front end: commands out, replies with their origins in.

use std::time::Duration;

use fastness_resp::request;
use fastness_resp::value::{self, Value};
use fastness_types::{NodeId, ShardId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::sim::net::host;
use crate::sim::origin::ReplyOrigin;
use crate::sim::{departures, front_end};

const CONNECT_TIME_MAX: Duration = Duration::from_millis(300);
const REPLY_TIME_MAX: Duration = Duration::from_millis(1_500);

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes of values that were received.
    received: u64,
}

/// Opens one, if that works in time.
pub async fn connect(shard: ShardId, node: NodeId) -> Option<Connection> {
    let opened = timeout(CONNECT_TIME_MAX, TcpStream::connect((host(node), front_end::port(shard)))).await;
    let stream = opened.ok()?.ok()?;
    Some(Connection { stream, input: Vec::new(), received: 0 })
}

/// Opens one that accepts old data.
pub async fn connect_readonly(shard: ShardId, node: NodeId) -> Option<Connection> {
    let mut connection = connect(shard, node).await?;
    let mut bytes = Vec::new();
    request::encode(&["READONLY"], &mut bytes);
    if !connection.send(&bytes).await {
        return None;
    }
    (connection.receive().await?.0 == Value::Simple(b"OK".to_vec())).then_some(connection)
}

impl Connection {
    /// Sends commands; false if that does not work in time.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(REPLY_TIME_MAX, self.stream.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Sends no more: the other side sees the end of what was sent.
    pub async fn close_half(&mut self) {
        let _ = timeout(REPLY_TIME_MAX, self.stream.shutdown()).await;
    }

    /// The next reply and its origin, if it comes in time.
    pub async fn receive(&mut self) -> Option<(Value, ReplyOrigin)> {
        let wait = async {
            let origin = self.next_value().await?;
            let value = self.next_value().await?;
            let left = departures::sent_at(self.stream.local_addr().ok()?, self.received)?;
            Some((value, ReplyOrigin::decode(origin.as_bytes()?, left)?))
        };
        timeout(REPLY_TIME_MAX, wait).await.ok().flatten()
    }

    async fn next_value(&mut self) -> Option<Value> {
        loop {
            if let Some((value, len)) = value::parse(&self.input).ok()? {
                self.input.drain(..len);
                self.received += len as u64;
                return Some(value);
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        }
    }
}
