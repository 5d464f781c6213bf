//! The mock server as tests use it.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::kv_service_server::KvServiceServer;
use fastness_wire::v1::topology_service_server::{self, TopologyServiceServer};
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::fault::MockFault;
use super::keyspace::MockValue;
use super::service::{MockService, MockTopology, SeenCall};
use crate::builder::ClientBuilder;
use crate::client::Client;
use crate::retry::RetryOptions;

/// How long clients of [`MockServer::client_builder`] wait between two tries at most: tests are not slowed down.
const BACKOFF: Duration = Duration::from_millis(2);

/// A server on a loopback port; see the [module](super). Clones are handles of the same server, which ends with the
/// tokio runtime that it was started on, or when all handles were dropped.
#[derive(Debug, Clone)]
pub struct MockServer {
    address: String,
    service: MockService,
    /// Dropped with the last handle, which ends the server.
    _ends: tokio::sync::watch::Receiver<()>,
}

/// The services of the server, by the path of a call.
#[derive(Debug, Clone)]
struct MockServices {
    data: KvServiceServer<MockService>,
    topology: TopologyServiceServer<MockTopology>,
}

impl Service<HttpRequest<Body>> for MockServices {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As both are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        if service == Some(topology_service_server::SERVICE_NAME) {
            self.topology.call(request)
        } else {
            self.data.call(request)
        }
    }
}

impl MockServer {
    /// Starts a server with nothing stored. It runs on the tokio runtime of the caller.
    ///
    /// # Errors
    /// No port could be opened.
    pub async fn start() -> io::Result<MockServer> {
        let incoming = TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = incoming.local_addr()?.to_string();
        let service = MockService::default();
        let topology = TopologyServiceServer::new(MockTopology { address: address.clone() });
        let served = MockServices { data: KvServiceServer::new(service.clone()), topology };
        let (handles, ends) = tokio::sync::watch::channel(());
        tokio::spawn(async move {
            tokio::select! {
                _ = Server::builder().serve_with_incoming(served, incoming) => {}
                () = handles.closed() => {}
            }
        });
        Ok(MockServer { address, service, _ends: ends })
    }

    /// Where it listens, as `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Options of a client of this server, whose retries wait 2 ms at most. Further nodes can be added.
    #[must_use]
    pub fn client_builder(&self) -> ClientBuilder {
        let retries = RetryOptions { backoff_min: BACKOFF, backoff_max: BACKOFF, ..RetryOptions::default() };
        Client::builder().address(&self.address).plaintext().retries(retries)
    }

    /// The next call that meets no earlier fault meets this one; several of them, one call each. An operation of a
    /// pipeline is a call.
    pub fn fail_next(&self, fault: MockFault) {
        self.service.state.lock().next.push_back(fault);
    }

    /// All calls after those of [`MockServer::fail_next`] meet this.
    pub fn fail_always(&self, fault: MockFault) {
        self.service.state.lock().always = Some(fault);
    }

    /// No call meets a fault any more. Those that hang still do.
    pub fn heal(&self) {
        let mut state = self.service.state.lock();
        state.next.clear();
        state.always = None;
    }

    /// Moves the clock; what has expired by then ceases to exist.
    pub fn advance(&self, by: Duration) {
        self.service.state.lock().keys.advance(by);
    }

    /// The time of the clock, which is that of the start plus what [`MockServer::advance`] has added.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.service.state.lock().keys.now()
    }

    /// All calls that it has received, in their order.
    #[must_use]
    pub fn calls(&self) -> Vec<SeenCall> {
        self.service.state.lock().calls.clone()
    }

    /// Sets a string, as if another client had done it. It keeps the time to live that it has.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.service.state.lock().keys.put_text(Bytes::copy_from_slice(key.as_ref()), value.into());
    }

    /// The value of a string, as it is stored; absent for a hash, too.
    #[must_use]
    pub fn stored(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        match self.service.state.lock().keys.value(key.as_ref()) {
            Some(MockValue::Text(text)) => Some(text.clone()),
            Some(MockValue::Hash(_)) | None => None,
        }
    }
}
