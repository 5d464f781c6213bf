//! A node that answers as a test tells it to, on a loopback port, and a proxy that breaks connections.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastness_wire::v1::compare::Condition;
use fastness_wire::v1::kv_service_server::{KvService, KvServiceServer};
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, PipelineRequest, PipelineResponse, set_request};
use futures::Stream;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a node does with one call.
#[derive(Clone)]
pub enum Script {
    /// Refuses it with MOVED: to this address, for these slots.
    Moved(String, &'static str),
    /// Refuses it with this code, reason and RetryInfo.
    Refuse(Code, &'static str, Option<Duration>),
    /// Never answers.
    Hang,
    /// Answers a batch: an operation for which there is a script fails with it, the others succeed.
    Within(Vec<Option<Script>>),
}

/// One call as the node has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCall {
    /// The name of the call.
    pub name: &'static str,
    /// The header `grpc-timeout`.
    pub timeout: String,
    /// The header `authorization`.
    pub authorization: Option<String>,
}

#[derive(Default)]
struct NodeState {
    script: VecDeque<Script>,
    /// What calls after the script's end meet; absent: they succeed.
    always: Option<Script>,
    calls: Vec<SeenCall>,
    values: HashMap<Vec<u8>, bytes::Bytes>,
    /// The keys of each batch.
    batches: Vec<Vec<String>>,
}

/// A running node.
#[derive(Clone)]
pub struct MockNode {
    pub address: String,
    state: Arc<Mutex<NodeState>>,
}

struct MockService(Arc<Mutex<NodeState>>);

impl MockNode {
    pub async fn start() -> MockNode {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(NodeState::default()));
        let service = KvServiceServer::new(MockService(state.clone()));
        let server = Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener));
        tokio::spawn(async move { server.await.unwrap() });
        MockNode { address, state }
    }

    /// The next calls meet these, one each.
    pub fn script(&self, steps: impl IntoIterator<Item = Script>) {
        self.state.lock().unwrap().script.extend(steps);
    }

    /// All calls after the script meet this.
    pub fn always(&self, step: Script) {
        self.state.lock().unwrap().always = Some(step);
    }

    pub fn calls(&self) -> Vec<SeenCall> {
        self.state.lock().unwrap().calls.clone()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.calls().into_iter().map(|call| call.name).collect()
    }

    pub fn batches(&self) -> Vec<Vec<String>> {
        self.state.lock().unwrap().batches.clone()
    }

    pub fn put(&self, key: &str, value: &str) {
        let value = bytes::Bytes::copy_from_slice(value.as_bytes());
        self.state.lock().unwrap().values.insert(key.as_bytes().to_vec(), value);
    }

    pub fn has(&self, key: &str) -> bool {
        self.state.lock().unwrap().values.contains_key(key.as_bytes())
    }
}

fn status(code: Code, reason: &str, metadata: HashMap<String, String>, retry: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "fastness", metadata);
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code, format!("{reason} text"), details)
}

impl Script {
    /// As the error of one operation.
    fn error(self) -> v1::Error {
        let (code, reason, retry, metadata) = match self {
            Script::Moved(address, slots) => {
                let metadata = [("address".to_owned(), address), ("slots".to_owned(), slots.to_owned())];
                (Code::FailedPrecondition, "MOVED", None, metadata.into_iter().collect())
            }
            Script::Refuse(code, reason, retry) => (code, reason, retry, Default::default()),
            Script::Hang | Script::Within(_) => panic!("not for one operation"),
        };
        let retry_after_ms = retry.map(|retry| retry.as_millis() as u64);
        v1::Error { code: code as i32, reason: reason.into(), message: "text".into(), metadata, retry_after_ms }
    }
}

fn key_of(operation: &PipelineRequest) -> String {
    let key = match operation.operation.as_ref().unwrap() {
        Operation::Get(request) => &request.key,
        Operation::Set(request) => &request.key,
        Operation::Execute(request) => &request.args[0],
        other => panic!("{other:?}"),
    };
    String::from_utf8(key.to_vec()).unwrap()
}

impl NodeState {
    fn get(&self, request: &v1::GetRequest) -> v1::GetResponse {
        v1::GetResponse { value: self.values.get(&request.key[..]).cloned(), ttl_ms: None }
    }

    fn set(&mut self, request: v1::SetRequest) -> v1::SetResponse {
        let found = self.values.get(&request.key[..]);
        let applied = match request.condition {
            None => true,
            Some(set_request::Condition::IfAbsent(_)) => found.is_none(),
            Some(set_request::Condition::IfPresent(_)) => found.is_some(),
            Some(set_request::Condition::IfEqual(expected)) => found == Some(&expected),
        };
        if applied {
            self.values.insert(request.key.to_vec(), request.value);
        }
        v1::SetResponse { applied, previous: None }
    }

    fn run(&mut self, request: PipelineRequest) -> PipelineResponse {
        let outcome = match request.operation.unwrap() {
            Operation::Get(request) => Outcome::Get(self.get(&request)),
            Operation::Set(request) => Outcome::Set(self.set(request)),
            Operation::Execute(_) => {
                let kind = Some(v1::value::Kind::Integer(7));
                Outcome::Execute(v1::ExecuteResponse { reply: Some(v1::Value { kind }) })
            }
            other => panic!("{other:?}"),
        };
        PipelineResponse { outcome: Some(outcome) }
    }
}

impl MockService {
    /// Counts a call and plays the script; values are changed only by calls that succeed.
    async fn play<Q>(&self, name: &'static str, request: Request<Q>) -> Result<Q, Status> {
        let header = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        let timeout = header("grpc-timeout").unwrap_or_default();
        let call = SeenCall { name, timeout, authorization: header("authorization") };
        let step = {
            let mut state = self.0.lock().unwrap();
            state.calls.push(call);
            state.script.pop_front().or_else(|| state.always.clone())
        };
        match step {
            None => Ok(request.into_inner()),
            Some(step @ Script::Within(_)) => {
                // The batch plays it itself.
                self.0.lock().unwrap().script.push_front(step);
                Ok(request.into_inner())
            }
            Some(Script::Hang) => std::future::pending().await,
            Some(Script::Refuse(code, reason, retry)) => Err(status(code, reason, HashMap::new(), retry)),
            Some(Script::Moved(address, slots)) => {
                let metadata = HashMap::from([("address".to_owned(), address), ("slots".to_owned(), slots.to_owned())]);
                Err(status(Code::FailedPrecondition, "MOVED", metadata, None))
            }
        }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

#[tonic::async_trait]
impl KvService for MockService {
    type PipelineStream = Responses;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let request = self.play("get", request).await?;
        Ok(Response::new(self.0.lock().unwrap().get(&request)))
    }

    async fn set(&self, request: Request<v1::SetRequest>) -> Result<Response<v1::SetResponse>, Status> {
        let request = self.play("set", request).await?;
        Ok(Response::new(self.0.lock().unwrap().set(request)))
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        self.play("execute", request).await?;
        let kind = Some(v1::value::Kind::Integer(7));
        Ok(Response::new(v1::ExecuteResponse { reply: Some(v1::Value { kind }) }))
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let request = self.play("txn", request).await?;
        let mut state = self.0.lock().unwrap();
        let holds = |compare: &v1::Compare| match (&compare.condition, state.values.get(&compare.key[..])) {
            (Some(Condition::Equals(expected)), found) => Some(expected) == found,
            (Some(Condition::Exists(expected)), found) => *expected == found.is_some(),
            (None, _) => panic!("{compare:?}"),
        };
        let succeeded = request.compares.iter().all(holds);
        let branch = if succeeded { request.operations } else { request.otherwise };
        let responses = branch.into_iter().map(|operation| state.run(operation)).collect();
        Ok(Response::new(v1::TxnResponse { succeeded, responses }))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let request = self.play("batch", request).await?;
        let mut state = self.0.lock().unwrap();
        let scripts = match state.script.pop_front() {
            Some(Script::Within(scripts)) => scripts,
            None => Vec::new(),
            Some(_) => panic!("a batch meets one step"),
        };
        let keys = request.operations.iter().map(key_of).collect();
        state.batches.push(keys);
        let scripts = scripts.into_iter().chain(std::iter::repeat(None));
        let responses = request.operations.into_iter().zip(scripts).map(|(operation, script)| match script {
            None => state.run(operation),
            Some(script) => PipelineResponse { outcome: Some(Outcome::Error(script.error())) },
        });
        Ok(Response::new(v1::BatchResponse { responses: responses.collect() }))
    }

    // Calls that no test makes.

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented("delete"))
    }

    async fn increment(&self, _: Request<v1::IncrementRequest>) -> Result<Response<v1::IncrementResponse>, Status> {
        Err(Status::unimplemented("increment"))
    }

    async fn expire(&self, _: Request<v1::ExpireRequest>) -> Result<Response<v1::ExpireResponse>, Status> {
        Err(Status::unimplemented("expire"))
    }

    async fn hash_get(&self, _: Request<v1::HashGetRequest>) -> Result<Response<v1::HashGetResponse>, Status> {
        Err(Status::unimplemented("hash_get"))
    }

    async fn hash_set(&self, _: Request<v1::HashSetRequest>) -> Result<Response<v1::HashSetResponse>, Status> {
        Err(Status::unimplemented("hash_set"))
    }

    async fn hash_delete(&self, _: Request<v1::HashDeleteRequest>) -> Result<Response<v1::HashDeleteResponse>, Status> {
        Err(Status::unimplemented("hash_delete"))
    }

    async fn pipeline(&self, _: Request<Streaming<PipelineRequest>>) -> Result<Response<Responses>, Status> {
        Err(Status::unimplemented("pipeline"))
    }
}

/// A listener that breaks every connection after it has received something on it, and counts the connections that it
/// broke. It breaks the first `count`; after that it passes the bytes on to a node.
pub async fn breaking_proxy(count: usize, node: &MockNode) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broken = Arc::new(Mutex::new(0));
    let (counter, to) = (broken.clone(), node.address.clone());
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&to).await.unwrap();
            if connection < count {
                *counter.lock().unwrap() += 1;
                tokio::spawn(break_at_response(stream, server));
            } else {
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut server).await });
            }
        }
    });
    (address, broken)
}

/// Passes bytes on until the node has seen a call and its answer is on its way, which is the worst moment.
async fn break_at_response(mut client: tokio::net::TcpStream, mut server: tokio::net::TcpStream) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    /// Type of an HTTP/2 frame that carries headers.
    const HEADERS: u8 = 1;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let upwards = tokio::io::copy(&mut from_client, &mut to_server);
    let downwards = async {
        loop {
            let mut head = [0_u8; 9];
            from_server.read_exact(&mut head).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            from_server.read_exact(&mut payload).await?;
            if head[3] == HEADERS {
                return std::io::Result::Ok(());
            }
            to_client.write_all(&head).await?;
            to_client.write_all(&payload).await?;
        }
    };
    tokio::select! {
        _ = upwards => {}
        _ = downwards => {}
    }
}
