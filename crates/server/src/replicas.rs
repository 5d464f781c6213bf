//! The shard replicas that run on this node, as everything outside of their threads sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_consensus::GroupControl;
use fastness_engine::Digest;
use fastness_shard::DigestError;
use fastness_types::{LogIndex, ShardId};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::replica::ToReplica;
use crate::resp_door::command::Snapshot;

/// How long a replica's thread may take to answer; it may be in the middle of a long command.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// One replica.
#[derive(Clone)]
pub struct Running {
    /// Its thread's mailbox.
    pub mailbox: mpsc::Sender<ToReplica>,
    /// Its Raft group.
    pub control: GroupControl,
}

/// All of them, by shard.
#[derive(Default)]
pub struct Replicas {
    by_shard: RwLock<BTreeMap<ShardId, Running>>,
}

impl Replicas {
    /// Enters one that was started.
    pub fn add(&self, shard: ShardId, replica: Running) {
        self.by_shard.write().insert(shard, replica);
    }

    /// The one of this shard.
    #[must_use]
    pub fn get(&self, shard: ShardId) -> Option<Running> {
        self.by_shard.read().get(&shard).cloned()
    }

    /// All, in order.
    #[must_use]
    pub fn all(&self) -> Vec<(ShardId, Running)> {
        self.by_shard.read().iter().map(|(shard, running)| (*shard, running.clone())).collect()
    }
}

impl Running {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> ToReplica) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.mailbox.send(question(answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(ANSWER_MAX, asked).await.ok().flatten()
    }

    /// Everything that metrics tell; `None` if the thread does not answer in time.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.ask(ToReplica::Snapshot).await
    }

    /// Asks for a snapshot; `None` if the thread does not answer in time.
    pub async fn make_snapshot(&self) -> Option<bool> {
        self.ask(ToReplica::MakeSnapshot).await
    }

    /// The digest of the committed data; `None` if the thread does not answer in time.
    pub async fn digest(&self) -> Option<Result<(LogIndex, Digest), DigestError>> {
        self.ask(ToReplica::Digest).await
    }
}
