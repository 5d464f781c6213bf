//! The driver of a lab without containers: the processes of `fastness dev`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use rustix::process::Signal;
use tokio::time::Instant;

use super::driver::{Driver, LabNode, ProcessState};
use crate::admin::Admin;
use crate::dev::{DevCluster, Presence, ProcessId};

/// Time limit for a signal to take effect.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(5);

/// Drives the processes of a dev cluster on this machine.
pub struct ProcessDriver {
    cluster: DevCluster,
    nodes: Vec<LabNode>,
    admin: Admin,
}

impl ProcessDriver {
    /// Opens the dev cluster of this folder; refused if it is not a lab.
    pub fn open(dir: &Path) -> Result<ProcessDriver> {
        let cluster = DevCluster::open(dir)?;
        ensure!(
            cluster.is_lab(),
            "the cluster in {} is not a lab: it was created by a version whose certificates do not allow faults",
            cluster.dir().display()
        );
        let node = |(id, az)| Ok(LabNode { id, az, grpc: cluster.grpc_address(id)? });
        let nodes = cluster.nodes().into_iter().map(node).collect::<Result<Vec<_>>>()?;
        let admin = cluster.admin()?;
        Ok(ProcessDriver { cluster, nodes, admin })
    }

    fn running(&self, node: u64) -> Result<ProcessId> {
        let process = self.cluster.process(node).filter(ProcessId::is_running);
        process.with_context(|| format!("node {node} is down: start it with `fastness lab node start {node}`"))
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + SIGNAL_PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < until, "{what} within {} s", SIGNAL_PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[async_trait]
impl Driver for ProcessDriver {
    fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    fn members(&self) -> &[Vec<u64>] {
        self.cluster.members()
    }

    fn admin(&self) -> &Admin {
        &self.admin
    }

    fn process(&self, node: u64) -> ProcessState {
        let Some(process) = self.cluster.process(node) else { return ProcessState::Down };
        let pid = format!("pid {}", process.pid);
        match process.presence() {
            Presence::Exited => ProcessState::Down,
            Presence::Dying => ProcessState::Stopping,
            Presence::Running if process.is_paused() => ProcessState::Paused(pid),
            Presence::Running => ProcessState::Running(pid),
        }
    }

    async fn kill(&self, nodes: &[u64]) -> Result<()> {
        let alive: Vec<_> = nodes.iter().filter_map(|node| Some((*node, self.cluster.process(*node)?))).collect();
        // All signals first: the nodes die at the same moment.
        alive.iter().for_each(|(_, process)| process.signal(Signal::KILL));
        for (node, process) in alive {
            until(&format!("node {node} was killed, but its process does not end"), || process.has_exited()).await?;
        }
        Ok(())
    }

    async fn pause(&self, node: u64) -> Result<()> {
        let process = self.running(node)?;
        process.signal(Signal::STOP);
        until(&format!("node {node} does not stop"), || process.is_paused() || !process.is_running()).await
    }

    async fn resume(&self, node: u64) -> Result<()> {
        let process = self.running(node)?;
        process.signal(Signal::CONT);
        until(&format!("node {node} does not resume"), || !process.is_paused()).await
    }

    async fn start(&self, nodes: &[u64]) -> Result<()> {
        self.cluster.start(nodes).await
    }
}
