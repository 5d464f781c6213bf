//! A task for each node of the cluster, which polls it at every interval. They wait for nobody but their own node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::admin::v1::NodeSpec;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::calls::ClusterCalls;
use super::sample::{NodePoller, NodeReport};

/// Reports that wait to be taken in; then pollers wait.
const REPORTS_MAX: usize = 64;

/// Why nothing is polled any more.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// A task has panicked.
    #[error("polling a node has failed: {0}")]
    Panicked(tokio::task::JoinError),
    /// The cluster has no nodes.
    #[error("no node is polled")]
    NoNodes,
}

/// The tasks.
pub struct Pollers {
    cluster: Arc<dyn ClusterCalls>,
    interval: Duration,
    reports: (mpsc::Sender<NodeReport>, mpsc::Receiver<NodeReport>),
    tasks: JoinSet<()>,
    /// By node: the address that is polled.
    nodes: BTreeMap<u64, (String, AbortHandle)>,
}

impl Pollers {
    /// Polls nobody yet.
    pub fn new(cluster: Arc<dyn ClusterCalls>, interval: Duration) -> Pollers {
        let reports = mpsc::channel(REPORTS_MAX);
        Pollers { cluster, interval, reports, tasks: JoinSet::new(), nodes: BTreeMap::new() }
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
            let poller = NodePoller::new(self.cluster.clone(), node.clone());
            let task = self.tasks.spawn(run(poller, self.interval, self.reports.0.clone()));
            self.nodes.insert(node.id, (address, task));
        }
    }

    /// The next report.
    ///
    /// # Errors
    /// There will be none.
    pub async fn next(&mut self) -> Result<NodeReport, PollError> {
        loop {
            tokio::select! {
                Some(report) = self.reports.1.recv() => return Ok(report),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        return Err(PollError::Panicked(error));
                    }
                }
                else => return Err(PollError::NoNodes),
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
