//! The shard replicas that run on this node, as the rest of the process sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastness_consensus::GroupControl;
use fastness_shard::DigestResult;
use fastness_types::ShardId;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::mailbox::{CommittedValues, ToReplica};
use crate::resp_server::activity::{Activity, ActivityBounds};
use crate::resp_server::snapshot::Snapshot;

/// Longest time for a replica's thread to answer; it may be executing a long command.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Longest time for a digest: every key is read, a slice at a time.
const DIGEST_MAX: Duration = Duration::from_secs(100);

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
    /// Adds one that was started.
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
    async fn request<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> ToReplica) -> Option<T> {
        self.request_within(ANSWER_MAX, question).await
    }

    async fn request_within<T>(
        &self,
        time_max: Duration,
        question: impl FnOnce(oneshot::Sender<T>) -> ToReplica,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.mailbox.send(question(answer)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(time_max, exchange).await.ok().flatten()
    }

    /// The replica's figures for metrics; `None` if the thread does not answer in time.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        self.request(ToReplica::Snapshot).await
    }

    /// The same with slots and slow commands; `None` if the thread does not answer in time.
    pub async fn activity(&self, bounds: ActivityBounds) -> Option<Activity> {
        self.request(|answer| ToReplica::Activity(bounds, answer)).await
    }

    /// Reads what is committed at keys, each if it has at most so many bytes; `None` if the replica is not serving, or
    /// does not answer in time.
    pub async fn values(&self, keys: Vec<Bytes>, bytes_max: usize) -> CommittedValues {
        self.request(|answer| ToReplica::Values(keys, bytes_max, answer)).await.flatten()
    }

    /// Asks for a snapshot; `None` if the thread does not answer in time.
    pub async fn make_snapshot(&self) -> Option<bool> {
        self.request(ToReplica::MakeSnapshot).await
    }

    /// The digest of the committed data, which is computed in slices beside the commands; `None` if it is not ready in
    /// time. Dropping the future cancels it.
    pub async fn digest(&self) -> Option<DigestResult> {
        self.request_within(DIGEST_MAX, ToReplica::Digest).await
    }
}
