//! The driver of a lab of which only the addresses are known: it injects faults, and cannot reach processes.

use anyhow::{Result, bail};
use async_trait::async_trait;

use super::driver::{Driver, LabNode, ProcessState};
use crate::admin::Admin;
use crate::connection::{Connection, first_that_answers};

/// Drives nodes by their lab service alone.
pub struct RemoteDriver {
    admin: Admin,
    nodes: Vec<LabNode>,
    members: Vec<Vec<u64>>,
}

impl RemoteDriver {
    /// Asks one of the given addresses for the nodes of the cluster.
    pub async fn open(connection: &Connection) -> Result<RemoteDriver> {
        let (admin, addresses) = connection.open()?;
        let map = first_that_answers!(&addresses, |address| admin.describe(address))?;
        let node =
            |node: fastness_wire::admin::v1::NodeSpec| LabNode { id: node.id, az: node.az, grpc: node.grpc_address };
        let members = map.shards.into_iter().map(|shard| shard.members).collect();
        Ok(RemoteDriver { admin, nodes: map.nodes.into_iter().map(node).collect(), members })
    }
}

fn refuse<T>(node: u64) -> Result<T> {
    bail!(
        "the process of node {node} cannot be reached by an address: with --dir the nodes of `fastness dev` can be \
         killed, paused and started"
    )
}

#[async_trait]
impl Driver for RemoteDriver {
    fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    fn members(&self) -> &[Vec<u64>] {
        &self.members
    }

    fn admin(&self) -> &Admin {
        &self.admin
    }

    fn process(&self, _node: u64) -> ProcessState {
        ProcessState::Unknown
    }

    async fn kill(&self, nodes: &[u64]) -> Result<()> {
        nodes.first().map_or(Ok(()), |node| refuse(*node))
    }

    async fn pause(&self, node: u64) -> Result<()> {
        refuse(node)
    }

    async fn resume(&self, node: u64) -> Result<()> {
        refuse(node)
    }

    async fn start(&self, nodes: &[u64]) -> Result<()> {
        nodes.first().map_or(Ok(()), |node| refuse(*node))
    }
}
