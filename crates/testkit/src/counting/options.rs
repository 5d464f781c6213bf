//! How to count.

use std::sync::Arc;
use std::time::Duration;

use fastness_load::Access;

use crate::clients::{ClientMix, GrpcApi};

/// How to count.
#[derive(Clone)]
pub struct CountingOptions {
    /// How clients of RESP reach the cluster.
    pub access: Access,
    /// How the others do.
    pub grpc: Arc<GrpcApi>,
    /// Which clients there are.
    pub mix: ClientMix,
    /// Number of shards; each has counters and clients of its own.
    pub shards: u32,
    /// Prefix of every key, so that runs do not share keys. No braces.
    pub prefix: String,
    /// Pause of a client between two increments.
    pub pause: Duration,
    /// How long a client sends a write again when the run has ended.
    pub patience: Duration,
    /// Whether acknowledged writes may be lost: in `async` and `disabled`.
    pub lossy: bool,
    /// Whether a cluster may forget keys before their time, because clocks are set: then a write may stay in doubt.
    pub forgets_keys: bool,
    /// Whether the log is purged before a watch may have read it, which the watch has to report.
    pub purges: bool,
}

impl CountingOptions {
    /// Clients of all kinds in a cluster that loses nothing and keeps its log for watches.
    #[must_use]
    pub fn new(access: Access, grpc: Arc<GrpcApi>, shards: u32) -> CountingOptions {
        CountingOptions {
            access,
            grpc,
            mix: ClientMix::Mixed,
            shards,
            prefix: "count:".to_owned(),
            pause: Duration::from_millis(5),
            patience: Duration::from_secs(60),
            lossy: false,
            forgets_keys: false,
            purges: false,
        }
    }
}
