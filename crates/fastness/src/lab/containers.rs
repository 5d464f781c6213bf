//! The driver of the lab in containers: kills, pauses and starts containers with Docker's command line.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use fastness_wire::admin::v1::ReplicaStatus;
use tokio::time::Instant;

use super::driver::{Driver, LabNode, ProcessState};
use crate::admin::Admin;
use crate::container_lab::{ContainerLab, ContainerNode};

/// Time limit for a container to end.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for a started node to serve.
const SERVE_PATIENCE: Duration = Duration::from_secs(60);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(100);

/// Drives the containers of a lab.
pub struct ContainerDriver {
    lab: ContainerLab,
    nodes: Vec<LabNode>,
    members: Vec<Vec<u64>>,
    admin: Admin,
}

/// Runs a command of Docker and returns its output.
fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).output().context("cannot run docker")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {}: {}", arguments.join(" "), error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl ContainerDriver {
    /// A driver of this lab.
    pub fn new(lab: ContainerLab) -> Result<ContainerDriver> {
        let node = |node: &ContainerNode| {
            let ContainerNode { id, az, grpc_announced, .. } = node.clone();
            LabNode { id, az, grpc: grpc_announced }
        };
        let nodes = lab.nodes.iter().map(node).collect();
        Ok(ContainerDriver { nodes, members: lab.members(), admin: lab.admin()?, lab })
    }

    fn container(&self, node: u64) -> Result<&str> {
        let found = self.lab.nodes.iter().find(|own| own.id == node);
        Ok(&found.with_context(|| format!("there is no node {node}"))?.container)
    }

    /// The name of a container that is not down.
    fn running(&self, node: u64) -> Result<&str> {
        let is_down = matches!(self.process(node), ProcessState::Down | ProcessState::Stopping);
        ensure!(!is_down, "node {node} is down: start it with `fastness lab node start {node}`");
        self.container(node)
    }

    /// Waits until a started node answers and, if most nodes are up, its replicas have loaded their data and know their
    /// primary.
    async fn serves(&self, node: u64) -> Result<()> {
        let address = self.nodes.iter().find(|own| own.id == node).map_or("", |own| own.grpc.as_str());
        let until = Instant::now() + SERVE_PATIENCE;
        let shards = || (1..).zip(&self.members).filter(|(_, members)| members.contains(&node)).map(|(shard, _)| shard);
        loop {
            let view = self.admin.describe(address).await;
            let up = self.nodes.iter().filter(|other| self.process(other.id).may_answer()).count();
            if let Ok(view) = &view {
                let serves = |shard: u32| {
                    let follows = |r: &ReplicaStatus| r.shard == shard && r.ready && r.leader_node != 0;
                    view.replicas.iter().any(follows)
                };
                if 2 * up <= self.nodes.len() || shards().all(serves) {
                    return Ok(());
                }
            }
            let container = self.container(node)?;
            ensure!(
                Instant::now() < until,
                "node {node} was started, but does not serve after {} s: see `docker logs {container}`",
                SERVE_PATIENCE.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

#[async_trait]
impl Driver for ContainerDriver {
    fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    fn members(&self) -> &[Vec<u64>] {
        &self.members
    }

    fn admin(&self) -> &Admin {
        &self.admin
    }

    fn process(&self, node: u64) -> ProcessState {
        let Ok(container) = self.container(node) else { return ProcessState::Down };
        // A container that was removed is down as well.
        let Ok(state) = docker(&["inspect", "--format", "{{.State.Status}} {{.State.Pid}}", container]) else {
            return ProcessState::Down;
        };
        match state.trim().split_once(' ') {
            Some(("running", pid)) => ProcessState::Running(format!("{container}, pid {pid}")),
            Some(("paused", pid)) => ProcessState::Paused(format!("{container}, pid {pid}")),
            Some(("removing", _)) => ProcessState::Stopping,
            _ => ProcessState::Down,
        }
    }

    async fn kill(&self, nodes: &[u64]) -> Result<()> {
        let alive = nodes.iter().filter(|node| !matches!(self.process(**node), ProcessState::Down));
        let containers = alive.map(|node| self.container(*node)).collect::<Result<Vec<_>>>()?;
        if containers.is_empty() {
            return Ok(());
        }
        // One command for all: Docker kills them at the same moment. It does not restart what was killed so.
        docker(&[&["kill"][..], &containers[..]].concat())?;
        let until = Instant::now() + END_PATIENCE;
        for &node in nodes {
            while !matches!(self.process(node), ProcessState::Down) {
                ensure!(Instant::now() < until, "node {node} was killed, but its container does not end");
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn pause(&self, node: u64) -> Result<()> {
        let container = self.running(node)?;
        if let ProcessState::Running(_) = self.process(node) {
            docker(&["pause", container])?;
        }
        Ok(())
    }

    async fn resume(&self, node: u64) -> Result<()> {
        let container = self.running(node)?;
        if let ProcessState::Paused(_) = self.process(node) {
            docker(&["unpause", container])?;
        }
        Ok(())
    }

    async fn start(&self, nodes: &[u64]) -> Result<()> {
        let down = nodes.iter().filter(|node| matches!(self.process(**node), ProcessState::Down));
        let containers = down.map(|node| self.container(*node)).collect::<Result<Vec<_>>>()?;
        if !containers.is_empty() {
            docker(&[&["start"][..], &containers[..]].concat())
                .context("`make lab` starts a lab that was taken down")?;
        }
        for &node in nodes {
            self.serves(node).await?;
        }
        Ok(())
    }
}
