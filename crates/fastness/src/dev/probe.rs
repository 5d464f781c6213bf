//! The part of Valkey's protocol that `fastness dev` needs to check whether a replica serves.

use std::time::Duration;

use fastness_types::{SLOTS, slot_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster_file::HOST;

/// Time limit of one command.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest first line of a reply, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Sends one command and returns the first line of its reply without the line end; `None` without a reply in time.
pub async fn call(port: u16, command: &[&str]) -> Option<String> {
    tokio::time::timeout(PATIENCE, exchange(port, command)).await.ok()?.ok()
}

async fn exchange(port: u16, command: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((HOST, port)).await?;
    stream.write_all(&encode(command)).await?;
    let mut line = Vec::new();
    let mut bytes = stream.take(LINE_BYTES_MAX);
    while !line.ends_with(b"\r\n") {
        line.push(bytes.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Number of replicas that the node at this port considers able to serve (CLUSTER SHARDS); 0 if it does not answer in
/// time, `None` if it requires a password.
pub async fn online(port: u16) -> Option<usize> {
    let reading = async {
        let mut stream = TcpStream::connect((HOST, port)).await.ok()?;
        stream.write_all(&[encode(&["CLUSTER", "SHARDS"]), encode(&["PING"])].concat()).await.ok()?;
        let mut bytes = Vec::new();
        // The second reply marks the end of the first.
        while !bytes.ends_with(b"+PONG\r\n") {
            let error = bytes.starts_with(b"-") && bytes.ends_with(b"\r\n");
            if error || stream.read_buf(&mut bytes).await.ok()? == 0 {
                break;
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let reply = tokio::time::timeout(PATIENCE, reading).await.ok().flatten().unwrap_or_default();
    (!reply.starts_with("-NOAUTH")).then(|| reply.matches("\r\nonline\r\n").count())
}

fn encode(command: &[&str]) -> Vec<u8> {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    [format!("*{}\r\n", command.len())].into_iter().chain(words).collect::<String>().into_bytes()
}

/// A key of this shard that users are unlikely to choose.
pub fn key_of(shard: u32, shards: u32) -> String {
    let owner = |key: &str| {
        let slot = u64::from(slot_of(key.as_bytes()).0);
        (1..=shards).find(|s| slot < u64::from(*s) * SLOTS as u64 / u64::from(shards))
    };
    let candidates = (0u32..).map(|n| format!("fastness:dev:probe:{{{n}}}"));
    candidates.into_iter().find(|key| owner(key) == Some(shard)).expect("slots are hit in turn by counting up")
}

/// Result of an attempted write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The replica is the primary of the key's shard and accepts writes.
    Accepted,
    /// The replica refuses the write or does not answer.
    Refused,
    /// The replica requires a password, which is not known here.
    Password,
}

/// Attempts a write to this replica.
pub async fn writes(port: u16, key: &str) -> Write {
    // The key expires soon even if it is not removed below.
    match call(port, &["SET", key, "1", "PX", "1000"]).await.as_deref() {
        Some("+OK") => {}
        Some(reply) if reply.starts_with("-NOAUTH") => return Write::Password,
        _ => return Write::Refused,
    }
    let removed = call(port, &["DEL", key]).await.is_some_and(|reply| reply.starts_with(':'));
    if removed { Write::Accepted } else { Write::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        assert_eq!(encode(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn each_shard_has_a_key() {
        for shards in [1, 3, 7, 48] {
            let split = |i: u32| u64::from(i) * SLOTS as u64 / u64::from(shards);
            for shard in 1..=shards {
                let slot = u64::from(slot_of(key_of(shard, shards).as_bytes()).0);
                assert!((split(shard - 1)..split(shard)).contains(&slot));
            }
        }
    }
}
