//! Watches against nodes that follow a script: what a stream shows, and where it continues.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fastness_client::{
    Client, ClientError, CurrentContent, RetryOptions, WatchChange, WatchEvent, WatchPosition, WatchPositions,
    WatchStream,
};
use fastness_wire::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::watch_request::Start;
use fastness_wire::v1::watch_service_server::{WatchService, WatchServiceServer};
use fastness_wire::v1::{self, WatchRequest, WatchResponse};
use futures::Stream;
use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const END: u32 = u32::MAX;

/// One call: what its stream has, and how it ends. Without an end it stays open.
type Call = (Vec<WatchResponse>, Option<Status>);

#[derive(Default)]
struct NodeScript {
    calls: VecDeque<Call>,
    requests: Vec<WatchRequest>,
    replicas: Vec<String>,
    /// Streams of the topology that end without a message, as those of a node that ends do.
    topologies_ended: usize,
}

#[derive(Clone)]
struct Node {
    address: String,
    script: Arc<Mutex<NodeScript>>,
}

/// Both services of a node.
#[derive(Clone)]
struct NodeServices {
    watch: WatchServiceServer<Node>,
    topology: TopologyServiceServer<Node>,
}

impl Service<HttpRequest<Body>> for NodeServices {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        match request.uri().path().contains("TopologyService") {
            true => self.topology.call(request),
            false => self.watch.call(request),
        }
    }
}

impl Node {
    async fn start() -> Node {
        let incoming = TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let node = Node { address: incoming.local_addr().unwrap().to_string(), script: Arc::default() };
        let services = NodeServices {
            watch: WatchServiceServer::new(node.clone()),
            topology: TopologyServiceServer::new(node.clone()),
        };
        tokio::spawn(async move { Server::builder().serve_with_incoming(services, incoming).await });
        node
    }

    fn then(&self, responses: Vec<WatchResponse>, end: Option<Status>) -> &Node {
        self.script.lock().calls.push_back((responses, end));
        self
    }

    /// Where the streams were started.
    fn starts(&self) -> Vec<Option<(u64, u32)>> {
        let after = |request: &WatchRequest| match request.start {
            Some(Start::After(position)) => Some((position.index, position.unit)),
            _ => None,
        };
        self.script.lock().requests.iter().map(after).collect()
    }
}

#[tonic::async_trait]
impl WatchService for Node {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut script = self.script.lock();
        script.requests.push(request.into_inner());
        let call = script.calls.pop_front().unwrap_or_default();
        let (responses, end) = match call {
            (responses, Some(end)) if responses.is_empty() => return Err(end),
            (responses, end) => (responses, end),
        };
        let ends = items(responses, end);
        Ok(Response::new(Box::pin(ends)))
    }
}

#[tonic::async_trait]
impl TopologyService for Node {
    type WatchTopologyStream = Pin<Box<dyn Stream<Item = Result<v1::WatchTopologyResponse, Status>> + Send>>;

    async fn watch_topology(
        &self,
        _: Request<v1::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let addresses = {
            let mut script = self.script.lock();
            if let Some(left) = script.topologies_ended.checked_sub(1) {
                script.topologies_ended = left;
                return Ok(Response::new(Box::pin(futures::stream::empty())));
            }
            script.replicas.clone()
        };
        let nodes: Vec<v1::TopologyNode> =
            (1..).zip(addresses).map(|(id, address)| v1::TopologyNode { id, address, ..Default::default() }).collect();
        let members = nodes.iter().map(|node| v1::TopologyMember { node: node.id, serves_reads: true }).collect();
        let shard = v1::TopologyShard { id: 7, first_slot: 0, last_slot: 16_383, members, primary: 1 };
        let topology = v1::Topology { map_version: 1, nodes, shards: vec![shard], ..Default::default() };
        let response = v1::WatchTopologyResponse { topology: Some(topology) };
        let stream = futures::stream::once(std::future::ready(Ok(response)));
        Ok(Response::new(Box::pin(futures::StreamExt::chain(stream, futures::stream::pending()))))
    }
}

fn items(
    responses: Vec<WatchResponse>,
    end: Option<Status>,
) -> impl Stream<Item = Result<WatchResponse, Status>> + Send {
    use futures::StreamExt as _;
    let is_open = usize::from(end.is_none());
    let scripted = futures::stream::iter(responses.into_iter().map(Ok).chain(end.map(Err)));
    scripted.chain(futures::stream::pending().take(is_open))
}

/// Nodes that name each other as replicas of one shard.
async fn nodes<const N: usize>() -> [Node; N] {
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Node::start().await);
    }
    let replicas: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
    nodes.iter().for_each(|node| node.script.lock().replicas = replicas.clone());
    nodes.try_into().ok().unwrap()
}

fn client(node: &Node) -> Client {
    let short = Duration::from_millis(2);
    let retries = RetryOptions { backoff_min: short, backoff_max: short, ..RetryOptions::default() };
    Client::builder()
        .address(&node.address)
        .plaintext()
        .retries(retries)
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap()
}

fn position(index: u64, unit: u32) -> v1::WatchPosition {
    v1::WatchPosition { index, unit }
}

fn unit(index: u64, unit: u32, keys: &[&'static str], continued: bool) -> v1::WatchUnit {
    let change = |key: &&'static str| v1::WatchChange {
        change: Some(Change::KeyDelete(v1::KeyDeleteChange { key: (*key).into() })),
        name_cut: false,
    };
    let changes = keys.iter().map(change).collect();
    v1::WatchUnit { position: Some(position(index, unit)), changes, continued, ..v1::WatchUnit::default() }
}

fn response(units: Vec<v1::WatchUnit>, at: (u64, u32)) -> WatchResponse {
    WatchResponse { units, position: Some(position(at.0, at.1)), values: Vec::new() }
}

fn refusal(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Option<Status> {
    let metadata: HashMap<_, _> = metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut details = ErrorDetails::with_error_info(reason, "fastness", metadata);
    if code == Code::Unavailable {
        details.set_retry_info(Some(Duration::from_millis(1)));
    }
    Some(Status::with_error_details(code, reason, details))
}

/// An event as `INDEX.UNIT KEY,KEY`.
fn text(event: &WatchEvent) -> String {
    let keys = event.changes.iter().flat_map(WatchChange::keys).map(|key| String::from_utf8_lossy(key).into_owned());
    format!("{} {}", event.position, keys.collect::<Vec<_>>().join(","))
}

async fn take(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let event = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap();
        texts.push(text(&event.unwrap().unwrap()));
    }
    texts
}

#[tokio::test]
async fn a_stream_continues_elsewhere_after_the_last_whole_unit() {
    let [first, second] = nodes().await;
    let parts = vec![unit(5, 1, &["a"], false), unit(5, 2, &["b"], true)];
    let lost = refusal(Code::Unavailable, "NOT_SERVED", &[]);
    first.then(
        vec![response(vec![], (4, END)), response(parts, (5, 1)), response(vec![unit(5, 2, &["c"], true)], (5, 1))],
        lost,
    );
    // It ignores the start.
    let again = vec![unit(5, 1, &["a"], false), unit(5, 2, &["b", "c"], true)];
    second.then(
        vec![response(again, (5, 1)), response(vec![unit(5, 2, &["d"], false)], (5, END))],
        Some(Status::unavailable("")),
    );
    first.then(vec![response(vec![unit(6, 1, &["e"], false)], (6, 1))], None);
    let mut stream = client(&first).watch().start().await.unwrap();
    assert_eq!(stream.positions().to_string(), format!("7:4.{END}"));
    assert_eq!(take(&mut stream, 3).await, ["5.1 a", "5.2 b,c,d", "6.1 e"]);
    assert_eq!((first.starts(), second.starts()), (vec![None, Some((5, END))], vec![Some((5, 1))]));
    assert_eq!(stream.positions().to_string(), "7:6.1");
    let nothing = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

/// A watch of no shards would end at once, as if there were no further changes.
#[tokio::test]
async fn a_node_that_ends_without_naming_shards_is_not_believed() {
    let [first, _] = nodes().await;
    first.script.lock().topologies_ended = 5;
    first.then(vec![response(vec![unit(6, 1, &["e"], false)], (6, 1))], None);
    let mut stream = client(&first).watch().start().await.unwrap();
    assert_eq!(take(&mut stream, 1).await, ["6.1 e"]);
    assert_eq!(first.script.lock().topologies_ended, 0);
}

#[tokio::test]
async fn a_position_is_purged_once_every_node_says_so() {
    let [first, second] = nodes().await;
    let purged = || refusal(Code::OutOfRange, "POSITION_PURGED", &[("oldest_index", "9")]);
    first.then(vec![], purged());
    second.then(
        vec![response(vec![unit(4, 1, &["a"], false)], (4, END))],
        refusal(Code::ResourceExhausted, "WATCH_TOO_SLOW", &[]),
    );
    first.then(vec![], purged());
    second.then(vec![], purged());
    let mut after = WatchPositions::default();
    after.set(7, WatchPosition { index: 3, unit: END });
    let mut stream = client(&first).watch().after(after).start().await.unwrap();
    assert_eq!(take(&mut stream, 1).await, ["4.1 a"]);
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::PositionPurged { shard: 7, .. }), "{error:?}");
    assert!(stream.next().await.is_none());
    assert_eq!(
        (first.starts(), second.starts()),
        (vec![Some((3, END)), Some((4, END))], vec![Some((3, END)), Some((4, END))])
    );
}

#[tokio::test]
async fn what_is_moved_is_followed_and_what_is_refused_fails() {
    let [first, second] = nodes().await;
    first.then(
        vec![],
        refusal(Code::FailedPrecondition, "MOVED", &[("address", &second.address), ("slots", "0-16383")]),
    );
    second.then(vec![response(vec![], (1, END))], refusal(Code::PermissionDenied, "NOPERM", &[]));
    let mut stream = client(&first).watch().prefix("a").start().await.unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code: Code::PermissionDenied, .. }), "{error:?}");
    let request = second.script.lock().requests[0].clone();
    assert_eq!((request.shard, &*request.prefixes, request.keys.len()), (7, &["a".into()][..], 0));

    let [third] = nodes().await;
    third.then(vec![], refusal(Code::InvalidArgument, "INVALID_REQUEST", &[]));
    let error = client(&third).watch().start().await.err().unwrap();
    assert_eq!(error.reason(), "INVALID_REQUEST");
    // Never served: the newest reason.
    for _ in 0..10_000 {
        third.then(vec![], refusal(Code::Unavailable, "POSITION_AHEAD", &[]));
    }
    let hasty = client(&third).with_options(fastness_client::CallSettings {
        deadline: Some(Duration::from_millis(200)),
        ..Default::default()
    });
    let error = hasty.watch().start().await.err().unwrap();
    assert_eq!(error.reason(), "POSITION_AHEAD");
}

#[tokio::test]
async fn values_come_with_the_last_event_of_their_key() {
    let [node] = nodes().await;
    let value = |key: &'static str, text: &'static str| v1::WatchedValue {
        key: key.into(),
        position: Some(position(6, END)),
        value: Some(v1::watched_value::Value::String(text.into())),
        expire_at_ms: None,
    };
    let units = vec![unit(5, 1, &["a"], false), unit(5, 2, &["a", "b"], false), unit(6, 1, &["c"], false)];
    let first = WatchResponse { values: vec![value("a", "A")], ..response(units, (4, END)) };
    let second = WatchResponse { values: vec![value("b", "B"), value("c", "C")], ..response(vec![], (6, END)) };
    node.then(vec![response(vec![], (4, END)), first, second], None);
    let mut stream = client(&node).watch().with_values().start().await.unwrap();
    assert!(node.script.lock().requests[0].with_values);
    let mut found = Vec::new();
    for _ in 0..3 {
        let event = stream.next().await.unwrap().unwrap();
        let values = event.values.iter().map(|value| match &value.content {
            CurrentContent::String(text) => {
                format!("{}={} at {}", value.key.escape_ascii(), text.escape_ascii(), value.position.index)
            }
            other => format!("{other:?}"),
        });
        found.push(values.collect::<Vec<_>>().join(" "));
    }
    assert_eq!(found, ["", "a=A at 6 b=B at 6", "c=C at 6"]);
}

/// A stream that is dropped ends its calls.
#[tokio::test]
async fn a_dropped_stream_ends_its_calls() {
    let [node] = nodes().await;
    node.then(vec![response(vec![], (1, END))], None);
    let stream = client(&node).watch().start().await.unwrap();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.starts().len(), 1, "it does not continue");
}
