//! What the verbs of a lab do to its nodes. How a process is killed, paused and started depends on what runs the nodes;
//! faults of disks and links are set in the nodes themselves, by the lab service that each of them has.
//!
//! Every operation returns when its effect can be observed. None of them changes a node that has the desired state
//! already.

use std::fmt;

use anyhow::Result;
use async_trait::async_trait;
use fastness_wire::lab::v1::{DiskFault, SetDiskFaultRequest, SetLinkFaultRequest, ShowFaultsResponse};

use crate::admin::Admin;

/// A node of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabNode {
    /// Its id.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// `host:port` of its admin listener.
    pub grpc: String,
}

/// The state of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs; the text identifies it to the user.
    Running(String),
    /// It exists, and runs none of its code until it is resumed.
    Paused(String),
    /// It was killed, but has not released everything yet.
    Stopping,
    /// There is none.
    Down,
    /// Processes cannot be observed from here.
    Unknown,
}

impl ProcessState {
    /// Whether the node may answer.
    pub fn may_answer(&self) -> bool {
        matches!(self, ProcessState::Running(_) | ProcessState::Unknown)
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessState::Running(what) => write!(f, "running ({what})"),
            ProcessState::Paused(what) => write!(f, "paused ({what})"),
            ProcessState::Stopping => f.write_str("stopping"),
            ProcessState::Down => f.write_str("down"),
            ProcessState::Unknown => f.write_str("-"),
        }
    }
}

/// Drives the nodes of one lab.
#[async_trait]
pub trait Driver: Send + Sync {
    /// All nodes, ordered by id.
    fn nodes(&self) -> &[LabNode];

    /// The members of each shard, from shard 1 on.
    fn members(&self) -> &[Vec<u64>];

    /// The client of the nodes' admin and lab services.
    fn admin(&self) -> &Admin;

    /// The state of a node's process.
    fn process(&self, node: u64) -> ProcessState;

    /// Kills these nodes at once, as a power failure does.
    async fn kill(&self, nodes: &[u64]) -> Result<()>;

    /// Pauses a running node: it keeps its memory and its connections, and answers nothing.
    async fn pause(&self, node: u64) -> Result<()>;

    /// Resumes a paused node.
    async fn resume(&self, node: u64) -> Result<()>;

    /// Starts these nodes with their data, and waits until they serve, as far as they can without the others.
    async fn start(&self, nodes: &[u64]) -> Result<()>;

    /// Sets or heals the fault of a node's disk.
    async fn set_disk(&self, node: &LabNode, fault: DiskFault) -> Result<()> {
        self.admin().set_disk_fault(&node.grpc, SetDiskFaultRequest { fault: Some(fault) }).await
    }

    /// Changes the faults of the link from a node to another one.
    async fn set_link(&self, from: &LabNode, request: SetLinkFaultRequest) -> Result<()> {
        self.admin().set_link_fault(&from.grpc, request).await
    }

    /// The faults that are set on a node.
    async fn faults(&self, node: &LabNode) -> Result<ShowFaultsResponse> {
        self.admin().show_faults(&node.grpc).await
    }
}
