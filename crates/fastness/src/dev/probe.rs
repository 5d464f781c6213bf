//! The few words of Valkey's protocol that `fastness dev` needs to see whether a replica serves.

use std::time::Duration;

use fastness_types::{SLOTS, slot_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster_file::HOST;

/// One question may take so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// A reply's first line is at most so long.
const LINE_BYTES_MAX: u64 = 4096;

/// The first line of the reply to one command, without its end; `None` if there is none in time.
pub async fn ask(port: u16, command: &[&str]) -> Option<String> {
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

/// How many replicas the node at this port knows to be able to serve (CLUSTER SHARDS), 0 if it does not answer in time;
/// `None` if it asks for a password.
pub async fn online(port: u16) -> Option<usize> {
    let told = async {
        let mut stream = TcpStream::connect((HOST, port)).await.ok()?;
        stream.write_all(&[encode(&["CLUSTER", "SHARDS"]), encode(&["PING"])].concat()).await.ok()?;
        let mut bytes = Vec::new();
        // The second reply ends the first.
        while !bytes.ends_with(b"+PONG\r\n") {
            let error = bytes.starts_with(b"-") && bytes.ends_with(b"\r\n");
            if error || stream.read_buf(&mut bytes).await.ok()? == 0 {
                break;
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let told = tokio::time::timeout(PATIENCE, told).await.ok().flatten().unwrap_or_default();
    (!told.starts_with("-NOAUTH")).then(|| told.matches("\r\nonline\r\n").count())
}

fn encode(command: &[&str]) -> Vec<u8> {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    [format!("*{}\r\n", command.len())].into_iter().chain(words).collect::<String>().into_bytes()
}

/// A key of this shard that no user would choose.
pub fn key_of(shard: u32, shards: u32) -> String {
    let owner = |key: &str| {
        let slot = u64::from(slot_of(key.as_bytes()).0);
        (1..=shards).find(|s| slot < u64::from(*s) * SLOTS as u64 / u64::from(shards))
    };
    let candidates = (0u32..).map(|n| format!("fastness:dev:probe:{{{n}}}"));
    candidates.into_iter().find(|key| owner(key) == Some(shard)).expect("slots are hit in turn by counting up")
}

/// What became of a write that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// This replica is the primary of the key's shard and takes writes.
    Taken,
    /// It does not, or does not answer.
    Refused,
    /// It asks for a password, which is not known here.
    Password,
}

/// Tries a write to this replica.
pub async fn writes(port: u16, key: &str) -> Write {
    // The key's life is short even if what follows does not happen.
    match ask(port, &["SET", key, "1", "PX", "1000"]).await.as_deref() {
        Some("+OK") => {}
        Some(reply) if reply.starts_with("-NOAUTH") => return Write::Password,
        _ => return Write::Refused,
    }
    let removed = ask(port, &["DEL", key]).await.is_some_and(|reply| reply.starts_with(':'));
    if removed { Write::Taken } else { Write::Refused }
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
