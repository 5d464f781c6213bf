//! A cluster of real processes, started with `fastness dev`, and the operations of tests on it.
//!
//! The binary is the one that `FASTNESS_BIN` names, else the one next to the running test. The folder is removed after
//! a good run; after a bad one it is kept, and its path is printed.

pub mod clock;
mod events;
mod faults;
mod file;
pub mod power;
mod primary;
mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::{Connection, Endpoint, Tls};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use self::clock::Faketime;
use self::power::Images;
use crate::ports::Ports;

pub use events::SeenEvent;
pub use file::{ClusterFile, NodeFile, RespFile};
pub use process::wait_for_exit;

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// AZ of each node.
    pub azs: Vec<&'static str>,
    /// Number of shards.
    pub shards: u32,
    /// Number of copies besides the primary.
    pub replicas: u32,
    /// sync, async, disabled.
    pub durability: &'static str,
    /// `snapshot-log-bytes` of every node; `None`: the default.
    pub snapshot_log_bytes: Option<u64>,
    /// `watch-log-bytes` of every node, if `snapshot_log_bytes` is set.
    pub watch_log_bytes: u64,
    /// `durability-max-lag` of every node; `None`: the default.
    pub max_lag: Option<Duration>,
    /// More options of every node's config file.
    pub node_options: Vec<(&'static str, String)>,
    /// Environment variables of every process, for code that is compiled in for tests only.
    pub env: Vec<(&'static str, String)>,
    /// Descriptors that each process may have (`ulimit -n`); `None`: as many as the test itself.
    pub descriptors_max: Option<u64>,
    /// Whether data lies on file systems that lose unsynced data: [`Cluster::lose_power`]. Only where
    /// [`power::lacking`] is `None`.
    pub loses_unsynced: bool,
    /// Size of these file systems, bytes.
    pub disk_bytes: u64,
    /// Whether a node's wall clock can be set: [`Cluster::set_clock`]. Only where [`clock::lacking`] is `None`.
    pub sets_clocks: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        ClusterOptions {
            azs: vec!["a", "b", "c"],
            shards: 1,
            replicas: 2,
            durability: "sync",
            snapshot_log_bytes: None,
            watch_log_bytes: 0,
            max_lag: None,
            node_options: Vec::new(),
            env: Vec::new(),
            descriptors_max: None,
            loses_unsynced: false,
            disk_bytes: power::IMAGE_BYTES,
            sets_clocks: false,
        }
    }
}

/// A running cluster. Dropping it stops every process.
pub struct Cluster {
    dir: PathBuf,
    keep: bool,
    /// Settings that every node receives by CONFIG SET.
    settings: Vec<(&'static str, String)>,
    env: Vec<(&'static str, String)>,
    descriptors_max: Option<u64>,
    images: Mutex<Option<Images>>,
    faketime: Option<Faketime>,
    /// Reserved as long as processes may be started.
    ports: Ports,
}

/// The `fastness` binary under test.
///
/// # Errors
/// If it was not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FASTNESS_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test binary lies in target/<profile>/deps")?;
    let path = profile.join("fastness");
    ensure!(path.exists(), "{} is not built: run `cargo build -p fastness`, or set FASTNESS_BIN", path.display());
    Ok(path)
}

impl Cluster {
    /// Creates a cluster and waits until writes succeed.
    ///
    /// # Errors
    /// If the cluster does not start; the folder is kept.
    pub fn start(options: &ClusterOptions) -> Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("fastness-test-").tempdir()?.keep();
        let ports = Ports::reserve()?;
        let base = ports.first();
        let lines: String = options.node_options.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        if !lines.is_empty() {
            std::fs::write(dir.join("options.conf"), lines)?;
        }
        let images =
            options.loses_unsynced.then(|| Images::mount(&dir, options.azs.len(), options.disk_bytes)).transpose()?;
        let faketime = options.sets_clocks.then(Faketime::find).transpose()?;
        let snapshots = options.snapshot_log_bytes.map(|bytes| ("snapshot-log-bytes", bytes.to_string()));
        let max_lag = options.max_lag.map(|bound| ("durability-max-lag", format!("{}ms", bound.as_millis())));
        // Tests of snapshots need a log that is purged.
        let kept = snapshots.is_some().then(|| ("watch-log-bytes", options.watch_log_bytes.to_string()));
        let (settings, env) = (snapshots.into_iter().chain(kept).chain(max_lag).collect(), options.env.clone());
        let images = Mutex::new(images);
        let descriptors_max = options.descriptors_max;
        let mut cluster = Cluster { dir, keep: true, settings, env, descriptors_max, images, faketime, ports };
        let args = [
            ("--azs", options.azs.join(",")),
            ("--shards", options.shards.to_string()),
            ("--replicas", options.replicas.to_string()),
            ("--durability", options.durability.to_owned()),
            ("--port", base.to_string()),
        ];
        let args = args.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        cluster.dev(["--detach"].into_iter().chain(args))?;
        cluster.configure()?;
        cluster.keep = false;
        Ok(cluster)
    }

    fn dev<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        self.fastness("dev", args)
    }

    fn fastness<'a>(&self, group: &str, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let args: Vec<&str> = args.into_iter().collect();
        let mut command = match self.descriptors_max {
            None => Command::new(binary()?),
            Some(max) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &max.to_string()]).arg(binary()?);
                shell
            }
        };
        command.arg(group).args(&args).arg("--dir").arg(&self.dir).envs(self.env.iter().cloned());
        // A supervisor passes its environment on to the nodes.
        if let Some(faketime) = self.faketime.as_ref().filter(|_| group == "dev") {
            faketime.preload(&mut command);
        }
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "fastness {group} {args:?} failed ({}), files in {}:\n{text}{}",
            output.status,
            self.dir.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// The cluster's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first of the cluster's reserved ports.
    #[must_use]
    pub fn first_port(&self) -> u16 {
        self.ports.first()
    }

    /// Keeps the folder when the cluster is dropped.
    pub fn keep_files(&mut self) {
        self.keep = true;
    }

    /// Removes the folder when the cluster is dropped.
    pub fn discard_files(&mut self) {
        self.keep = false;
    }

    /// `cluster.json` as it is now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(&self) -> Result<ClusterFile> {
        let path = self.dir.join("cluster.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Plaintext front ends of all replicas.
    ///
    /// # Errors
    /// As [`Cluster::file`].
    pub fn listeners(&self) -> Result<Vec<Endpoint>> {
        Ok(self.file()?.nodes.iter().flat_map(|n| n.resp.iter().map(|r| Endpoint::new(&r.host, r.port))).collect())
    }

    /// TLS front ends of all replicas.
    ///
    /// # Errors
    /// As [`Cluster::file`].
    pub fn tls_servers(&self) -> Result<Vec<Endpoint>> {
        Ok(self.file()?.nodes.iter().flat_map(|n| n.resp.iter().map(|r| Endpoint::new(&r.host, r.tls_port))).collect())
    }

    /// The client side of TLS for this cluster.
    ///
    /// # Errors
    /// If the CA file cannot be read.
    pub fn tls(&self) -> Result<Tls> {
        Ok(Tls::trusting(&std::fs::read(self.file()?.ca)?)?)
    }

    /// The process id of a node.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn pid(&self, node: u64) -> Result<Pid> {
        let file = self.file()?;
        let pid = file.nodes.iter().find(|n| n.id == node).and_then(|n| n.pid);
        pid.and_then(Pid::from_raw).with_context(|| format!("node {node} is not running"))
    }

    /// Restarts a stopped node with its data.
    ///
    /// # Errors
    /// If the node does not start.
    pub fn start_node(&self, node: u64) -> Result<()> {
        self.dev(["node", "start", &node.to_string()])?;
        self.configure()
    }

    /// Restarts several stopped nodes at the same time: each may need another one before it serves.
    ///
    /// # Errors
    /// If a node does not start.
    pub fn start_nodes(&self, nodes: &[u64]) -> Result<()> {
        std::thread::scope(|scope| {
            let starts: Vec<_> = nodes.iter().map(|&node| scope.spawn(move || self.start_node(node))).collect();
            let panicked = || anyhow::anyhow!("a start panicked");
            starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| Err(panicked())))
        })
    }

    /// Adds a running, empty node in this AZ and returns its id.
    ///
    /// # Errors
    /// If the node does not start.
    pub fn add_node(&self, az: &str) -> Result<u64> {
        self.dev(["node", "add", "--az", az])?;
        self.file()?.nodes.last().map(|node| node.id).context("a cluster without nodes")
    }

    /// Replaces a node by one that was added, and waits until that is complete. Returns the output of the command.
    ///
    /// # Errors
    /// If the command is refused, with the reason.
    pub fn replace(&self, old: u64, new: u64) -> Result<String> {
        let (old, new) = (old.to_string(), new.to_string());
        let said = self.fastness("cluster", ["replace-replica", "--node", &old, "--with", &new])?;
        self.configure()?;
        Ok(said)
    }

    /// `fastness cluster describe --json`.
    ///
    /// # Errors
    /// If no node answers.
    pub fn describe(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.fastness("cluster", ["describe", "--json"])?)?)
    }

    /// Runs `fastness cluster` with these arguments, and returns its output.
    ///
    /// # Errors
    /// If the command is refused, with the reason.
    pub fn administrate(&self, arguments: &[&str]) -> Result<String> {
        self.fastness("cluster", arguments.iter().copied())
    }

    /// Runs `fastness top` with these arguments, and returns its output.
    ///
    /// # Errors
    /// If it fails, with the reason.
    pub fn top(&self, arguments: &[&str]) -> Result<String> {
        self.fastness("top", arguments.iter().copied())
    }

    /// Requests a snapshot of every replica of every running node.
    ///
    /// # Errors
    /// If a node refuses the request.
    pub fn make_snapshots(&self) -> Result<()> {
        self.fastness("cluster", ["snapshot"]).map(drop)
    }

    /// Verifies every snapshot of a node by restoring it in a scratch folder, and returns the result; the node may run.
    ///
    /// # Errors
    /// If a snapshot is not what it claims to be, or there is none.
    pub fn verify_snapshots(&self, node: u64) -> Result<String> {
        let config = self.dir.join(format!("nodes/{node}/fastness.conf"));
        let output = Command::new(binary()?).args(["snapshot", "verify", "--config"]).arg(config).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "node {node}: {text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// Hands the leadership of a shard over to the best replica.
    ///
    /// # Errors
    /// If no replica takes it, with the reason.
    pub fn hand_over(&self, shard: u32) -> Result<()> {
        self.fastness("cluster", ["hand-over", "--shard", &shard.to_string()]).map(drop)
    }

    /// Changes the durability mode, and waits until it is in force on every shard.
    ///
    /// # Errors
    /// If the change is refused, or a shard does not commit it in time.
    pub fn set_durability(&self, mode: &str) -> Result<()> {
        self.fastness("cluster", ["set-durability", mode]).map(drop)
    }

    /// The log messages of all starts of a node.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn node_log(&self, node: u64) -> Result<String> {
        let path = self.dir.join(format!("nodes/{node}/node.log"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Waits for a log message of a node after the first `from` bytes of its log.
    ///
    /// # Errors
    /// If the message does not appear within `patience`.
    pub fn wait_for_log(&self, node: u64, from: usize, text: &str, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while !self.node_log(node)?.get(from..).unwrap_or_default().contains(text) {
            ensure!(Instant::now() < until, "node {node} has not logged {text:?} within {patience:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts all nodes that do not run, and waits until writes succeed.
    ///
    /// # Errors
    /// If the cluster does not start.
    pub fn start_again(&self) -> Result<()> {
        self.dev(["--detach"])?;
        self.configure()
    }

    /// Applies the options that `fastness dev` does not know to all running nodes: a restarted node has the defaults.
    pub(crate) fn configure(&self) -> Result<()> {
        if self.settings.is_empty() {
            return Ok(());
        }
        for node in self.file()?.nodes.iter().filter(|node| node.pid.is_some()) {
            let Some(front_end) = node.resp.first() else { continue };
            let settings = self.settings.iter().map(|(name, value)| format!(" {name} {value}")).collect::<String>();
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                // A node that has stopped or stalled in the meantime is skipped.
                let Ok(mut client) = TcpStream::connect((front_end.host.as_str(), front_end.port)) else { break };
                client.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut reply = [0; 5];
                let sent = client.write_all(format!("CONFIG SET{settings}\r\n").as_bytes());
                match sent.and_then(|()| client.read_exact(&mut reply)) {
                    // The node is opening its log, or has not received the cluster's settings yet.
                    Ok(()) if &reply == b"-LOAD" && Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(50))
                    }
                    Ok(()) => {
                        ensure!(&reply == b"+OK\r\n", "CONFIG SET: {}", String::from_utf8_lossy(&reply));
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    /// Stops all nodes cleanly.
    ///
    /// # Errors
    /// If a node does not stop.
    pub fn stop(&self) -> Result<()> {
        self.dev(["stop"]).map(drop)
    }

    /// One node of `cluster.json`.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn node(&self, node: u64) -> Result<NodeFile> {
        self.file()?.nodes.into_iter().find(|n| n.id == node).with_context(|| format!("there is no node {node}"))
    }

    /// The ids of all nodes, running or not.
    ///
    /// # Errors
    /// As [`Cluster::file`].
    pub fn node_ids(&self) -> Result<Vec<u64>> {
        Ok(self.file()?.nodes.iter().map(|node| node.id).collect())
    }

    /// The ids of all nodes but this one.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn others(&self, node: u64) -> Result<Vec<u64>> {
        let ids = self.node_ids()?;
        ensure!(ids.contains(&node), "there is no node {node}");
        Ok(ids.into_iter().filter(|id| *id != node).collect())
    }

    /// The plaintext front end of a node's replica.
    ///
    /// # Errors
    /// If the node has no replica of the shard.
    pub fn front_end(&self, node: u64, shard: u32) -> Result<Endpoint> {
        let node = self.node(node)?;
        let front_end = node.resp.iter().find(|r| r.shard == shard).context("no replica of that shard")?;
        Ok(Endpoint::new(&front_end.host, front_end.port))
    }

    /// Opens a plaintext connection to a replica; no wait on it is longer than `timeout`.
    pub async fn connect(&self, node: u64, shard: u32, timeout: Duration) -> Result<Connection> {
        Ok(Connection::open(&self.front_end(node, shard)?, None, timeout).await?)
    }

    /// Opens a TLS connection to a replica.
    pub async fn connect_tls(&self, node: u64, shard: u32, timeout: Duration) -> Result<Connection> {
        let node = self.node(node)?;
        let front_end = node.resp.iter().find(|r| r.shard == shard).context("no replica of that shard")?;
        Ok(Connection::open(&Endpoint::new(&front_end.host, front_end.tls_port), Some(&self.tls()?), timeout).await?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(file) = self.file() {
            let pids: Vec<Pid> = file.nodes.iter().filter_map(|n| n.pid.and_then(Pid::from_raw)).collect();
            for &pid in &pids {
                let _ = kill_process(pid, Signal::CONT);
                let _ = kill_process(pid, Signal::KILL);
            }
            // A file system that is unmounted must not be in use.
            if self.images.get_mut().is_some() {
                pids.into_iter().for_each(|pid| drop(wait_for_exit(pid)));
            }
        }
        self.images.get_mut().take();
        if self.keep || std::thread::panicking() {
            eprintln!("the cluster's files are kept in {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
