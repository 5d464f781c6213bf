//! The calls of the data API.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_connection::attribute::TraceParent;
use fastness_types::Clock;
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use fastness_wire::admin::v1::admin_service_server;
use fastness_wire::codec::OPERATION_BYTES;
use fastness_wire::v1::kv_service_server::{self, KvService, KvServiceServer};
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{
    BatchRequest, BatchResponse, DeleteRequest, DeleteResponse, ExecuteRequest, ExecuteResponse, ExpireRequest,
    ExpireResponse, GetRequest, GetResponse, HashDeleteRequest, HashDeleteResponse, HashGetRequest, HashGetResponse,
    HashSetRequest, HashSetResponse, IncrementRequest, IncrementResponse, PipelineRequest, PipelineResponse,
    SetRequest, SetResponse, TxnRequest, TxnResponse,
};
use fastness_wire::v1::{topology_service_server, watch_service_server};
use futures::Stream;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use super::forward::Forwarded;
use super::gateway::Gateway;
use super::guard::{ApiGuard, addresses};
use super::lane::Caller;
use super::memory::{MessageMemory, Metered, Reservations};
use super::operation::{TRACE_PARENT, elements_bytes};
use super::pipeline::AnswerStream;
use super::refusal::{ApiRefusal, reason};
use super::{pipeline, transaction};
use crate::accounts::Account;
use crate::grpc_accept::GrpcConnectInfo;

/// Responses of a stream that wait for the client.
const RESPONSES_MAX: usize = 16;

/// The service.
pub struct KvServer {
    gateway: Gateway,
    memory: Arc<MessageMemory>,
}

impl KvServer {
    /// As a tonic service that checks every caller.
    #[must_use]
    pub fn service(
        gateway: Gateway,
        clock: Arc<dyn Clock>,
    ) -> InterceptedService<Metered<KvServiceServer<KvServer>>, ApiGuard> {
        let guard = ApiGuard::new(gateway.node.clone(), clock);
        let memory = gateway.node.messages.clone();
        let server = KvServiceServer::new(KvServer { gateway, memory: memory.clone() })
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(2 * GRPC_MESSAGE_BYTES_MAX);
        InterceptedService::new(Metered { inner: server, memory }, guard)
    }
}

/// Describes the services of the port to tools: the data API and administration.
///
/// # Errors
/// The descriptors cannot be read: a defect of the build.
pub fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fastness_wire::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(kv_service_server::SERVICE_NAME)
        .with_service_name(watch_service_server::SERVICE_NAME)
        .with_service_name(topology_service_server::SERVICE_NAME)
        .with_service_name(admin_service_server::SERVICE_NAME)
        .with_service_name(tonic_health::pb::health_server::SERVICE_NAME)
        .build_v1()
}

/// Who calls. The guard has let it in as a user.
pub(super) fn caller<T>(request: &Request<T>, memory: &Arc<MessageMemory>) -> Result<Caller, Status> {
    let info = request.extensions().get::<TlsConnectInfo<GrpcConnectInfo>>().map(TlsConnectInfo::get_ref);
    let lanes = info.map(|info| info.lanes.clone()).unwrap_or_default();
    let account = request.extensions().get::<Arc<Account>>().cloned();
    let account = account.ok_or_else(|| Status::internal("the call has no user"))?;
    let held = request.extensions().get::<Reservations>().cloned().unwrap_or_default();
    let is_forwarded = request.extensions().get::<Forwarded>().is_some();
    let until = timeout(request).and_then(|left| Instant::now().checked_add(left));
    let trace_parent = request.metadata().get(TRACE_PARENT).and_then(|parent| TraceParent::parse(parent.as_bytes()));
    let (addresses, memory) = (addresses(info), memory.clone());
    Ok(Caller { account, lanes, addresses, memory, held, is_forwarded, until, trace_parent })
}

/// How long the client waits: the header `grpc-timeout`, a number of up to eight digits and a unit.
fn timeout<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The response of this kind.
macro_rules! response {
    ($kind:ident) => {
        |outcome| match outcome {
            Outcome::$kind(response) => Some(response),
            _ => None,
        }
    };
}

impl KvServer {
    /// A call of one operation: its request and response are those of a stream.
    async fn unary<Q, R>(
        &self,
        request: Request<Q>,
        operation: fn(Q) -> Operation,
        response: fn(Outcome) -> Option<R>,
    ) -> Result<Response<R>, Status> {
        let caller = caller(&request, &self.memory)?;
        let operation = operation(request.into_inner());
        caller.held.keep(self.memory.reserve_elements(elements_bytes(&operation))?);
        let outcome = self.gateway.run(&caller, operation).await?;
        let other = || Status::internal("the response is of another kind than the request");
        response(outcome).map(Response::new).ok_or_else(other)
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

#[tonic::async_trait]
impl KvService for KvServer {
    type PipelineStream = Responses;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.unary(request, Operation::Get, response!(Get)).await
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        self.unary(request, Operation::Set, response!(Set)).await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.unary(request, Operation::Delete, response!(Delete)).await
    }

    async fn increment(&self, request: Request<IncrementRequest>) -> Result<Response<IncrementResponse>, Status> {
        self.unary(request, Operation::Increment, response!(Increment)).await
    }

    async fn expire(&self, request: Request<ExpireRequest>) -> Result<Response<ExpireResponse>, Status> {
        self.unary(request, Operation::Expire, response!(Expire)).await
    }

    async fn hash_get(&self, request: Request<HashGetRequest>) -> Result<Response<HashGetResponse>, Status> {
        self.unary(request, Operation::HashGet, response!(HashGet)).await
    }

    async fn hash_set(&self, request: Request<HashSetRequest>) -> Result<Response<HashSetResponse>, Status> {
        self.unary(request, Operation::HashSet, response!(HashSet)).await
    }

    async fn hash_delete(&self, request: Request<HashDeleteRequest>) -> Result<Response<HashDeleteResponse>, Status> {
        self.unary(request, Operation::HashDelete, response!(HashDelete)).await
    }

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        self.unary(request, Operation::Execute, response!(Execute)).await
    }

    async fn pipeline(&self, request: Request<Streaming<PipelineRequest>>) -> Result<Response<Responses>, Status> {
        let caller = caller(&request, &self.memory)?;
        let (to_client, responses) = mpsc::channel(RESPONSES_MAX);
        tokio::spawn(pipeline::run(self.gateway.clone(), caller, request.into_inner(), to_client));
        Ok(Response::new(Box::pin(AnswerStream::new(responses))))
    }

    async fn batch(&self, request: Request<BatchRequest>) -> Result<Response<BatchResponse>, Status> {
        let caller = caller(&request, &self.memory)?;
        let held = caller.held.clone();
        let operations = request.into_inner().operations;
        held.keep(self.memory.reserve_elements(operations.len() * OPERATION_BYTES)?);
        let (to_client, mut responses) = mpsc::channel(RESPONSES_MAX);
        let requests = futures::stream::iter(operations.into_iter().map(Ok));
        let run = pipeline::run(self.gateway.clone(), caller, requests, to_client);
        let collect = async {
            let (mut all, mut bytes) = (Vec::new(), 0);
            while let Some((response, kept)) = responses.recv().await {
                let mut response = response?;
                kept.of_node.into_iter().for_each(|permit| held.keep(Some(permit)));
                bytes += response.encoded_len();
                if bytes > GRPC_MESSAGE_BYTES_MAX {
                    let text = format!("all responses together are longer than {GRPC_MESSAGE_BYTES_MAX} bytes");
                    let refusal = ApiRefusal::new(Code::ResourceExhausted, reason::REPLY_TOO_LONG, text);
                    response.outcome = Some(Outcome::Error(refusal.into()));
                }
                all.push(response);
            }
            Ok::<_, Status>(all)
        };
        let ((), responses) = tokio::join!(run, collect);
        Ok(Response::new(BatchResponse { responses: responses? }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let caller = caller(&request, &self.memory)?;
        let request = request.into_inner();
        caller.held.keep(self.memory.reserve_elements(transaction::elements_bytes(&request))?);
        Ok(Response::new(transaction::run(&self.gateway, &caller, request).await?))
    }
}
