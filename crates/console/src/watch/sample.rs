//! Polls one node: the cluster as it sees it, its figures, and what is new in its journal.
//!
//! Each node is polled by itself, and each step has a time limit, so a node that does not answer delays nothing but its
//! own samples. A node that describes the cluster counts as up, also if its figures are missing: a node of an older
//! version has none, and a stuck replica reports none.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastness_wire::admin::v1::{
    DescribeClusterResponse, ListEventsRequest, NodeSpec, ShowFiguresRequest, ShowFiguresResponse,
};
use tokio::time::timeout;

use super::calls::{CallFailed, ClusterCalls, NodeCalls};
use super::journal_cursor::{JournalCursor, NodeEvent};

/// Time limit of connecting to a node and describing the cluster.
const DESCRIPTION_TIME_MAX: Duration = Duration::from_secs(2);
/// Time limit of figures and events. The node itself waits up to 2 s for a stuck replica.
const FIGURES_TIME_MAX: Duration = Duration::from_secs(3);
/// How many slots of a shard, and slow commands of a replica, are requested.
const SLOTS_MAX: u32 = 20;
const SLOW_COMMANDS_MAX: u32 = 20;

/// What a node reports.
#[derive(Debug, Clone)]
pub struct NodeSample {
    /// The cluster as the node sees it.
    pub view: DescribeClusterResponse,
    /// Its figures, if it has answered.
    pub figures: Option<ShowFiguresResponse>,
    /// New events of its journal.
    pub events: Vec<NodeEvent>,
}

/// The outcome of polling a node.
#[derive(Debug, Clone)]
pub enum Polled {
    /// It has answered.
    Answered(Box<NodeSample>),
    /// It has not.
    Silent {
        /// Why.
        reason: String,
    },
}

/// What polling a node has shown, and when.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The node.
    pub node: u64,
    /// On the clock of this machine, in ms since the Unix epoch.
    pub at_ms: u64,
    /// The outcome.
    pub polled: Polled,
}

/// The wall clock of this machine, in ms since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Polls one node again and again over one connection, which is renewed when it fails.
pub struct NodePoller {
    cluster: Arc<dyn ClusterCalls>,
    node: NodeSpec,
    client: Option<Box<dyn NodeCalls>>,
    journal: JournalCursor,
}

impl NodePoller {
    /// For this node.
    pub fn new(cluster: Arc<dyn ClusterCalls>, node: NodeSpec) -> NodePoller {
        NodePoller { cluster, node, client: None, journal: JournalCursor::default() }
    }

    /// Polls it once.
    pub async fn poll(&mut self) -> NodeReport {
        let polled = match self.sample().await {
            Ok(sample) => Polled::Answered(Box::new(sample)),
            Err(CallFailed(reason)) => Polled::Silent { reason },
        };
        NodeReport { node: self.node.id, at_ms: now_ms(), polled }
    }

    async fn sample(&mut self) -> Result<NodeSample, CallFailed> {
        let kept = self.client.take();
        let describe = async {
            let client = match kept {
                Some(client) => client,
                None => self.cluster.connect(&self.node).await?,
            };
            let view = client.describe().await?;
            Ok::<_, CallFailed>((client, view))
        };
        let late = |_| CallFailed(format!("{} did not answer in time", self.node.grpc_address));
        let (client, view) = timeout(DESCRIPTION_TIME_MAX, describe).await.map_err(late)??;
        let request = ShowFiguresRequest { slots_max: SLOTS_MAX, slow_commands_max: SLOW_COMMANDS_MAX };
        let (all, mut events) = (ListEventsRequest::default(), Vec::new());
        let (figures, _) = tokio::join!(
            timeout(FIGURES_TIME_MAX, client.show_figures(request)),
            // What was read before a failure is kept, and the next poll continues after it.
            timeout(FIGURES_TIME_MAX, self.journal.read(&*client, &all, &mut events)),
        );
        let figures = figures.ok().and_then(Result::ok);
        self.client = Some(client);
        Ok(NodeSample { view, figures, events })
    }
}
