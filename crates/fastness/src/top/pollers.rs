//! A task for each node of the cluster, which polls it at every interval. They wait for nobody but their own node.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use fastness_wire::admin::v1::NodeSpec;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::admin::Admin;

use super::sample::{NodePoller, NodeReport};

/// Reports that wait to be taken in; then pollers wait.
const REPORTS_MAX: usize = 64;

/// The tasks.
pub struct Pollers {
    admin: Admin,
    interval: Duration,
    reports: (mpsc::Sender<NodeReport>, mpsc::Receiver<NodeReport>),
    tasks: JoinSet<()>,
    /// By node: the address that is polled.
    nodes: BTreeMap<u64, (String, AbortHandle)>,
}

impl Pollers {
    /// Polls nobody yet.
    pub fn new(admin: Admin, interval: Duration) -> Pollers {
        let reports = mpsc::channel(REPORTS_MAX);
        Pollers { admin, interval, reports, tasks: JoinSet::new(), nodes: BTreeMap::new() }
    }

    /// Polls these nodes from now on, and no others.
    pub fn follow(&mut self, nodes: &[NodeSpec]) {
        self.nodes.retain(|id, (address, task)| {
            let stays = nodes.iter().any(|node| node.id == *id && node.grpc_address == *address);
            if !stays {
                task.abort();
            }
            stays
        });
        for node in nodes {
            if self.nodes.contains_key(&node.id) {
                continue;
            }
            let address = node.grpc_address.clone();
            let poller = NodePoller::new(self.admin.clone(), node.id, address.clone());
            let task = self.tasks.spawn(run(poller, self.interval, self.reports.0.clone()));
            self.nodes.insert(node.id, (address, task));
        }
    }

    /// The next report.
    pub async fn next(&mut self) -> Result<NodeReport> {
        loop {
            tokio::select! {
                Some(report) = self.reports.1.recv() => return Ok(report),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        bail!("polling a node has failed: {error}");
                    }
                }
                else => bail!("no node is polled"),
            }
        }
    }
}

async fn run(mut poller: NodePoller, interval: Duration, reports: mpsc::Sender<NodeReport>) {
    let mut due = tokio::time::interval(interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if reports.send(poller.poll().await).await.is_err() {
            return;
        }
    }
}
