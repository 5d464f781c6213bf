//! What all clones of a client share, and how one call runs: which node is called, and what follows a failure.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::channels::{ChannelPool, NodeChannel};
use crate::error::{CONNECTION_LOST, ClientError, NOT_CONNECTED};
use crate::follower::TopologyFollower;
use crate::idempotency::{HasOptions, KeySource};
use crate::observe::{CallObserver, CallRecord};
use crate::retry::{RetryBudget, RetryOptions};
use crate::routes::{choose_replica, routes};
use crate::settings::ReadConsistency;
use crate::slots::{LearnedMap, SlotTable};
use crate::verdict::{CallKind, Disposition, disposition, timed_out};

/// How many nodes one try follows that name each other.
pub(crate) const REDIRECTS_MAX: usize = 5;
/// How long a replica may take to answer before the primary is called.
const REPLICA_TIME_MAX: Duration = Duration::from_secs(1);
/// The reason of a request that is wrong.
const INVALID_REQUEST: &str = "INVALID_REQUEST";
/// Longest response, in bytes: above what a server sends (a reply of 16 MiB in its longest encoding).
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// No call takes longer, whatever its deadline: timers and the header `grpc-timeout` have bounds of their own.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The generated client of one node.
pub(crate) type NodeClient = KvServiceClient<NodeChannel>;

/// What a call is named, where it goes, what it does, and when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallPlan {
    pub(crate) operation: &'static str,
    pub(crate) kind: CallKind,
    /// The slot of its key; absent: any node runs it.
    pub(crate) slot: Option<u16>,
    /// The deadline of the whole call.
    pub(crate) until: Instant,
    /// Who answers it, if it reads.
    pub(crate) consistency: ReadConsistency,
    /// Whether its idempotency key may be replaced by a new one, as long as nothing can have happened.
    pub(crate) renews_key: bool,
}

/// See the module.
pub(crate) struct ClientCore {
    pub(crate) pool: ChannelPool,
    pub(crate) slots: RwLock<SlotTable>,
    /// Where the client runs.
    pub(crate) az: Option<String>,
    /// Reads that went to replicas, so that they take turns.
    pub(crate) reads: AtomicUsize,
    pub(crate) topology: TopologyFollower,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) retries: RetryOptions,
    pub(crate) budget: RetryBudget,
    /// The deadline of calls that have none of their own.
    pub(crate) deadline: Duration,
    /// How many bytes of results a pipeline, or of events a watch, holds for its caller.
    pub(crate) held_bytes: usize,
    pub(crate) observer: Option<Arc<dyn CallObserver>>,
    pub(crate) keys: KeySource,
}

/// Why a try has failed.
struct FailedTry {
    error: ClientError,
    /// When trying again is safe: the shortest wait before it.
    again_after: Option<Duration>,
}

impl From<ClientError> for FailedTry {
    fn from(error: ClientError) -> FailedTry {
        FailedTry { error, again_after: None }
    }
}

/// Whether this side made the error, because the node gave no answer.
fn is_unanswered(error: &ClientError) -> bool {
    matches!(error.reason(), NOT_CONNECTED | CONNECTION_LOST | "DEADLINE_EXCEEDED")
}

/// Whether a write may have happened by a try before the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EarlierTries {
    pub(crate) may_have_happened: bool,
}

impl EarlierTries {
    /// The error of all tries, after one more has failed: what an earlier try may have done, a refusal of a later one
    /// has not undone.
    pub(crate) fn add(&mut self, error: ClientError) -> ClientError {
        if error.may_have_happened() {
            self.may_have_happened = true;
            return error;
        }
        if !self.may_have_happened {
            return error;
        }
        ClientError::OutcomeUnknown { message: format!("an earlier try was not answered, and then: {error}") }
    }
}

impl ClientCore {
    /// Runs a call: tries until one succeeds, fails for good, or neither the deadline nor the budget allows another.
    pub(crate) async fn call<Q, R, F>(
        &self,
        plan: CallPlan,
        request: Q,
        send: impl Fn(NodeClient, Request<Q>) -> F,
    ) -> Result<R, ClientError>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut record = CallRecord::begin(self.observer.clone(), plan.operation);
        let result = self.run(plan, request, send, &mut record).await;
        record.finish(result.as_ref().err());
        result
    }

    async fn run<Q, R, F>(
        &self,
        plan: CallPlan,
        mut request: Q,
        send: impl Fn(NodeClient, Request<Q>) -> F,
        record: &mut CallRecord,
    ) -> Result<R, ClientError>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.budget.add_call();
        let mut retries = 0;
        let mut earlier = EarlierTries::default();
        loop {
            let mut failed = match self.attempt(plan, &request, &send, record).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if let Some(above) = failed.error.key_is_past() {
                self.keys.raise(above);
                if plan.renews_key && !earlier.may_have_happened {
                    if let Some(options) = request.options_mut() {
                        options.idempotency_key = Some(self.keys.next().message());
                    }
                    failed.again_after = Some(Duration::ZERO);
                }
            }
            let after = failed.again_after;
            let error = earlier.add(failed.error);
            let Some(after) = after else { return Err(error) };
            let Some(wait) = self.next_try(plan.until, retries, after) else { return Err(error) };
            tokio::time::sleep(wait).await;
            retries += 1;
        }
    }

    /// How long to wait before the next try, at least `after`; absent if there must be none.
    pub(crate) fn next_try(&self, until: Instant, retries: u32, after: Duration) -> Option<Duration> {
        let wait = self.retries.wait(retries, rand::random::<f64>(), after);
        // Whatever would be tried after the deadline is not waited for; nothing is under way.
        let in_time = wait < until.saturating_duration_since(Instant::now());
        (in_time && self.budget.take()).then_some(wait)
    }

    /// One try: calls the node that is known to serve the slot, and those that it and others name.
    async fn attempt<Q, R, F>(
        &self,
        plan: CallPlan,
        request: &Q,
        send: &impl Fn(NodeClient, Request<Q>) -> F,
        record: &mut CallRecord,
    ) -> Result<R, FailedTry>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        if let Some(replica) = self.replica(plan)
            && let Some(answered) = self.ask_replica(plan, &replica, request, send, record).await
        {
            return answered.map_err(FailedTry::from);
        }
        let mut address = self.address(plan.slot);
        let mut redirects = 0;
        loop {
            let node = self.node(&address)?;
            let span = record.attempt(&address, self.shard(plan.slot));
            let sent = send(node, self.request(request.clone(), plan.until)).instrument(span.clone());
            let Ok(outcome) = tokio::time::timeout_at(plan.until, sent).await else {
                span.record("outcome", "timeout");
                self.lost(plan.slot, &address);
                self.pool.silent(&address);
                return Err(timed_out(plan.kind, &address).into());
            };
            let status = match outcome {
                Ok(response) => {
                    span.record("outcome", "ok");
                    return Ok(response.into_inner());
                }
                Err(status) => status,
            };
            span.record("outcome", tracing::field::debug(status.code()));
            match disposition(plan.kind, &status) {
                Disposition::Moved { address: next, slots, shard, error, .. } => {
                    if let Some(slots) = slots {
                        self.slots.write().learn(slots, next.clone(), shard);
                    }
                    redirects += 1;
                    if redirects > REDIRECTS_MAX {
                        self.forget(plan.slot, &next);
                        return Err(FailedTry { error, again_after: Some(Duration::ZERO) });
                    }
                    address = next;
                }
                Disposition::Contended { after, error } => {
                    return Err(FailedTry { error, again_after: Some(after) });
                }
                Disposition::Again { after, error } => {
                    self.lost(plan.slot, &address);
                    if is_unanswered(&error) {
                        self.pool.silent(&address);
                    }
                    return Err(FailedTry { error, again_after: Some(after) });
                }
                Disposition::Lost(error) => {
                    self.lost(plan.slot, &address);
                    return Err(error.into());
                }
                Disposition::Refused(error) => return Err(error.into()),
            }
        }
    }

    /// The replica that a call goes to first; absent: it goes to the primary.
    fn replica(&self, plan: CallPlan) -> Option<Arc<str>> {
        if plan.kind != CallKind::Read
            || matches!(plan.consistency, ReadConsistency::Primary | ReadConsistency::Linearizable)
        {
            return None;
        }
        let slot = plan.slot?;
        let (primary, members) = {
            let table = self.slots.read();
            (table.address(slot).cloned(), table.members(slot)?.clone())
        };
        let turn = self.reads.fetch_add(1, Ordering::Relaxed);
        let of = (primary.as_ref(), &*members);
        choose_replica(plan.consistency, self.az.as_deref(), of, turn, |address| self.pool.is_silent(address))
    }

    /// Lets a replica answer a read; absent: it cannot, and the primary is to be called.
    async fn ask_replica<Q, R, F>(
        &self,
        plan: CallPlan,
        replica: &Arc<str>,
        request: &Q,
        send: &impl Fn(NodeClient, Request<Q>) -> F,
        record: &mut CallRecord,
    ) -> Option<Result<R, ClientError>>
    where
        Q: Clone + HasOptions,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let node = self.node(replica).ok()?;
        let mut request = request.clone();
        let options = request.options_mut().get_or_insert_default();
        options.set_consistency(v1::Consistency::Replica);
        options.max_staleness_ms = plan.consistency.staleness_ms();
        let now = Instant::now();
        // The primary gets the other half.
        let until = now + (plan.until.saturating_duration_since(now) / 2).min(REPLICA_TIME_MAX);
        let span = record.attempt(replica, self.shard(plan.slot));
        let sent = send(node, self.request(request, until)).instrument(span.clone());
        let Ok(outcome) = tokio::time::timeout_at(until, sent).await else {
            span.record("outcome", "timeout");
            self.pool.silent(replica);
            return None;
        };
        let status = match outcome {
            Ok(response) => {
                span.record("outcome", "ok");
                return Some(Ok(response.into_inner()));
            }
            Err(status) => status,
        };
        span.record("outcome", tracing::field::debug(status.code()));
        match disposition(plan.kind, &status) {
            // A node of an older version does not know reads on replicas.
            Disposition::Refused(error) if error.reason() != INVALID_REQUEST => return Some(Err(error)),
            Disposition::Moved { address, slots: Some(slots), shard, .. } => {
                self.slots.write().learn(slots, address, shard);
            }
            Disposition::Again { error, .. } | Disposition::Lost(error) if is_unanswered(&error) => {
                self.pool.silent(replica);
            }
            _ => {}
        }
        None
    }

    /// Learns from a topology; `false`: it is of an older map.
    pub(crate) fn learn(&self, topology: &v1::Topology) -> bool {
        let map = LearnedMap { cluster: topology.cluster.to_vec(), version: topology.map_version };
        let is_newer = self.slots.write().follow(map, routes(topology));
        if is_newer {
            let addresses = topology.nodes.iter().filter(|node| !node.address.is_empty());
            addresses.for_each(|node| self.pool.know(&node.address.as_str().into()));
        }
        is_newer
    }

    /// The generated client of a node.
    ///
    /// # Errors
    /// The address is not valid.
    pub(crate) fn node(&self, address: &Arc<str>) -> Result<NodeClient, ClientError> {
        Ok(NodeClient::new(self.pool.channel(address)?).max_decoding_message_size(RESPONSE_BYTES_MAX))
    }

    /// The node to call: the one that was learned, or the next in turn.
    fn address(&self, slot: Option<u16>) -> Arc<str> {
        let learned = slot.and_then(|slot| self.slots.read().address(slot).cloned());
        learned.unwrap_or_else(|| self.pool.any())
    }

    /// The shard of a slot, as far as it was learned.
    pub(crate) fn shard(&self, slot: Option<u16>) -> Option<u32> {
        self.slots.read().shard(slot?)
    }

    pub(crate) fn forget(&self, slot: Option<u16>, address: &str) {
        if let Some(slot) = slot {
            self.slots.write().forget(slot, address);
        }
    }

    /// The node has not answered, or could not: the next try goes to another one.
    pub(crate) fn lost(&self, slot: Option<u16>, address: &str) {
        self.forget(slot, address);
        self.pool.failed(address);
    }

    /// A request with the remaining time, and with user and password.
    pub(crate) fn request<Q>(&self, message: Q, until: Instant) -> Request<Q> {
        let mut request = self.authorized(message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        request
    }

    /// A request with user and password.
    pub(crate) fn authorized<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}
