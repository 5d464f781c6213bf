//! A cluster of real processes, started with `fastness dev`, and what can be done to it.
//!
//! The binary is the one that `FASTNESS_BIN` names, else the one beside the running test. The folder is removed when a
//! run ends well and kept, with a line that says where, when it does not.

pub mod clock;
pub mod power;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::{Connection, Endpoint, Tls};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use self::clock::Faketime;
use self::power::Images;
use crate::observe::Figures;
use crate::ports::Ports;

/// What `DIR/cluster.json` holds.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterFile {
    /// The nodes, by rising id.
    pub nodes: Vec<NodeFile>,
    /// PEM file of the CA.
    pub ca: PathBuf,
    /// PEM file of the admin certificate.
    pub admin_cert: PathBuf,
    /// The mode.
    pub durability: String,
    /// Shards.
    pub shards: u32,
}

/// One node of `cluster.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeFile {
    /// Node id.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// Process id; absent or null while it is not running.
    pub pid: Option<i32>,
    /// The RESP front end of each of its replicas.
    pub resp: Vec<RespFile>,
    /// host:port of the peer front end.
    pub peer: String,
    /// Address that its connections to other nodes come from.
    pub peer_source: String,
    /// host:port of the admin front end.
    pub grpc: String,
    /// host:port of the metrics front end.
    pub metrics: String,
}

/// One RESP front end.
#[derive(Debug, Clone, Deserialize)]
pub struct RespFile {
    /// Shard.
    pub shard: u32,
    /// Host.
    pub host: String,
    /// Plaintext port.
    pub port: u16,
    /// TLS port.
    pub tls_port: u16,
}

/// How to start.
#[derive(Debug, Clone)]
pub struct Options {
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

impl Default for Options {
    fn default() -> Self {
        Options {
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
    pub fn start(options: &Options) -> Result<Cluster> {
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

    /// Sends a signal to a node.
    ///
    /// # Errors
    /// If it is not running.
    pub fn signal(&self, node: u64, signal: Signal) -> Result<()> {
        kill_process(self.pid(node)?, signal).with_context(|| format!("signal to node {node}"))
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&self, node: u64) -> Result<()> {
        let pid = self.pid(node)?;
        kill_process(pid, Signal::KILL)?;
        wait_gone(pid)
    }

    /// `kill -9` to all running nodes at once.
    ///
    /// # Errors
    /// If a process does not go.
    pub fn kill_all(&self) -> Result<()> {
        let pids: Vec<Pid> = self.file()?.nodes.iter().filter_map(|n| n.pid.and_then(Pid::from_raw)).collect();
        for &pid in &pids {
            kill_process(pid, Signal::KILL)?;
        }
        pids.into_iter().try_for_each(wait_gone)
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

    /// Whether all threads of a node stand still, stopped by a signal.
    ///
    /// # Errors
    /// If it is not running.
    pub fn is_stopped(&self, node: u64) -> Result<bool> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid(node)?.as_raw_nonzero()))?;
        let mut states = threads.filter_map(|thread| state_of(&thread.ok()?.path()));
        Ok(states.all(|state| state == 'T'))
    }

    /// Stops a node with SIGSTOP, and waits until its process stands still.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::STOP)?;
        let until = Instant::now() + Duration::from_secs(10);
        while !self.is_stopped(node)? {
            ensure!(Instant::now() < until, "node {node} does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a node that stands still go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::CONT)
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

    /// A fault of a node's disk on command, in the words of `fastness lab disk`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn disk_fault(&self, node: u64, fault: &str) -> Result<()> {
        let node = node.to_string();
        self.fastness("lab", ["disk", "--node", &node].into_iter().chain(fault.split(' '))).map(drop)
    }

    /// A fault of the link from one node to another, in the words of `fastness lab link`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn link_fault(&self, from: u64, to: u64, fault: &str) -> Result<()> {
        let (from, to) = (from.to_string(), to.to_string());
        let words = ["link", "--from", &from, "--to", &to].into_iter().chain(fault.split(' '));
        self.fastness("lab", words).map(drop)
    }

    /// How many writes of a node have met the fault of its disk that is set, and frames those of its links that are or
    /// were.
    ///
    /// # Errors
    /// If a node cannot be asked.
    pub fn faults_met(&self, node: u64) -> Result<u64> {
        let shown: serde_json::Value = serde_json::from_str(&self.fastness("lab", ["show", "--json"])?)?;
        let shown = shown.as_array().into_iter().flatten().find(|shown| shown["node"] == node);
        let shown = shown.with_context(|| format!("node {node} is not among them"))?;
        let links = shown["links"].as_array().into_iter().flatten().filter_map(|link| link["met"].as_u64());
        Ok(shown["disk"]["met"].as_u64().unwrap_or(0) + links.sum::<u64>())
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

    /// The node whose replica of `shard` is the primary and holds the lease.
    pub async fn primary(&self, shard: u32, patience: Duration) -> Result<u64> {
        self.primary_outside(&[], shard, patience).await
    }

    /// The same, of the nodes other than `node`.
    pub async fn primary_other_than(&self, node: u64, shard: u32, patience: Duration) -> Result<u64> {
        self.primary_outside(&[node], shard, patience).await
    }

    /// The same, of the nodes that are not among `nodes`.
    pub async fn primary_outside(&self, nodes: &[u64], shard: u32, patience: Duration) -> Result<u64> {
        let until = Instant::now() + patience;
        loop {
            for node in self.file()?.nodes.into_iter().filter(|other| !nodes.contains(&other.id)) {
                let Some(front_end) = node.resp.iter().find(|r| r.shard == shard) else { continue };
                if calls_itself_primary(&Endpoint::new(&front_end.host, front_end.port)).await
                    && holds_lease(&node, shard).await
                {
                    return Ok(node.id);
                }
            }
            ensure!(Instant::now() < until, "shard {shard} has no primary after {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

/// Whether a replica leads under a lease. Without one it may be a former primary that has not heard of the next one.
async fn holds_lease(node: &NodeFile, shard: u32) -> bool {
    let held = Figures::of(node).await.and_then(|figures| figures.shard("fastness_lease_held", shard));
    held.is_ok_and(|held| held == 1)
}

/// Asked at the front end, where a node that stands still is noticed soon.
async fn calls_itself_primary(endpoint: &Endpoint) -> bool {
    let timeout = Duration::from_millis(500);
    let Ok(mut connection) = Connection::open(endpoint, None, timeout).await else { return false };
    match connection.call(&[b"ROLE"]).await {
        Ok(fastness_resp::value::Value::Array(parts)) => {
            matches!(parts.first(), Some(fastness_resp::value::Value::Bulk(role)) if role == b"master")
        }
        _ => false,
    }
}

/// Waits until nothing of a killed process is left.
///
/// # Errors
/// If it does not end.
pub fn wait_gone(pid: Pid) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    // The processes are not our children: a signal of 0 tells whether one still exists. A zombie that its parent has
    // not waited for counts as gone.
    while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(pid) {
        ensure!(Instant::now() < until, "process {pid:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Whether nothing of the process is left but its exit status. Its first thread becomes a zombie as soon as it has
/// ended; while another one is still in a system call (an fsync), the process holds its ports and the lock of its data.
fn is_zombie(pid: Pid) -> bool {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
    state_of(&process) == Some('Z') && threads <= 1
}

/// The letter that the `stat` of a process or thread has for its state.
fn state_of(proc: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
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
