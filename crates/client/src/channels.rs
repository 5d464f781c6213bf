//! One channel for each node, connected when it is first used and kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

use crate::error::ClientError;

/// How long a TCP connection may take; after that, another node is called.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How often an idle connection with open calls is checked, and how long the answer may take: a node that lost its
/// power closes no connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node that has failed is called only if all others have failed as well.
const AVOIDED: Duration = Duration::from_secs(1);
/// Nodes that are known at a time. Beyond it, the one that was learned first is dropped.
const NODES_MAX: usize = 1_024;

/// What a node may send of one call before the client has read it, bytes. A stream or a batch that its caller does not
/// read keeps so much back, and no more.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Calls at a time that a node runs of one connection.
const CALLS_MAX: u32 = 128;
/// What a node may send of one connection before the client has read it, bytes: that of all its calls together, so that
/// calls which are not read hold up no others.
const CONNECTION_WINDOW_BYTES: u32 = CALLS_MAX * WINDOW_BYTES;

/// A connection to one node, as layers see it (see [`ClientBuilder::layer`](crate::ClientBuilder::layer)): a service
/// for HTTP requests. One request is one attempt of a call.
pub type NodeChannel = BoxCloneSyncService<Request<Body>, Response<Body>, ChannelError>;

/// Why an attempt of a call has failed without a response: an error of the connection, or of a layer.
// A type of its own: with a boxed error, the compiler does not see that the futures of calls are `Send`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChannelError(#[source] BoxError);

impl ChannelError {
    pub(crate) fn new(error: impl Into<BoxError>) -> ChannelError {
        ChannelError(error.into())
    }
}

/// What is put around each channel.
pub(crate) type ChannelWrapper = Arc<dyn Fn(NodeChannel) -> NodeChannel + Send + Sync>;

/// How connections are secured.
#[derive(Clone)]
pub(crate) enum Security {
    /// TLS with a CA, and a certificate of the client where the cluster requires one.
    Tls { ca_pem: Vec<u8>, identity_pem: Option<(Vec<u8>, Vec<u8>)> },
    /// None, on loopback only.
    Plaintext,
}

impl Security {
    /// How a node is reached.
    ///
    /// # Errors
    /// The address or a certificate is not valid, or plaintext would leave this machine.
    pub(crate) fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let (scheme, tls) = match self {
            Security::Tls { ca_pem, identity_pem } => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem));
                let tls = match identity_pem {
                    Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
                    None => tls,
                };
                ("https", Some(tls))
            }
            Security::Plaintext if is_loopback(address) => ("http", None),
            Security::Plaintext => {
                return Err(ClientError::invalid(format!("{address}: plaintext is for loopback addresses only")));
            }
        };
        let wrong = |error: tonic::transport::Error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            ClientError::invalid(format!("{address}: {error}{cause}"))
        };
        if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return Err(ClientError::invalid(format!("{address}: an address is host:port")));
        }
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(wrong)?;
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).map_err(wrong)?;
        }
        let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES);
        let endpoint = endpoint.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let endpoint = endpoint.connect_timeout(CONNECT_MAX).http2_keep_alive_interval(KEEP_ALIVE_INTERVAL);
        Ok(endpoint.keep_alive_timeout(KEEP_ALIVE_TIMEOUT))
    }
}

fn is_loopback(address: &str) -> bool {
    let Some((host, _)) = address.rsplit_once(':') else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

struct KnownNode {
    address: Arc<str>,
    /// Absent: not called yet.
    channel: Option<NodeChannel>,
    failed_at: Option<Instant>,
    /// When it last gave no answer at all.
    silent_at: Option<Instant>,
}

impl KnownNode {
    fn new(address: Arc<str>) -> KnownNode {
        KnownNode { address, channel: None, failed_at: None, silent_at: None }
    }

    fn has_just_failed(&self) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < AVOIDED)
    }
}

/// See the module.
pub(crate) struct ChannelPool {
    security: Security,
    /// Where nodes are reached whose own addresses, the keys, are not.
    mapped: HashMap<String, String>,
    wrappers: Vec<ChannelWrapper>,
    /// Those of the builder first.
    nodes: Mutex<Vec<KnownNode>>,
    /// How many of the nodes are the builder's: they are never dropped.
    configured: usize,
    next: AtomicUsize,
}

impl ChannelPool {
    /// A pool without connections.
    ///
    /// # Errors
    /// An address or a certificate is not valid.
    pub(crate) fn new(
        security: Security,
        addresses: &[String],
        mapped: HashMap<String, String>,
        wrappers: Vec<ChannelWrapper>,
    ) -> Result<ChannelPool, ClientError> {
        let mut nodes: Vec<KnownNode> = Vec::new();
        for address in addresses {
            security.endpoint(address)?;
            if nodes.iter().all(|node| *node.address != **address) {
                nodes.push(KnownNode::new(address.as_str().into()));
            }
        }
        if nodes.is_empty() {
            return Err(ClientError::invalid("at least one address is needed"));
        }
        let (configured, nodes) = (nodes.len(), Mutex::new(nodes));
        Ok(ChannelPool { security, mapped, wrappers, configured, nodes, next: AtomicUsize::new(0) })
    }

    /// The node of this turn, without those that have just failed as long as there are others. Turns of calls
    /// ([`ChannelPool::any`]) do not matter.
    pub(crate) fn in_turn(&self, turn: usize) -> Arc<str> {
        let nodes = self.nodes.lock();
        let usable: Vec<&KnownNode> = nodes.iter().filter(|node| !node.has_just_failed()).collect();
        let usable = if usable.is_empty() { nodes.iter().collect() } else { usable };
        turn.checked_rem(usable.len()).map_or_else(|| Arc::from(""), |at| usable[at].address.clone())
    }

    /// Adds a node that can be called, unless there are too many.
    pub(crate) fn know(&self, address: &Arc<str>) {
        let mut nodes = self.nodes.lock();
        let is_new = nodes.iter().all(|node| node.address != *address);
        if is_new && nodes.len() < NODES_MAX && self.security.endpoint(address).is_ok() {
            nodes.push(KnownNode::new(address.clone()));
        }
    }

    /// Whether a node has just given no answer at all. One that refuses what a primary does may answer reads.
    pub(crate) fn is_silent(&self, address: &str) -> bool {
        let is_silent = |node: &KnownNode| node.silent_at.is_some_and(|at| at.elapsed() < AVOIDED);
        self.nodes.lock().iter().any(|node| *node.address == *address && is_silent(node))
    }

    /// The next node in turn, without those that have just failed as long as there are others.
    pub(crate) fn any(&self) -> Arc<str> {
        let nodes = self.nodes.lock();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..nodes.len()).map(|step| &nodes[start.wrapping_add(step) % nodes.len()]);
        let has_failed = |node: &KnownNode| node.failed_at.filter(|at| at.elapsed() < AVOIDED);
        // `None` is less than any time: first those that did not fail, then the one that failed first.
        let best = in_turn.min_by_key(|node| has_failed(node));
        best.map_or_else(|| Arc::from(""), |node| node.address.clone())
    }

    /// The channel to a node, which becomes known if it is not.
    ///
    /// # Errors
    /// The address is not valid.
    pub(crate) fn channel(&self, address: &Arc<str>) -> Result<NodeChannel, ClientError> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.iter_mut().find(|node| node.address == *address) {
            if let Some(channel) = &node.channel {
                return Ok(channel.clone());
            }
            let channel = self.connect(address)?;
            node.channel = Some(channel.clone());
            return Ok(channel);
        }
        let channel = self.connect(address)?;
        if nodes.len() >= NODES_MAX.max(self.configured + 1) {
            nodes.remove(self.configured);
        }
        nodes.push(KnownNode { channel: Some(channel.clone()), ..KnownNode::new(address.clone()) });
        Ok(channel)
    }

    fn connect(&self, address: &str) -> Result<NodeChannel, ClientError> {
        let reached = self.mapped.get(address).map_or(address, String::as_str);
        let channel = self.security.endpoint(reached)?.connect_lazy().map_err(ChannelError::new);
        let channel = NodeChannel::new(channel);
        Ok(self.wrappers.iter().fold(channel, |channel, wrapper| wrapper(channel)))
    }

    /// Records that a node has failed: it gave no answer, or could not do what was asked.
    pub(crate) fn failed(&self, address: &str) {
        if let Some(node) = self.nodes.lock().iter_mut().find(|node| *node.address == *address) {
            node.failed_at = Some(Instant::now());
        }
    }

    /// Records that a node gave no answer at all.
    pub(crate) fn silent(&self, address: &str) {
        if let Some(node) = self.nodes.lock().iter_mut().find(|node| *node.address == *address) {
            node.failed_at = Some(Instant::now());
            node.silent_at = node.failed_at;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn plaintext_stays_on_this_machine() {
        for address in ["127.0.0.1:80", "[::1]:80", "localhost:80"] {
            Security::Plaintext.endpoint(address).unwrap();
        }
        for address in ["10.0.0.1:80", "example:80", "127.0.0.1.example:80", "127.0.0.1", "localhost:", ""] {
            let error = Security::Plaintext.endpoint(address).unwrap_err();
            assert!(matches!(error, ClientError::Invalid { .. }), "{address}: {error}");
        }
    }

    #[test]
    fn nodes_are_called_in_turn_and_failed_ones_last() {
        let addresses = ["localhost:1", "localhost:2", "localhost:3", "localhost:1"].map(str::to_owned);
        let pool = ChannelPool::new(Security::Plaintext, &addresses, HashMap::new(), Vec::new()).unwrap();
        let turn = |count: usize| (0..count).map(|_| pool.any().to_string()).collect::<Vec<_>>();
        assert_eq!(turn(4), ["localhost:1", "localhost:2", "localhost:3", "localhost:1"]);
        pool.failed("localhost:2");
        assert!(!turn(6).contains(&"localhost:2".to_owned()));
        pool.failed("localhost:3");
        pool.failed("localhost:1");
        assert_eq!(turn(2), ["localhost:2", "localhost:2"], "all have failed: the one that failed first");
        assert!(matches!(
            ChannelPool::new(Security::Plaintext, &[], HashMap::new(), Vec::new()),
            Err(ClientError::Invalid { .. })
        ));
    }

    #[tokio::test]
    async fn channels_are_kept_and_their_number_is_bounded() {
        let pool =
            ChannelPool::new(Security::Plaintext, &["localhost:1".to_owned()], HashMap::new(), Vec::new()).unwrap();
        for port in 2..NODES_MAX + 100 {
            pool.channel(&format!("localhost:{port}").into()).unwrap();
            pool.channel(&format!("localhost:{port}").into()).unwrap();
        }
        let nodes = pool.nodes.lock();
        assert_eq!((nodes.len(), &*nodes[0].address), (NODES_MAX, "localhost:1"));
    }
}
