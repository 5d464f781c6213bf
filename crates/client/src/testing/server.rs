//! The mock server as tests use it.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::kv_service_server::KvServiceServer;
use fastness_wire::v1::topology_service_server::{self, TopologyServiceServer};
use fastness_wire::v1::watch_service_server::{self, WatchServiceServer};
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
    watches: WatchServiceServer<MockService>,
}

impl Service<HttpRequest<Body>> for MockServices {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<HttpResponse<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As all are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        if service == Some(topology_service_server::SERVICE_NAME) {
            self.topology.call(request)
        } else if service == Some(watch_service_server::SERVICE_NAME) {
            self.watches.call(request)
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
        let (data, watches) = (KvServiceServer::new(service.clone()), WatchServiceServer::new(service.clone()));
        let served = MockServices { data, topology, watches };
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
    /// pipeline is a call. Watches meet the faults of [`MockServer::fail_next_watch`] only.
    pub fn fail_next(&self, fault: MockFault) {
        self.service.state.lock().next.push_back(fault);
    }

    /// The next watch that is started or continued meets this, after those that were set before: it is refused, moved,
    /// delayed, or never answered. What [`MockFault::Within`] says is ignored.
    pub fn fail_next_watch(&self, fault: MockFault) {
        self.service.state.lock().watches.next.push_back(fault);
    }

    /// Ends all watches that are open as if their connection had broken; returns how many. The client continues each of
    /// them at its position by itself, unless [`MockServer::fail_next_watch`] says otherwise.
    pub fn cut_watches(&self) -> usize {
        let mut state = self.service.state.lock();
        state.watches.cuts += 1;
        state.keys.changes.wake();
        state.watches.open
    }

    /// Keeps at most so many changes for watches, 1024 by default, where what a command or a transaction does counts as
    /// one; forgets the oldest ones. A watch that needs a change which was forgotten fails with
    /// [`ClientError::PositionPurged`](crate::ClientError::PositionPurged). 0 forgets all, those to come as well.
    pub fn keep_changes(&self, count: usize) {
        self.service.state.lock().keys.changes.keep(count);
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
        state.watches.next.clear();
    }

    /// Moves the clock; what has expired by then ceases to exist, which watches show as one event.
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
        let keys = &mut self.service.state.lock().keys;
        keys.put_text(Bytes::copy_from_slice(key.as_ref()), value.into());
        keys.commit();
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
