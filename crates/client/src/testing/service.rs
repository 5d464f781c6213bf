//! The service of the mock: every call is recorded, meets its fault, and is run.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fastness_wire::v1::kv_service_server::KvService;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::topology_service_server::TopologyService;
use fastness_wire::v1::{self, PipelineRequest, PipelineResponse};
use futures::future::ready;
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

use super::fault::{MockFault, MockRefusal};
use super::keyspace::Keyspace;
use super::operations;
use crate::slots::SLOTS;

/// The availability zone of the mock.
const MOCK_AZ: &str = "a";
/// The only shard of the mock.
pub(super) const MOCK_SHARD: u32 = 1;

/// One call as the server has received it; of a pipeline, its opening (`pipeline`) and each of its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenCall {
    /// The name of the call: `get`, `set`, `hash_get`, `execute`, `txn`, `batch`, `pipeline`, `watch`, …
    pub name: &'static str,
    /// The keys that it names, in their order; of a command, its second word; of a watch, its keys, then its prefixes.
    pub keys: Vec<Bytes>,
    /// Its headers, for instance `grpc-timeout` and `authorization`; none for an operation of a pipeline.
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(super) struct MockState {
    pub(super) keys: Keyspace,
    /// What the next calls meet, one each.
    pub(super) next: VecDeque<MockFault>,
    /// What the calls after these meet.
    pub(super) always: Option<MockFault>,
    pub(super) calls: Vec<SeenCall>,
    pub(super) watches: WatchControl,
}

/// What the test says of watches, and which there are.
#[derive(Debug, Default)]
pub(super) struct WatchControl {
    /// What the next calls meet, one each.
    pub(super) next: VecDeque<MockFault>,
    /// How often all streams were cut.
    pub(super) cuts: u64,
    /// How many streams are open.
    pub(super) open: usize,
}

/// The state, which the test shares.
#[derive(Debug, Clone, Default)]
pub(super) struct MockService {
    pub(super) state: Arc<Mutex<MockState>>,
}

pub(super) fn text_headers(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let text = metadata.iter().filter_map(|header| match header {
        KeyAndValueRef::Ascii(name, value) => Some((name.to_string(), value.to_str().ok()?.to_owned())),
        KeyAndValueRef::Binary(..) => None,
    });
    text.collect()
}

fn name_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get(_) => "get",
        Operation::Set(_) => "set",
        Operation::Delete(_) => "delete",
        Operation::Increment(_) => "increment",
        Operation::Expire(_) => "expire",
        Operation::HashGet(_) => "hash_get",
        Operation::HashSet(_) => "hash_set",
        Operation::HashDelete(_) => "hash_delete",
        Operation::Execute(_) => "execute",
    }
}

/// Waits as long as a delay lasts, which is no fault to the caller then.
pub(super) async fn wait_out(fault: Option<MockFault>) -> Option<MockFault> {
    match fault {
        Some(MockFault::Delayed(span)) => {
            tokio::time::sleep(span).await;
            None
        }
        Some(MockFault::Hangs) => std::future::pending().await,
        fault => fault,
    }
}

impl MockService {
    /// Records a call and returns its fault, after its delay.
    async fn arrive(&self, call: SeenCall) -> Option<MockFault> {
        let fault = {
            let mut state = self.state.lock();
            state.calls.push(call);
            state.next.pop_front().or_else(|| state.always.clone())
        };
        wait_out(fault).await
    }

    /// Serves a call of one operation.
    async fn serve<Q>(&self, request: Request<Q>, operation: fn(Q) -> Operation) -> Result<Outcome, Status> {
        let headers = text_headers(request.metadata());
        let operation = operation(request.into_inner());
        let (name, keys) = (name_of(&operation), operations::keys_of(&operation));
        let fault = self.arrive(SeenCall { name, keys, headers }).await;
        operations::run_with(&mut self.state.lock().keys, Some(operation), fault).map_err(MockRefusal::status)
    }

    /// Serves a call of several operations, which may fail as a whole or in part.
    async fn serve_all<R>(
        &self,
        call: SeenCall,
        run: impl FnOnce(&mut Keyspace, Vec<Option<MockFault>>) -> Result<R, MockRefusal>,
    ) -> Result<Response<R>, Status> {
        let fault = self.arrive(call).await;
        let keys = &mut self.state.lock().keys;
        let applies = fault.as_ref().is_some_and(MockFault::is_applied);
        match fault {
            Some(MockFault::Within(faults)) => run(keys, faults),
            fault => match fault.and_then(MockFault::refusal) {
                None => run(keys, Vec::new()),
                Some(refusal) => {
                    if applies {
                        // Its own result is lost.
                        let _ = run(keys, Vec::new());
                    }
                    Err(refusal)
                }
            },
        }
        .map(Response::new)
        .map_err(MockRefusal::status)
    }

    /// Serves one operation of a pipeline; a status ends the stream.
    async fn serve_next(&self, request: Result<PipelineRequest, Status>) -> Result<PipelineResponse, Status> {
        let operation = request?.operation;
        let name = operation.as_ref().map_or("", name_of);
        let keys = operation.as_ref().map(operations::keys_of).unwrap_or_default();
        let fault = self.arrive(SeenCall { name, keys, headers: BTreeMap::new() }).await;
        let breaks = matches!(fault, Some(MockFault::Disconnected { .. }));
        let outcome = operations::run_with(&mut self.state.lock().keys, operation, fault);
        match outcome {
            Err(refusal) if breaks => Err(refusal.status()),
            outcome => Ok(operations::response(outcome)),
        }
    }
}

/// The response to a call of one operation.
fn answer<R>(outcome: Result<Outcome, Status>, read: fn(Outcome) -> Option<R>) -> Result<Response<R>, Status> {
    read(outcome?).map(Response::new).ok_or_else(|| Status::internal("an outcome of another kind"))
}

type MockResponses = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

#[tonic::async_trait]
impl KvService for MockService {
    type PipelineStream = MockResponses;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let outcome = self.serve(request, Operation::Get).await;
        answer(outcome, |outcome| if let Outcome::Get(response) = outcome { Some(response) } else { None })
    }

    async fn set(&self, request: Request<v1::SetRequest>) -> Result<Response<v1::SetResponse>, Status> {
        let outcome = self.serve(request, Operation::Set).await;
        answer(outcome, |outcome| if let Outcome::Set(response) = outcome { Some(response) } else { None })
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let outcome = self.serve(request, Operation::Delete).await;
        answer(outcome, |outcome| if let Outcome::Delete(response) = outcome { Some(response) } else { None })
    }

    async fn increment(
        &self,
        request: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        let outcome = self.serve(request, Operation::Increment).await;
        answer(outcome, |outcome| if let Outcome::Increment(response) = outcome { Some(response) } else { None })
    }

    async fn expire(&self, request: Request<v1::ExpireRequest>) -> Result<Response<v1::ExpireResponse>, Status> {
        let outcome = self.serve(request, Operation::Expire).await;
        answer(outcome, |outcome| if let Outcome::Expire(response) = outcome { Some(response) } else { None })
    }

    async fn hash_get(&self, request: Request<v1::HashGetRequest>) -> Result<Response<v1::HashGetResponse>, Status> {
        let outcome = self.serve(request, Operation::HashGet).await;
        answer(outcome, |outcome| if let Outcome::HashGet(response) = outcome { Some(response) } else { None })
    }

    async fn hash_set(&self, request: Request<v1::HashSetRequest>) -> Result<Response<v1::HashSetResponse>, Status> {
        let outcome = self.serve(request, Operation::HashSet).await;
        answer(outcome, |outcome| if let Outcome::HashSet(response) = outcome { Some(response) } else { None })
    }

    async fn hash_delete(
        &self,
        request: Request<v1::HashDeleteRequest>,
    ) -> Result<Response<v1::HashDeleteResponse>, Status> {
        let outcome = self.serve(request, Operation::HashDelete).await;
        answer(outcome, |outcome| if let Outcome::HashDelete(response) = outcome { Some(response) } else { None })
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let outcome = self.serve(request, Operation::Execute).await;
        answer(outcome, |outcome| if let Outcome::Execute(response) = outcome { Some(response) } else { None })
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let headers = text_headers(request.metadata());
        let request = request.into_inner();
        let compared = request.compares.iter().map(|compare| compare.key.clone());
        let keys = compared.chain(operations::keys_of_all(&request.operations)).collect();
        let call = SeenCall { name: "txn", keys, headers };
        self.serve_all(call, |keys, faults| operations::transact(keys, request, faults)).await
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let headers = text_headers(request.metadata());
        let operations = request.into_inner().operations;
        let call = SeenCall { name: "batch", keys: operations::keys_of_all(&operations), headers };
        let run = |keys: &mut Keyspace, faults| {
            Ok(v1::BatchResponse { responses: operations::run_all(keys, operations, faults) })
        };
        self.serve_all(call, run).await
    }

    async fn pipeline(&self, request: Request<Streaming<PipelineRequest>>) -> Result<Response<MockResponses>, Status> {
        let headers = text_headers(request.metadata());
        self.state.lock().calls.push(SeenCall { name: "pipeline", keys: Vec::new(), headers });
        let service = self.clone();
        let responses = request.into_inner().then(move |request| {
            let service = service.clone();
            async move { service.serve_next(request).await }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// The topology of one node, which has a replica of all slots. It names no primary: redirects that a test scripts stay
/// learned. The call is not recorded, and meets no fault.
#[derive(Debug)]
pub(super) struct MockTopology {
    pub(super) address: String,
}

type MockTopologies = Pin<Box<dyn Stream<Item = Result<v1::WatchTopologyResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TopologyService for MockTopology {
    type WatchTopologyStream = MockTopologies;

    async fn watch_topology(&self, _: Request<v1::WatchTopologyRequest>) -> Result<Response<MockTopologies>, Status> {
        let (address, availability_zone) = (self.address.clone(), MOCK_AZ.to_owned());
        let topology = v1::Topology {
            cluster: vec![0; 16].into(),
            map_version: 1,
            nodes: vec![v1::TopologyNode { id: 1, address, availability_zone }],
            shards: vec![v1::TopologyShard {
                id: MOCK_SHARD,
                first_slot: 0,
                last_slot: u32::from(SLOTS - 1),
                members: vec![v1::TopologyMember { node: 1, serves_reads: true }],
                primary: 0,
            }],
        };
        let first = v1::WatchTopologyResponse { topology: Some(topology) };
        Ok(Response::new(Box::pin(stream::once(ready(Ok(first))).chain(stream::pending()))))
    }
}
