//! Runs operations on the replicas of this node.

use std::sync::Arc;

use fastness_engine::command::CommandTable;
use fastness_resp::Value;
use fastness_types::{NodeId, ShardId, Slot};
use fastness_wire::v1;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use prost::Message as _;
use tonic::Code;
use tonic::transport::ClientTlsConfig;

use super::forward::Forwarder;
use super::lane::{Caller, Lane, LaneError, LaneKind, dropped, not_served};
use super::operation::{Prepared, Target, prepare};
use super::refusal::{ApiRefusal, reason};
use crate::certificates::Newest;
use crate::replicas::{Replicas, Running};
use crate::shared::NodeShared;

/// See the module.
#[derive(Clone)]
pub struct Gateway {
    pub(super) node: Arc<NodeShared>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) commands: &'static CommandTable,
    pub(super) forwarder: Arc<Forwarder>,
}

impl Gateway {
    /// For all services of a node. `to_nodes` has its certificate.
    #[must_use]
    pub fn new(node: Arc<NodeShared>, replicas: Arc<Replicas>, to_nodes: Newest<ClientTlsConfig>) -> Gateway {
        let forwarder = Arc::new(Forwarder::new(node.clone(), to_nodes));
        Gateway { node, replicas, commands: crate::resp_server::command::table(), forwarder }
    }

    /// Runs one operation, here or where it is served.
    pub(super) async fn run(&self, caller: &Caller, operation: Operation) -> Result<Outcome, ApiRefusal> {
        let forwarding = Forwarding::of(caller, &operation);
        let outcome = self.run_here(caller, operation).await;
        self.or_forward(caller, outcome, forwarding).await
    }

    /// The outcome, or that of the operation where a refusal has named the node to call.
    pub(super) async fn or_forward(
        &self,
        caller: &Caller,
        outcome: Result<Outcome, ApiRefusal>,
        forwarding: Option<Forwarding>,
    ) -> Result<Outcome, ApiRefusal> {
        match (outcome, forwarding) {
            (Err(refusal), Some(Forwarding(operation))) if refusal.reason == "MOVED" => {
                let writes = self.prepare(operation.clone())?.writes;
                self.forwarder.run(caller, &refusal, operation, writes).await
            }
            (outcome, _) => outcome,
        }
    }

    async fn run_here(&self, caller: &Caller, operation: Operation) -> Result<Outcome, ApiRefusal> {
        let prepared = self.prepare(operation)?.due_by(caller.deadline()).within(caller.trace_parent);
        let (shard, replica) = self.replica(prepared.target)?;
        let mut lane = self.lane(caller, (shard, LaneKind::of(&prepared)), &replica).await?;
        let commands = prepared.commands();
        match lane.exchange(&commands.encoded(), commands.count, caller).await {
            Ok(replies) => {
                caller.lanes.keep(lane);
                self.outcome(prepared, replies)
            }
            Err(error) => Err(failed(prepared.writes, shard, error)),
        }
    }

    pub(super) fn prepare(&self, operation: Operation) -> Result<Prepared, ApiRefusal> {
        prepare(operation, self.commands)
    }

    /// The response that the replies are; MOVED has the address to call.
    pub(super) fn outcome(&self, prepared: Prepared, replies: Vec<Value>) -> Result<Outcome, ApiRefusal> {
        let target = prepared.target;
        prepared.outcome(replies).map_err(|refusal| self.located(target, refusal))
    }

    /// A refusal of a replica; MOVED with the address to call.
    pub(super) fn located(&self, target: Target, refusal: ApiRefusal) -> ApiRefusal {
        match target {
            Target::Slot(slot) if refusal.reason == "MOVED" => self.moved(slot),
            _ => refusal,
        }
    }

    /// A lane to a replica of this node.
    pub(super) async fn lane(
        &self,
        caller: &Caller,
        to: (ShardId, LaneKind),
        replica: &Running,
    ) -> Result<Lane, ApiRefusal> {
        match caller.lanes.take(to, &caller.account) {
            Some(lane) => Ok(lane),
            None => Lane::open(&self.node, replica, to, caller).await,
        }
    }

    /// The replica of this node that runs an operation. Whether it is the primary, it knows itself.
    pub(super) fn replica(&self, target: Target) -> Result<(ShardId, Running), ApiRefusal> {
        match target {
            Target::Slot(slot) => {
                let shard = self.shard_of(slot)?;
                self.replicas.get(shard).map(|running| (shard, running)).ok_or_else(|| self.moved(slot))
            }
            Target::Replica(Some(shard)) => {
                self.replicas.get(shard).map(|running| (shard, running)).ok_or_else(|| not_served(shard))
            }
            Target::Replica(None) => {
                let all = self.replicas.all();
                let own = all.iter().find(|(shard, _)| self.node.leader(*shard) == Some(self.node.node));
                own.or(all.first())
                    .cloned()
                    .ok_or_else(|| ApiRefusal::unavailable(reason::NOT_SERVED, "this node has no replica"))
            }
        }
    }

    pub(super) fn shard_of(&self, slot: Slot) -> Result<ShardId, ApiRefusal> {
        let map = self.node.map.load();
        let shard = map.as_ref().and_then(|map| map.shard_of(slot)).map(|shard| shard.id);
        shard.ok_or_else(|| ApiRefusal::unavailable(reason::NOT_SERVED, "the cluster is not created yet"))
    }

    /// The refusal that names the node which serves the slot.
    pub(super) fn moved(&self, slot: Slot) -> ApiRefusal {
        let shard = match self.shard_of(slot) {
            Ok(shard) => shard,
            Err(refusal) => return refusal,
        };
        let map = self.node.map.load();
        // As long as nobody is known to lead, another member may know.
        let other = |node: &NodeId| *node != self.node.node;
        let leader = self.node.leader(shard).filter(other);
        let preferred = || map.as_ref()?.shard(shard)?.members.iter().copied().find(other);
        let to = leader.or_else(preferred);
        let address = to.and_then(|to| Some(map.as_ref()?.node(to)?.grpc_address.clone()));
        let (Some(to), Some(address)) = (to, address) else {
            return ApiRefusal::unavailable("CLUSTERDOWN", "The cluster is down");
        };
        let slots = map.as_ref().and_then(|map| map.shard(shard)).map(|shard| (shard.first.0, shard.last.0));
        let (first, last) = slots.unwrap_or((slot.0, slot.0));
        ApiRefusal::new(Code::FailedPrecondition, "MOVED", format!("MOVED {} {address}", slot.0))
            .with("slot", slot.0)
            .with("shard", shard)
            // Whoever learns one slot's place learns that of the whole shard.
            .with("slots", format!("{first}-{last}"))
            .with("node", to)
            .with("address", address)
    }
}

/// An operation that is passed on if it is served elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Forwarding(Operation);

impl Forwarding {
    /// How long its message is.
    pub(super) fn bytes(&self) -> usize {
        v1::PipelineRequest { operation: Some(self.0.clone()) }.encoded_len()
    }

    /// `None`: its caller follows MOVED, or it was forwarded before.
    pub(super) fn of(caller: &Caller, operation: &Operation) -> Option<Forwarding> {
        let forwards = operation.options().as_ref().is_some_and(|options| options.forward);
        (forwards && !caller.is_forwarded).then(|| Forwarding(operation.clone()))
    }
}

/// Why an operation, which may have changed data, has no response.
pub(super) fn failed(writes: bool, shard: ShardId, error: LaneError) -> ApiRefusal {
    match error {
        LaneError::NoMemory | LaneError::TooLong => dropped(error),
        LaneError::Closed if writes => {
            ApiRefusal::unknown("the connection to the replica was closed before the write was answered")
        }
        LaneError::Closed => not_served(shard),
    }
}
