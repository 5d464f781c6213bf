//! A client of the generated stubs. It never repeats a call; what it learns from a refusal is for the next one.
//!
//! It takes turns between the typed call, `Execute` and `Batch`, so that each command comes in all forms.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fastness_client::{Client, ClientError, RetryOptions};
use fastness_load::{Caller, Outcome};
use fastness_resp::Value;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome as Response;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::outcome::{outcome_of_error, outcome_of_status};
use super::words::{executed, reply, slot, typed};

type Stub = KvServiceClient<Channel>;

/// Slots, and the node that was the primary of them.
type KnownPrimary = (RangeInclusive<u16>, String);

/// The nodes of a cluster, and which of them is the primary of which slots, as far as MOVED has said. Clones share it.
#[derive(Clone)]
pub struct GrpcNodes {
    addresses: Arc<[String]>,
    ca: Arc<[u8]>,
    primaries: Arc<Mutex<Vec<KnownPrimary>>>,
    /// Which node is called where no primary is known.
    turn: Arc<AtomicUsize>,
}

impl GrpcNodes {
    /// Nodes at these addresses (`host:port`) with certificates of this CA (PEM).
    #[must_use]
    pub fn new(addresses: Vec<String>, ca: Vec<u8>) -> GrpcNodes {
        GrpcNodes {
            addresses: addresses.into(),
            ca: ca.into(),
            primaries: Arc::default(),
            turn: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// A client of the SDK for these nodes.
    ///
    /// # Errors
    /// If the addresses or the CA are not valid.
    pub fn sdk(&self, retries: RetryOptions) -> Result<Client, ClientError> {
        let builder = self.addresses.iter().fold(Client::builder(), |builder, node| builder.address(node));
        builder.ca_certificate(&*self.ca).retries(retries).build()
    }

    /// The addresses.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    fn primary(&self, slot: u16) -> Option<String> {
        let primaries = self.primaries.lock();
        primaries.iter().find(|(slots, _)| slots.contains(&slot)).map(|(_, address)| address.clone())
    }

    fn any(&self) -> String {
        self.addresses[self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len()].clone()
    }

    /// Learns what MOVED says.
    fn learn(&self, metadata: &BTreeMap<String, String>) {
        let range = metadata.get("slots").and_then(|slots| {
            let (first, last) = slots.split_once('-')?;
            Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
        });
        let (Some(range), Some(address)) = (range, metadata.get("address")) else { return };
        let mut primaries = self.primaries.lock();
        primaries.retain(|(slots, _)| slots.end() < range.start() || range.end() < slots.start());
        primaries.push((range, address.clone()));
    }

    fn forget(&self, slot: u16) {
        self.primaries.lock().retain(|(slots, _)| !slots.contains(&slot));
    }
}

/// The connection to one node.
struct GrpcLink {
    stub: Stub,
    /// The number of the connection that was opened last: the stub opens another one by itself.
    opened: Arc<AtomicU64>,
}

impl GrpcLink {
    /// `connections`: the number of connections that the client has opened, to all nodes.
    fn new(
        address: &str,
        ca: &[u8],
        timeout: Duration,
        connections: &Arc<AtomicU64>,
    ) -> Result<GrpcLink, tonic::transport::Error> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        let endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
        let opened = Arc::new(AtomicU64::new(0));
        let (newest, target, connections) = (opened.clone(), address.to_owned(), connections.clone());
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let (newest, target, connections) = (newest.clone(), target.clone(), connections.clone());
            async move {
                let stream = TcpStream::connect(target).await?;
                stream.set_nodelay(true)?;
                newest.store(1 + connections.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        }));
        Ok(GrpcLink { stub: KvServiceClient::new(channel), opened })
    }
}

/// What a call has returned.
type GrpcReply = Result<Response, GrpcFailure>;

/// Why a call has failed.
#[derive(Debug, Clone)]
pub struct GrpcFailure {
    /// What is known of a write.
    pub outcome: Outcome,
    /// The server's word for it, or empty.
    pub reason: String,
    /// Facts that belong to the reason.
    metadata: BTreeMap<String, String>,
}

impl From<Status> for GrpcFailure {
    fn from(status: Status) -> GrpcFailure {
        let (outcome, details) = (outcome_of_status(&status), status.get_error_details());
        let (reason, metadata) = details
            .error_info()
            .map(|info| (info.reason.clone(), info.metadata.clone().into_iter().collect()))
            .unwrap_or_default();
        GrpcFailure { outcome, reason, metadata }
    }
}

impl From<v1::Error> for GrpcFailure {
    fn from(error: v1::Error) -> GrpcFailure {
        let outcome = outcome_of_error(&error);
        GrpcFailure { outcome, reason: error.reason, metadata: error.metadata.into_iter().collect() }
    }
}

/// How a call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Typed,
    Execute,
    Batch,
}

/// A client of the generated stubs.
pub struct GrpcClient {
    nodes: GrpcNodes,
    /// Whether any node may pass its calls on to the primary.
    forwards: bool,
    timeout: Duration,
    links: BTreeMap<String, GrpcLink>,
    connections: Arc<AtomicU64>,
    calls: usize,
}

impl GrpcClient {
    /// A client without connections. `forwards`: any node passes its calls on, see `CallOptions.forward`.
    #[must_use]
    pub fn new(nodes: GrpcNodes, forwards: bool, timeout: Duration) -> GrpcClient {
        GrpcClient { nodes, forwards, timeout, links: BTreeMap::new(), connections: Arc::default(), calls: 0 }
    }

    /// The options of a call.
    fn options(&self, key: Option<v1::IdempotencyKey>) -> Option<v1::CallOptions> {
        let asks = self.forwards || key.is_some();
        asks.then(|| v1::CallOptions { forward: self.forwards, idempotency_key: key, ..v1::CallOptions::default() })
    }

    /// Runs a command once, as a write with this idempotency key if it has one.
    ///
    /// # Errors
    /// What is known of it.
    pub async fn run(&mut self, command: &[&[u8]], key: Option<v1::IdempotencyKey>) -> Result<Value, GrpcFailure> {
        self.calls += 1;
        let form = [Form::Typed, Form::Execute, Form::Batch][self.calls % 3];
        let options = self.options(key);
        let operation = match form {
            Form::Execute => executed(command, options),
            Form::Typed | Form::Batch => typed(command, options.clone()).unwrap_or_else(|| executed(command, options)),
        };
        let (address, timeout) = (self.address(slot(command)), self.timeout);
        let answer = match self.link(&address) {
            Ok(link) => unary(&mut link.stub, form, operation, timeout).await,
            Err(failure) => Err(failure),
        };
        self.learn_from(slot(command), &address, answer.as_ref().err());
        reply(command, answer?).ok_or_else(odd)
    }

    /// Runs commands as one transaction, if the keys have these values; returns the replies to the commands, or nothing
    /// if a value was another one.
    ///
    /// # Errors
    /// What is known of it.
    pub async fn transact(
        &mut self,
        compares: Vec<v1::Compare>,
        commands: &[&[&[u8]]],
        key: Option<v1::IdempotencyKey>,
    ) -> Result<Option<Vec<Value>>, GrpcFailure> {
        let of = |command: &&[&[u8]]| {
            let operation = typed(command, None).unwrap_or_else(|| executed(command, None));
            v1::PipelineRequest { operation: Some(operation) }
        };
        let operations = commands.iter().map(of).collect();
        let request = v1::TxnRequest { compares, operations, otherwise: Vec::new(), options: self.options(key) };
        let slot = slot(commands[0]);
        let (address, timeout) = (self.address(slot), self.timeout);
        let answer = match self.link(&address) {
            Ok(link) => {
                let answer = link.stub.txn(timed(request, timeout)).await;
                answer.map(tonic::Response::into_inner).map_err(GrpcFailure::from)
            }
            Err(failure) => Err(failure),
        };
        self.learn_from(slot, &address, answer.as_ref().err());
        let v1::TxnResponse { succeeded, responses } = answer?;
        if !succeeded {
            return Ok(None);
        }
        let reply = |(command, response): (&&[&[u8]], v1::PipelineResponse)| match response.outcome? {
            Response::Error(error) => Some(Value::Error(error.message.into_bytes())),
            response => reply(command, response),
        };
        let replies = commands.iter().zip(responses).map(reply).collect::<Option<Vec<_>>>();
        replies.map(Some).ok_or_else(odd)
    }

    /// Reads a string from what one node has applied. Returns the number of the connection as well: reads on one
    /// connection have an order.
    pub async fn read_at(&mut self, address: &str, key: &[u8]) -> (u64, Result<Value, Outcome>) {
        let mut options = v1::CallOptions::default();
        options.set_consistency(v1::Consistency::Replica);
        let key = Bytes::copy_from_slice(key);
        let request = v1::GetRequest { key, with_ttl: false, options: Some(options) };
        let timeout = self.timeout;
        let link = match self.link(address) {
            Ok(link) => link,
            Err(failure) => return (0, Err(failure.outcome)),
        };
        let answer = link.stub.get(timed(request, timeout)).await;
        let connection = link.opened.load(Ordering::Relaxed);
        let answer = answer.map(|response| super::words::bulk(response.into_inner().value));
        (connection, answer.map_err(|status| outcome_of_status(&status)))
    }

    /// The addresses of all nodes: each has a copy of everything.
    #[must_use]
    pub fn copies(&self) -> &[String] {
        self.nodes.addresses()
    }

    fn address(&self, slot: u16) -> String {
        let known = if self.forwards { None } else { self.nodes.primary(slot) };
        known.unwrap_or_else(|| self.nodes.any())
    }

    fn link(&mut self, address: &str) -> Result<&mut GrpcLink, GrpcFailure> {
        if !self.links.contains_key(address) {
            let link = GrpcLink::new(address, &self.nodes.ca, self.timeout, &self.connections);
            let link = link.map_err(|error| GrpcFailure {
                outcome: Outcome::Refused,
                reason: error.to_string(),
                metadata: BTreeMap::new(),
            })?;
            self.links.insert(address.to_owned(), link);
        }
        Ok(self.links.get_mut(address).expect("inserted above"))
    }

    fn learn_from(&mut self, slot: u16, address: &str, failure: Option<&GrpcFailure>) {
        let Some(failure) = failure else { return };
        if failure.reason == "MOVED" {
            self.nodes.learn(&failure.metadata);
        } else {
            self.nodes.forget(slot);
        }
        if failure.outcome == Outcome::Unknown {
            // The next call makes a connection of its own, instead of waiting for a node that is silent.
            self.links.remove(address);
        }
    }
}

/// A response that does not belong to its request.
fn odd() -> GrpcFailure {
    let reason = "a response of another kind than the request".to_owned();
    GrpcFailure { outcome: Outcome::Unknown, reason, metadata: BTreeMap::new() }
}

fn timed<Q>(message: Q, timeout: Duration) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Sends one operation, and returns its response.
async fn unary(stub: &mut Stub, form: Form, operation: Operation, timeout: Duration) -> GrpcReply {
    if form == Form::Batch {
        let operations = vec![v1::PipelineRequest { operation: Some(operation) }];
        let response = stub.batch(timed(v1::BatchRequest { operations }, timeout)).await?;
        return match response.into_inner().responses.pop().and_then(|response| response.outcome) {
            Some(Response::Error(error)) => Err(error.into()),
            Some(response) => Ok(response),
            None => Err(odd()),
        };
    }
    Ok(match operation {
        Operation::Get(request) => Response::Get(stub.get(timed(request, timeout)).await?.into_inner()),
        Operation::Set(request) => Response::Set(stub.set(timed(request, timeout)).await?.into_inner()),
        Operation::Delete(request) => Response::Delete(stub.delete(timed(request, timeout)).await?.into_inner()),
        Operation::Increment(request) => {
            Response::Increment(stub.increment(timed(request, timeout)).await?.into_inner())
        }
        Operation::Expire(request) => Response::Expire(stub.expire(timed(request, timeout)).await?.into_inner()),
        Operation::HashGet(request) => Response::HashGet(stub.hash_get(timed(request, timeout)).await?.into_inner()),
        Operation::HashSet(request) => Response::HashSet(stub.hash_set(timed(request, timeout)).await?.into_inner()),
        Operation::HashDelete(request) => {
            Response::HashDelete(stub.hash_delete(timed(request, timeout)).await?.into_inner())
        }
        Operation::Execute(request) => Response::Execute(stub.execute(timed(request, timeout)).await?.into_inner()),
    })
}

#[async_trait]
impl Caller for GrpcClient {
    async fn call(&mut self, command: &[&[u8]]) -> Result<Value, Outcome> {
        self.run(command, None).await.map_err(|failure| failure.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(slots: &str, address: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("slots".to_owned(), slots.to_owned()), ("address".to_owned(), address.to_owned())])
    }

    #[test]
    fn primaries_are_learned_replaced_and_forgotten() {
        let nodes = GrpcNodes::new(vec!["a:1".into(), "b:2".into()], Vec::new());
        assert_eq!(nodes.primary(7), None);
        nodes.learn(&moved("0-8191", "b:2"));
        nodes.learn(&moved("8192-16383", "a:1"));
        assert_eq!((nodes.primary(7).as_deref(), nodes.primary(8192).as_deref()), (Some("b:2"), Some("a:1")));
        nodes.learn(&moved("0-8191", "a:1"));
        assert_eq!(nodes.primary(8191).as_deref(), Some("a:1"));
        nodes.learn(&moved("x-y", "c:3"));
        nodes.forget(0);
        assert_eq!((nodes.primary(7), nodes.primary(16383).as_deref()), (None, Some("a:1")));
        assert_ne!(nodes.any(), nodes.any(), "they take turns");
    }
}
