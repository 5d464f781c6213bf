//! A cluster of plain Valkey on this machine: three primaries with a replica each.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::connection::{Connection, Endpoint};
use fastness_resp::value::Value;
use tokio::process::{Child, Command};

use super::proxy::{Proxies, source};
use crate::lab::demo::block::PortBlock;

/// Number of primaries; as many replicas.
const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
/// `cluster-node-timeout`, in milliseconds: below Valkey's default of 15 s, so that the demo is shorter and loses less.
const NODE_TIMEOUT_MS: u32 = 2_000;
/// Time limit for the cluster to form.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time limit of a command.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(100);
/// Positions of the ports of a node in the block: its own port and bus port, and those that others are told.
const PORTS: [u16; 4] = [0, 20, 40, 60];

/// The program: the given one, which must exist, or the one in PATH, if there is one.
pub fn program(given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(given) = given {
        ensure!(given.is_file(), "{} is not a file", given.display());
        return Ok(Some(given.to_owned()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::split_paths(&path).map(|dir| dir.join("valkey-server")).find(|file| file.is_file()))
}

/// The running cluster. Its processes end with it.
pub struct ValkeyCluster {
    block: PortBlock,
    proxies: Proxies,
    nodes: Vec<Child>,
    version: String,
    folder: tempfile::TempDir,
}

impl ValkeyCluster {
    /// Starts the nodes and makes a cluster of them.
    pub async fn start(program: &Path) -> Result<ValkeyCluster> {
        let asked = Command::new(program).arg("--version").output().await;
        let version = asked.with_context(|| program.display().to_string())?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version: Vec<&str> = version.split(' ').take(3).collect();
        let folder = tempfile::Builder::new().prefix("fastness-valkey-").tempdir()?;
        let (block, proxies) = (PortBlock::reserve()?, Proxies::new(NODES));
        let mut cluster = ValkeyCluster { block, proxies, nodes: Vec::new(), version: version.join(" "), folder };
        for node in 0..NODES {
            let [own, bus, announced, announced_bus] = cluster.ports(node);
            cluster.proxies.forward(node, announced, own).await?;
            cluster.proxies.forward(node, announced_bus, bus).await?;
            let child = cluster.spawn(program, node)?;
            cluster.nodes.push(child);
        }
        cluster.form().await.context("the Valkey cluster does not form")?;
        Ok(cluster)
    }

    /// Name and version of the program.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where clients find the topology.
    pub fn seeds(&self) -> Vec<Endpoint> {
        (0..NODES).map(|node| Endpoint::new("127.0.0.1", self.ports(node)[2])).collect()
    }

    fn ports(&self, node: usize) -> [u16; 4] {
        PORTS.map(|position| self.block.first() + position + node as u16)
    }

    fn spawn(&self, program: &Path, node: usize) -> Result<Child> {
        let dir = self.folder.path().join(node.to_string());
        std::fs::create_dir_all(&dir)?;
        let [own, bus, announced, announced_bus] = self.ports(node).map(|port| port.to_string());
        let (source, timeout) = (source(node).to_string(), NODE_TIMEOUT_MS.to_string());
        let log = std::fs::File::create(dir.join("log"))?;
        let options = [
            ("--port", own.as_str()),
            ("--cluster-port", bus.as_str()),
            ("--bind", "127.0.0.1"),
            ("--bind-source-addr", source.as_str()),
            ("--cluster-enabled", "yes"),
            ("--cluster-node-timeout", timeout.as_str()),
            ("--cluster-announce-ip", "127.0.0.1"),
            ("--cluster-announce-port", announced.as_str()),
            ("--cluster-announce-bus-port", announced_bus.as_str()),
            ("--appendonly", "yes"),
            ("--appendfsync", "always"),
            ("--save", ""),
        ];
        Command::new(program)
            .args(options.iter().flat_map(|(name, value)| [*name, *value]))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))
    }

    async fn call(&self, node: usize, command: &[&str]) -> Result<Value> {
        let endpoint = Endpoint::new("127.0.0.1", self.ports(node)[0]);
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        let reply = Connection::open(&endpoint, None, TIMEOUT).await?.call(&words).await?;
        if let Value::Error(text) = &reply {
            bail!("{}: {}", command.join(" "), String::from_utf8_lossy(text));
        }
        Ok(reply)
    }

    async fn text(&self, node: usize, command: &[&str]) -> Result<String> {
        match self.call(node, command).await? {
            Value::Bulk(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            other => bail!("{}: {other:?}", command.join(" ")),
        }
    }

    /// Repeats a command until it succeeds and its text contains this.
    async fn until(&self, node: usize, command: &[&str], contains: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text(node, command).await;
            if text.as_ref().is_ok_and(|text| text.contains(contains)) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "node {node}: {} without {contains}: {text:?}", command.join(" "));
            tokio::time::sleep(POLL).await;
        }
    }

    async fn form(&self) -> Result<()> {
        for node in 0..NODES {
            // `redis_mode` or, from Valkey 8 on, `server_mode`.
            self.until(node, &["INFO", "server"], "_mode:cluster").await?;
        }
        for primary in 0..PRIMARIES {
            let (first, last) = (primary * 16_384 / PRIMARIES, (primary + 1) * 16_384 / PRIMARIES - 1);
            self.call(primary, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
            // Otherwise all have the same epoch until the first conflict is resolved.
            self.call(primary, &["CLUSTER", "SET-CONFIG-EPOCH", &(primary + 1).to_string()]).await?;
        }
        for node in 1..NODES {
            let [_, _, port, bus] = self.ports(node).map(|port| port.to_string());
            self.call(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
        }
        let all = format!("cluster_known_nodes:{NODES}");
        for node in 0..NODES {
            self.until(node, &["CLUSTER", "INFO"], &all).await?;
            self.until(node, &["CLUSTER", "INFO"], "cluster_state:ok").await?;
        }
        for replica in PRIMARIES..NODES {
            let primary = self.text(replica - PRIMARIES, &["CLUSTER", "MYID"]).await?;
            self.call(replica, &["CLUSTER", "REPLICATE", primary.trim()]).await?;
        }
        for replica in PRIMARIES..NODES {
            self.until(replica, &["INFO", "replication"], "master_link_status:up").await?;
        }
        for node in 0..PRIMARIES {
            self.until(node, &["INFO", "replication"], "connected_slaves:1").await?;
        }
        Ok(())
    }

    /// Kills a primary with SIGKILL.
    pub async fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].kill().await.context("a node of Valkey cannot be killed")
    }

    /// Cuts a node off from all other nodes, and not from clients.
    pub fn cut_off(&self, node: usize) {
        self.proxies.cut_off(node);
    }

    /// Heals the network.
    pub fn heal(&self) {
        self.proxies.heal();
    }

    /// Ends all processes.
    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            // One of them has ended already.
            let _ = node.kill().await;
        }
    }
}
