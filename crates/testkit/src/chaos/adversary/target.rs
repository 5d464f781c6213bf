//! The attacked shard, and how an attack reaches it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_load::Endpoint;
use fastness_load::outcome::{Outcome, classify};
use fastness_resp::value::Value;
use tokio::net::TcpStream;

use crate::cluster::Cluster;
use crate::keys::key_in_shard;

/// Longest wait for a reply that an attack must receive.
pub(super) const OWED_WITHIN: Duration = Duration::from_secs(30);
/// COUNT of the SCAN that finds the keys to remove.
const SCAN_COUNT: &[u8] = b"10000";
/// Maximum time for the removal.
const REMOVED_WITHIN: Duration = Duration::from_secs(120);

/// How much an attack sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttackSize {
    /// Sizes that once harmed a shard, for a run of half a minute.
    Small,
    /// Up to the limits of values, and millions of keys.
    Full,
}

impl AttackSize {
    /// Returns one of two values.
    pub(super) fn pick<T>(self, small: T, full: T) -> T {
        match self {
            AttackSize::Small => small,
            AttackSize::Full => full,
        }
    }
}

/// One shard at the start of an attack.
pub(super) struct Target {
    pub(super) shard: u32,
    pub(super) size: AttackSize,
    /// The primary's RESP listener.
    pub(super) front_end: Endpoint,
    /// The primary's metrics listener.
    pub(super) metrics: String,
    /// A hash tag of the shard.
    tag: String,
}

impl Target {
    /// Finds the shard's current primary. `name` is part of the names of the attack's keys.
    pub(super) async fn find(cluster: &Cluster, shard: u32, size: AttackSize, name: &str) -> Result<Target> {
        let shards = cluster.file()?.shards;
        let primary = cluster.primary(shard, OWED_WITHIN).await?;
        let tag = format!("{{{}}}", key_in_shard(shard, shards, &format!("attack{name}:")));
        let metrics = cluster.node(primary)?.metrics;
        Ok(Target { shard, size, front_end: cluster.front_end(primary, shard)?, metrics, tag })
    }

    /// The name of a key of the attack.
    pub(super) fn key(&self, name: impl std::fmt::Display) -> Vec<u8> {
        format!("{}{name}", self.tag).into_bytes()
    }

    /// Opens a connection to the primary.
    pub(super) async fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(&self.front_end, None, OWED_WITHIN).await?)
    }

    /// Opens a raw TCP stream to the primary.
    pub(super) async fn raw(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect((self.front_end.host.as_str(), self.front_end.port)).await?)
    }

    /// Removes every key of the attack, however many there are, and whatever node leads by now.
    pub(super) async fn remove_all(&self, cluster: &Cluster) -> Result<()> {
        let until = Instant::now() + REMOVED_WITHIN;
        loop {
            match self.remove_some(cluster).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => ensure!(Instant::now() < until, "what the attack wrote cannot be removed: {error:#}"),
            }
            ensure!(Instant::now() < until, "what the attack wrote cannot be removed in {REMOVED_WITHIN:?}");
        }
    }

    /// Removes what one scan finds. True if that was nothing.
    async fn remove_some(&self, cluster: &Cluster) -> Result<bool> {
        let primary = cluster.primary(self.shard, OWED_WITHIN).await?;
        let mut client = cluster.connect(primary, self.shard, OWED_WITHIN).await?;
        let pattern = self.key("*");
        let (mut cursor, mut found) = (b"0".to_vec(), 0);
        loop {
            let page = client.call(&[b"SCAN", &cursor, b"MATCH", &pattern, b"COUNT", SCAN_COUNT]).await?;
            let Value::Array(parts) = page else { anyhow::bail!("SCAN answered {page:?}") };
            cursor = parts.first().and_then(Value::as_bytes).context("a cursor")?.to_vec();
            let Some(Value::Array(keys)) = parts.get(1) else { anyhow::bail!("SCAN without keys") };
            if !keys.is_empty() {
                found += keys.len();
                let unlink: Vec<&[u8]> =
                    std::iter::once(&b"UNLINK"[..]).chain(keys.iter().filter_map(Value::as_bytes)).collect();
                let said = client.call(&unlink).await?;
                ensure!(classify(&said) == Outcome::Acknowledged, "UNLINK answered {said:?}");
            }
            if cursor == b"0" {
                return Ok(found == 0);
            }
        }
    }
}
