//! Whether the node works, and whether it serves clients.

use fastness_shard::{ShardInfo, Standing};
use fastness_types::ShardId;

use super::Metrics;
use crate::shared::Phase;

/// Why a node is not healthy, or not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Not healthy: nothing on this node is replicated any more.
    #[error("consensus has stopped: {0}")]
    Consensus(String),
    /// Not healthy.
    #[error("the log has failed: {0}")]
    Log(String),
    /// The node ends.
    #[error("the node is stopping")]
    Stopping,
    /// A write to the log takes too long.
    #[error("log disk stalled")]
    LogStalled,
    /// There is no map yet.
    #[error("the cluster is not created yet")]
    NoCluster,
    /// The map has just named this node.
    #[error("shard {0} is not started yet")]
    NotStarted(ShardId),
    /// The replica's thread is busy or has ended.
    #[error("shard {0} does not answer")]
    NoAnswer(ShardId),
    /// A replica does not serve.
    #[error("shard {0} {1}")]
    Shard(ShardId, NotServing),
}

/// Why a replica does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    /// It has failed.
    #[error("has stopped: {0}")]
    Failed(String),
    /// Its data is being rebuilt.
    #[error("is being restored from the log")]
    Restoring,
    /// Another primary may exist.
    #[error("leads without a lease")]
    NoLease,
    /// It would return stale data.
    #[error("has not applied yet what its leader has committed")]
    Behind,
    /// An election is in progress, or the majority is lost.
    #[error("knows no leader")]
    NoLeader,
    /// It was stopped.
    #[error("has stopped")]
    Stopped,
}

impl Metrics {
    pub(super) fn healthy(&self) -> Result<(), NotReady> {
        if let Some(reason) = self.consensus.stopped() {
            return Err(NotReady::Consensus(reason.to_string()));
        }
        self.log.failure().map_or(Ok(()), |failure| Err(NotReady::Log(failure.to_string())))
    }

    /// Ready: the cluster is created, and each replica here leads with a lease or follows a known leader.
    pub(super) async fn ready(&self) -> Result<(), NotReady> {
        self.healthy()?;
        if self.node.phase() != Phase::Running {
            return Err(NotReady::Stopping);
        }
        if self.consensus.log_stalls() {
            return Err(NotReady::LogStalled);
        }
        let map = self.node.map.load_full().ok_or(NotReady::NoCluster)?;
        for shard in map.shards_on(self.node.node) {
            let id = shard.id;
            let replica = self.replicas.get(id).ok_or(NotReady::NotStarted(id))?;
            let snapshot = replica.snapshot().await.ok_or(NotReady::NoAnswer(id))?;
            serves(&snapshot.shard).map_err(|why| NotReady::Shard(id, why))?;
        }
        Ok(())
    }
}

fn serves(shard: &ShardInfo) -> Result<(), NotServing> {
    if let Some(stopped) = &shard.stopped {
        return Err(NotServing::Failed(stopped.clone()));
    }
    match shard.standing {
        _ if shard.restoring => Err(NotServing::Restoring),
        Standing::Primary if shard.lease_holds => Ok(()),
        Standing::Primary | Standing::Waiting => Err(NotServing::NoLease),
        Standing::Replica { leader: Some(_) } if shard.reads_closed => Err(NotServing::Behind),
        Standing::Replica { leader: Some(_) } => Ok(()),
        Standing::Replica { leader: None } => Err(NotServing::NoLeader),
        Standing::Stopped => Err(NotServing::Stopped),
    }
}
