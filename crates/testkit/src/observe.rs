//! Observes nodes through their metrics ports: metrics, and digests that must agree.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, NodeFile};
use crate::wait::until_ok;

/// Longest wait for one answer; on a busy machine digests take a while.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The body of a page of the metrics port at `address`.
///
/// # Errors
/// If there is no successful answer in time.
pub async fn page(address: &str, path: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER_MAX, exchange).await.with_context(|| format!("{address} is silent"))??;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{address}{path}: {answer:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{address}{path}: {answer}");
    match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => joined_chunks(body).with_context(|| format!("{address}{path}: the chunks are cut")),
        false => Ok(body.to_owned()),
    }
}

/// The content of a chunked body (RFC 9112, section 7.1); `None` if it is cut.
fn joined_chunks(mut body: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// The metrics of one node at one moment.
#[derive(Debug, Clone)]
pub struct Figures {
    text: String,
}

impl Figures {
    /// Reads the metrics of a node.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn of(node: &NodeFile) -> Result<Figures> {
        Ok(Figures { text: page(&node.metrics, "/metrics").await? })
    }

    /// A metric of the node.
    ///
    /// # Errors
    /// If there is no metric with this name.
    pub fn node(&self, name: &str) -> Result<u64> {
        self.value(name)
    }

    /// A metric of the node's replica of `shard`.
    ///
    /// # Errors
    /// If there is no metric with this name, or no such replica.
    pub fn shard(&self, name: &str, shard: u32) -> Result<u64> {
        self.value(&format!("{name}{{shard=\"{shard}\"}}"))
    }

    /// A duration of a shard; the metric's name ends with `_seconds`.
    ///
    /// # Errors
    /// There is no such metric.
    pub fn shard_span(&self, name: &str, shard: u32) -> Result<Duration> {
        Ok(Duration::try_from_secs_f64(self.number(&format!("{name}{{shard=\"{shard}\"}}"))?)?)
    }

    fn value(&self, sample: &str) -> Result<u64> {
        Ok(self.number(sample)? as u64)
    }

    fn number(&self, sample: &str) -> Result<f64> {
        let value = self.text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no metric {sample}"))?.parse()?)
    }
}

/// Applied index of a replica, and digest of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Applied index.
    pub index: u64,
    /// Digest of the data at that index.
    pub digest: String,
}

/// Every digest of a run, by shard and index: replicas that have applied the same log have the same digest, on any node
/// and at any time.
#[derive(Debug, Default)]
pub struct Digests {
    seen: BTreeMap<(u32, u64), (u64, String)>,
    compared: u64,
}

impl Digests {
    /// Number of digests that matched an earlier one of another node.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Reads the digests of all nodes that answer. Replicas without a digest now (with uncommitted effects, or being
    /// restored) are skipped.
    ///
    /// # Errors
    /// If a digest differs from an earlier one for the same index.
    pub async fn poll(&mut self, cluster: &Cluster) -> Result<BTreeMap<(u64, u32), Position>> {
        let mut positions = BTreeMap::new();
        for node in cluster.file()?.nodes {
            let Ok(text) = page(&node.metrics, "/digest").await else { continue };
            for line in text.lines() {
                let Some((shard, position)) = parse(line) else { continue };
                self.note(node.id, shard, &position)?;
                positions.insert((node.id, shard), position);
            }
        }
        Ok(positions)
    }

    fn note(&mut self, node: u64, shard: u32, position: &Position) -> Result<()> {
        let index = position.index;
        match self.seen.get(&(shard, index)) {
            None => drop(self.seen.insert((shard, index), (node, position.digest.clone()))),
            Some((other, digest)) => {
                ensure!(
                    *digest == position.digest,
                    "shard {shard} at index {index}: node {node} has digest {}, node {other} had {digest}",
                    position.digest
                );
                self.compared += u64::from(*other != node);
            }
        }
        Ok(())
    }

    /// Waits until all replicas of every shard are at the same index, with the same digest. No client may be writing.
    ///
    /// # Errors
    /// If they are not within `patience`, or a digest differs.
    pub async fn wait_until_equal(&mut self, cluster: &Cluster, patience: Duration) -> Result<BTreeMap<u32, Position>> {
        let until = Instant::now() + patience;
        let file = cluster.file()?;
        let replicas: Vec<(u64, u32)> =
            file.nodes.iter().flat_map(|node| node.resp.iter().map(|front_end| (node.id, front_end.shard))).collect();
        loop {
            let positions = self.poll(cluster).await?;
            let mut equal = BTreeMap::new();
            let all_equal = replicas.iter().all(|(node, shard)| match positions.get(&(*node, *shard)) {
                Some(position) => *equal.entry(*shard).or_insert_with(|| position.clone()) == *position,
                None => false,
            });
            if all_equal {
                return Ok(equal);
            }
            ensure!(
                Instant::now() < until,
                "the replicas do not reach the same index within {patience:?}: {positions:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Waits until the replicas of `shard` on these nodes have applied the same index. A replica that has just started may
/// show an earlier committed state until it learns of the newest commit.
///
/// # Errors
/// If they have not within `patience`.
pub async fn wait_until_level(cluster: &Cluster, nodes: &[u64], shard: u32, patience: Duration) -> Result<()> {
    until_ok(patience, async || {
        let mut at = Vec::new();
        for node in nodes {
            at.push(Figures::of(&cluster.node(*node)?).await?.shard("fastness_applied_index", shard)?);
        }
        ensure!(at.iter().all(|index| *index == at[0]), "nodes {nodes:?} have applied {at:?}");
        Ok(())
    })
    .await
}

/// Parses `shard index digest`; a dash in place of the index means that there is no digest now.
fn parse(line: &str) -> Option<(u32, Position)> {
    let mut words = line.split_whitespace();
    let (shard, index, digest) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    Some((shard, Position { index, digest: digest.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_differs_at_an_index_is_reported() {
        let at = |line: &str| parse(line).unwrap();
        let mut digests = Digests::default();
        for (node, line) in [(1, "1 7 aa"), (2, "1 7 aa"), (2, "1 8 bb"), (2, "2 7 cc"), (2, "1 7 aa")] {
            let (shard, position) = at(line);
            digests.note(node, shard, &position).unwrap();
        }
        assert_eq!(digests.compared(), 2);
        assert_eq!(parse("1 - effects are staged that have not committed"), None);
        let (shard, position) = at("1 8 cc");
        let error = digests.note(3, shard, &position).unwrap_err().to_string();
        assert!(error.contains("index 8"), "{error}");
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "# TYPE a gauge\na{shard=\"11\"} 1\na{shard=\"1\"} 2\nab 4\nb 3\n".to_owned();
        let figures = Figures { text };
        assert_eq!(figures.shard("a", 1).unwrap(), 2);
        assert_eq!(figures.node("b").unwrap(), 3);
        assert!(figures.node("a").is_err());
    }
}
