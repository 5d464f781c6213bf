//! The HTTP port: `/metrics` (Prometheus text), `/healthz` (the process works), `/readyz` (its replicas serve),
//! `/digest` (to compare replicas). `/console` is the web console (`console.rs`). To clients that start with a TLS
//! handshake the port speaks HTTPS.
//!
//! Apart from the console, the port requires no password, so whatever it offers must be cheap. A digest reads every
//! key: it is offered only where the option `metrics-digest` says so, to callers on this machine, one at a time per
//! replica (`shard/src/digest.rs`), in slices between which clients are served, and it ends when its callers have
//! disconnected. Connections are bounded in number and in time (`server.rs`).
//!
//! - `node`: the figures of the node. `replica`: those of each replica, one table.
//! - `exposition`, `histogram`: Prometheus' text format. `readiness`: when a node is healthy, and when it is ready.
//!
//! The `redis_*` names are those of redis_exporter, with its meanings, so that dashboards made for it work without it;
//! `fastness_*` is what only Fastness has. Names follow Prometheus: base units last, `_total` for counters. The figures
//! of a replica are labelled with its shard.

mod exposition;
mod histogram;
mod node;
mod readiness;
mod replica;
mod server;

use std::sync::Arc;

use fastness_consensus::{Consensus, GroupControl};
use fastness_log::Log;

use crate::replicas::Replicas;
use crate::shared::NodeShared;

pub use readiness::{NotReady, NotServing};

/// The HTTP port, and what its answers are made from.
#[derive(Clone)]
pub struct Metrics {
    /// The node.
    pub node: Arc<NodeShared>,
    /// Its replicas.
    pub replicas: Arc<Replicas>,
    /// Its log.
    pub log: Log,
    /// Its consensus.
    pub consensus: Consensus,
    /// The control plane's group.
    pub control: GroupControl,
}
