//! The nodes of a dev cluster for other commands: starting and ending them, and what is known of their processes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::folder::{self, Folder};
use super::process::{self, ProcessId};
use super::settings::Settings;
use super::socket::{self, Request, Response};
use super::{bring_up, supervisor};
use crate::admin::Admin;

/// Time limit for a supervisor to listen.
pub const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(15);
/// Time limit for nodes to stop.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Interval between two checks.
pub const POLL: Duration = Duration::from_millis(50);

/// Opens the folder of an existing cluster.
pub fn open(dir: &Path) -> Result<(Folder, Settings)> {
    let folder = Folder::existing(dir)?;
    let settings = Settings::load(&folder)?;
    let settings = settings.with_context(|| {
        format!("there is no dev cluster in {}: create one with `fastness dev --dir DIR`", dir.display())
    })?;
    Ok((folder, settings))
}

/// Asks the supervisor to start the nodes, and starts a supervisor if there is none. Returns the nodes that were not
/// running.
pub async fn start_detached(folder: &Folder, nodes: &[u64]) -> Result<Vec<u64>> {
    let request = Request::Start(nodes.to_vec());
    let until = Instant::now() + SUPERVISOR_PATIENCE;
    let mut child: Option<std::process::Child> = None;
    loop {
        if let Some(Response { started, .. }) = socket::send(folder, &request)? {
            return Ok(started);
        }
        let needs_start = match &mut child {
            Some(child) => child.try_wait()?.is_some(),
            None => true,
        };
        ensure!(
            Instant::now() < until,
            "the supervisor does not start; its log, {}:\n{}",
            folder.supervisor_log().display(),
            folder::tail(&folder.supervisor_log(), 10)
        );
        if needs_start {
            child = Some(spawn_supervisor(folder)?);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn spawn_supervisor(folder: &Folder) -> Result<std::process::Child> {
    let path = folder.supervisor_log();
    let log = std::fs::File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("{} is not writable", path.display()))?;
    std::process::Command::new(std::env::current_exe()?)
        .args(["dev", "supervise", "--dir"])
        .arg(folder.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")
}

/// Stops a node with SIGTERM, so that it hands over leadership, and waits until its process has released everything.
pub async fn end(folder: &Folder, node: u64) -> Result<()> {
    let process = process::of_node(folder, node).with_context(|| format!("node {node} is not running"))?;
    if socket::send(folder, &Request::End { node })?.is_none() {
        supervisor::stop(&process, false);
    }
    let until = Instant::now() + STOP_PATIENCE;
    while !process.has_exited() {
        let log = folder.node_log(node);
        ensure!(Instant::now() < until, "node {node} does not stop in time; its log: {}", log.display());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A dev cluster as `fastness lab` drives it.
#[derive(Debug, Clone)]
pub struct DevCluster {
    folder: Folder,
    settings: Settings,
}

impl DevCluster {
    /// Opens the cluster of this folder, which must exist.
    pub fn open(dir: &Path) -> Result<DevCluster> {
        let (folder, settings) = open(dir)?;
        Ok(DevCluster { folder, settings })
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the nodes accept injected faults.
    pub fn is_lab(&self) -> bool {
        self.settings.lab
    }

    /// Ids and AZs of all nodes.
    pub fn nodes(&self) -> Vec<(u64, String)> {
        self.settings.nodes().map(|node| (node, self.settings.az(node).to_owned())).collect()
    }

    /// The members of each shard, from shard 1 on.
    pub fn members(&self) -> &[Vec<u64>] {
        &self.settings.members
    }

    /// Plaintext ports of a node's replicas.
    pub fn ports(&self, node: u64) -> Result<Vec<u16>> {
        let first = self.settings.ports_of(node)?.plaintext;
        Ok(self.settings.shards_on(node).map(|shard| first + shard as u16 - 1).collect())
    }

    /// The process of a node that is running, paused, or still dying.
    pub fn process(&self, node: u64) -> Option<ProcessId> {
        process::left_of_node(&self.folder, node)
    }

    /// The admin client.
    pub fn admin(&self) -> Result<Admin> {
        bring_up::admin(&self.folder)
    }

    /// Address of a node's admin listener.
    pub fn grpc_address(&self, node: u64) -> Result<String> {
        bring_up::grpc_address(&self.settings, node)
    }

    /// Starts those of these nodes that are not running, and waits until each serves, as far as it can without the
    /// others.
    pub async fn start(&self, nodes: &[u64]) -> Result<()> {
        start_detached(&self.folder, nodes).await?;
        for &node in nodes {
            bring_up::node_serves(&self.folder, &self.settings, node).await?;
        }
        Ok(())
    }
}
