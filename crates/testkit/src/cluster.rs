//! A cluster of real processes, started with `fastness dev`, and what can be done to it.
//!
//! The binary is the one that `FASTNESS_BIN` names, else the one beside the running test. The folder is removed when a
//! run ends well and kept, with a line that says where, when it does not.

pub mod clock;
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

pub use file::{ClusterFile, NodeFile, RespFile};
pub use process::wait_gone;

/// How to start.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// AZ of each node.
    pub azs: Vec<&'static str>,
    /// Shards.
    pub shards: u32,
    /// Copies besides the primary.
    pub replicas: u32,
    /// sync, async, disabled.
    pub durability: &'static str,
    /// `snapshot-log-bytes` of every node; `None`: the default.
    pub snapshot_log_bytes: Option<u64>,
    /// `durability-max-lag` of every node; `None`: the default.
    pub max_lag: Option<Duration>,
    /// More options of every node's config file.
    pub node_options: Vec<(&'static str, String)>,
    /// Variables of every process, for what is compiled in for tests alone.
    pub env: Vec<(&'static str, String)>,
    /// Descriptors that each process may have (`ulimit -n`); `None`: as many as the test itself.
    pub descriptors_max: Option<u64>,
    /// Whether data lies on file systems that lose what was not synced: [`Cluster::lose_power`]. Only where
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
    /// What every node is told by CONFIG SET.
    settings: Vec<(&'static str, String)>,
    env: Vec<(&'static str, String)>,
    descriptors_max: Option<u64>,
    images: Mutex<Option<Images>>,
    faketime: Option<Faketime>,
    /// Held as long as processes may be started.
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
    /// If it does not come up; the folder is kept.
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
        let (settings, env) = (snapshots.into_iter().chain(max_lag).collect(), options.env.clone());
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
        // Whatever starts a supervisor hands this down to the nodes.
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

    /// The first of its ports, which are reserved for it.
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

    /// A node's process.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pid(&self, node: u64) -> Result<Pid> {
        let file = self.file()?;
        let pid = file.nodes.iter().find(|n| n.id == node).and_then(|n| n.pid);
        pid.and_then(Pid::from_raw).with_context(|| format!("node {node} is not running"))
    }

    /// Starts a dead node again, with its data.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_node(&self, node: u64) -> Result<()> {
        self.dev(["node", "start", &node.to_string()])?;
        self.configure()
    }

    /// Starts dead nodes again at the same time: each may need another one to serve.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_nodes(&self, nodes: &[u64]) -> Result<()> {
        std::thread::scope(|scope| {
            let starts: Vec<_> = nodes.iter().map(|&node| scope.spawn(move || self.start_node(node))).collect();
            let panicked = || anyhow::anyhow!("a start panicked");
            starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| Err(panicked())))
        })
    }

    /// A node more, running and empty, in this AZ; its id.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn add_node(&self, az: &str) -> Result<u64> {
        self.dev(["node", "add", "--az", az])?;
        self.file()?.nodes.last().map(|node| node.id).context("a cluster without nodes")
    }

    /// Puts a node that was added in the place of one that is gone, and waits until that is complete; what the command
    /// says.
    ///
    /// # Errors
    /// If it is refused, with the reason.
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

    /// Asks every running node for a snapshot of each of its replicas.
    ///
    /// # Errors
    /// If one does not take the request.
    pub fn make_snapshots(&self) -> Result<()> {
        self.fastness("cluster", ["snapshot"]).map(drop)
    }

    /// Restores every snapshot of a node in a scratch place, and tells of each; the node may run.
    ///
    /// # Errors
    /// If one is not what it says, or there is none.
    pub fn verify_snapshots(&self, node: u64) -> Result<String> {
        let config = self.dir.join(format!("nodes/{node}/fastness.conf"));
        let output = Command::new(binary()?).args(["snapshot", "verify", "--config"]).arg(config).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "node {node}: {text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// Hands the leadership of a shard to whoever is best.
    ///
    /// # Errors
    /// If nobody takes it, with the reason.
    pub fn hand_over(&self, shard: u32) -> Result<()> {
        self.fastness("cluster", ["hand-over", "--shard", &shard.to_string()]).map(drop)
    }

    /// Changes the durability mode, and waits until it is in force on every shard.
    ///
    /// # Errors
    /// If it is refused, or a shard does not commit it in time.
    pub fn set_durability(&self, mode: &str) -> Result<()> {
        self.fastness("cluster", ["set-durability", mode]).map(drop)
    }

    /// What a node has logged, all its starts.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn node_log(&self, node: u64) -> Result<String> {
        let path = self.dir.join(format!("nodes/{node}/node.log"));
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Waits until a node has logged something behind the first `from` bytes of its log.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub fn wait_for_log(&self, node: u64, from: usize, text: &str, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        while !self.node_log(node)?.get(from..).unwrap_or_default().contains(text) {
            ensure!(Instant::now() < until, "node {node} has not logged {text:?} within {patience:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts whatever is not running, and waits until writes succeed.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_again(&self) -> Result<()> {
        self.dev(["--detach"])?;
        self.configure()
    }

    /// Sets what the options ask for beyond those of `fastness dev`, on all nodes that run: a node that was started
    /// anew has the defaults.
    pub(crate) fn configure(&self) -> Result<()> {
        if self.settings.is_empty() {
            return Ok(());
        }
        for node in self.file()?.nodes.iter().filter(|node| node.pid.is_some()) {
            let Some(front_end) = node.resp.first() else { continue };
            let settings = self.settings.iter().map(|(name, value)| format!(" {name} {value}")).collect::<String>();
            let until = Instant::now() + Duration::from_secs(30);
            loop {
                // One that has died or stands still meanwhile is none of our business here.
                let Ok(mut client) = TcpStream::connect((front_end.host.as_str(), front_end.port)) else { break };
                client.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut reply = [0; 5];
                let asked = client.write_all(format!("CONFIG SET{settings}\r\n").as_bytes());
                match asked.and_then(|()| client.read_exact(&mut reply)) {
                    // It opens its log anew, or has not yet heard of the cluster's settings.
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

    /// Stops all nodes in good order.
    ///
    /// # Errors
    /// If one does not end.
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

    /// The plaintext front end of a node's replica.
    ///
    /// # Errors
    /// If the node has no replica of the shard.
    pub fn front_end(&self, node: u64, shard: u32) -> Result<Endpoint> {
        let node = self.node(node)?;
        let front_end = node.resp.iter().find(|r| r.shard == shard).context("no replica of that shard")?;
        Ok(Endpoint::new(&front_end.host, front_end.port))
    }

    /// A new plaintext connection to a node's replica; no wait on it is longer than `timeout`.
    pub async fn connect(&self, node: u64, shard: u32, timeout: Duration) -> Result<Connection> {
        Ok(Connection::open(&self.front_end(node, shard)?, None, timeout).await?)
    }

    /// The same over TLS.
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
            // Nobody may use a file system that is to be unmounted.
            if self.images.get_mut().is_some() {
                pids.into_iter().for_each(|pid| drop(wait_gone(pid)));
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
