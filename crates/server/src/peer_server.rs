//! The peer front end: streams of frames between nodes, as gRPC over mutual TLS.
//!
//! Both sides authenticate each other. The certificate of the peer must name a node of this cluster; the connecting
//! side also checks that it names exactly the node that it wants to reach. Each class of traffic uses its own
//! connection.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::{Class, Consensus, FrameStream, PeerTransport, STREAM_FRAMES_MAX, TransportError};
use fastness_types::{ClusterId, NodeId, limits};
use fastness_wire::peer::v1::Frame;
use fastness_wire::peer::v1::peer_service_client::PeerServiceClient;
use fastness_wire::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TlsConnectInfo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::certificates::Newest;
use crate::grpc_accept::GrpcConnectInfo;
use crate::lab::{Impeded, Lab};
use crate::tls::Identity;

/// Time limit for connecting, including the TLS handshake.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Flow-control window of a stream. Large enough that a full frame is sent without waiting for a round trip.
pub(crate) const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Largest gRPC message. The payloads of a frame take at most [`limits::FRAME_BYTES_MAX`]; the rest is for headers.
const MESSAGE_BYTES_MAX: usize = 2 * limits::FRAME_BYTES_MAX;
/// Largest HTTP/2 frame. With the default of 16 KiB a batch would need several frames.
pub(crate) const HTTP_FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// Interval and time-out of HTTP/2 pings on a silent connection.
pub(crate) const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Connects to other nodes.
pub struct TlsTransport {
    cluster: ClusterId,
    tls: Newest<ClientConfig>,
    source: Option<IpAddr>,
    lab: Option<Arc<Lab>>,
}

impl TlsTransport {
    /// `tls` has the certificate of this node. `source`: the local address to connect from, if set. `lab` injects
    /// faults into what is sent, if set.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        tls: impl Into<Newest<ClientConfig>>,
        source: Option<IpAddr>,
        lab: Option<Arc<Lab>>,
    ) -> TlsTransport {
        TlsTransport { cluster, tls: tls.into(), source, lab }
    }

    async fn connect(&self, peer: NodeId, address: &str) -> Result<TlsStream<TcpStream>, TransportError> {
        let unreachable = |error: &dyn std::fmt::Display| TransportError::Unreachable(format!("{address}: {error}"));
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| unreachable(&e))?;
        let tcp = connect_from(self.source, address).await.map_err(|e| unreachable(&e))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(&e))?;
        let stream = TlsConnector::from(self.tls.load()).connect(name, tcp).await.map_err(|e| match e.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => TransportError::Identity(format!("{address}: {e}")),
            _ => unreachable(&e),
        })?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let found = chain.first().and_then(|certificate| Identity::of(certificate));
        if found == Some(Identity::Node(self.cluster, peer)) {
            return Ok(stream);
        }
        let wanted = format!("fastness://{}/node/{peer}", self.cluster);
        Err(TransportError::Identity(format!("{address} shows a certificate of {found:?}, expected {wanted}")))
    }
}

#[async_trait::async_trait]
impl PeerTransport for TlsTransport {
    async fn open(&self, peer: NodeId, address: &str, class: Class) -> Result<FrameStream, TransportError> {
        let unreachable = |error: String| TransportError::Unreachable(format!("{address}: {error}"));
        let opened = async {
            let stream = self.connect(peer, address).await?;
            let channel = channel(stream).await.map_err(|e| unreachable(e.to_string()))?;
            let mut client = PeerServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let (outgoing, frames) = mpsc::channel(STREAM_FRAMES_MAX);
            let frames = impeded(self.lab.as_ref(), peer, ReceiverStream::new(frames));
            let answered = match class {
                Class::Append => client.append(frames).await,
                Class::Heartbeat => client.heartbeat(frames).await,
                Class::Snapshot => client.snapshot(frames).await,
            };
            let incoming = answered.map_err(|status| match status.code() {
                tonic::Code::PermissionDenied => TransportError::Identity(status.message().to_owned()),
                _ => unreachable(status.to_string()),
            })?;
            Ok(FrameStream { outgoing, incoming: until_it_breaks(incoming.into_inner()) })
        };
        match tokio::time::timeout(CONNECT_MAX, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(unreachable("no connection in time".to_owned())),
        }
    }
}

async fn connect_from(source: Option<IpAddr>, address: &str) -> std::io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let mut failed = None;
    for target in tokio::net::lookup_host(address).await?.filter(|target| target.is_ipv4() == source.is_ipv4()) {
        let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind((source, 0).into())?;
        match socket.connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    let none = || std::io::Error::other(format!("no address of the family of bind-source-addr {source}"));
    Err(failed.unwrap_or_else(none))
}

/// Returns an HTTP/2 channel over an existing connection. The channel never reconnects by itself, because the identity
/// of the peer was verified for this connection only.
async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let once = tower::service_fn(move |_: hyper::Uri| {
        let stream = stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        std::future::ready(stream)
    });
    Endpoint::from_static("http://peer")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .keep_alive_while_idle(true)
        .connect_with_connector(once)
        .await
}

fn until_it_breaks(frames: Streaming<Frame>) -> Pin<Box<dyn Stream<Item = Frame> + Send>> {
    Box::pin(
        frames.take_while(|frame| std::future::ready(frame.is_ok())).filter_map(|frame| std::future::ready(frame.ok())),
    )
}

/// Applies the injected faults, if any, to the frames that are sent to a peer.
fn impeded<S>(lab: Option<&Arc<Lab>>, peer: NodeId, frames: S) -> Impeded<S> {
    match lab {
        Some(lab) => lab.links.impede(peer, frames),
        None => Impeded::unimpeded(frames),
    }
}

/// Accepts the streams of other nodes.
pub struct PeerServer {
    cluster: ClusterId,
    consensus: Consensus,
    lab: Option<Arc<Lab>>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl PeerServer {
    /// Returns the tonic service. `lab` injects faults into the answers, if set.
    #[must_use]
    pub fn service(cluster: ClusterId, consensus: Consensus, lab: Option<Arc<Lab>>) -> PeerServiceServer<PeerServer> {
        PeerServiceServer::new(PeerServer { cluster, consensus, lab })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn accept(&self, request: Request<Streaming<Frame>>, class: Class) -> Result<Response<Frames>, Status> {
        let info = request.extensions().get::<TlsConnectInfo<GrpcConnectInfo>>();
        let identity = info.and_then(TlsConnectInfo::peer_certs).and_then(|chain| Identity::of(chain.first()?));
        let peer = match identity {
            Some(Identity::Node(cluster, peer)) if cluster == self.cluster && peer != self.consensus.node() => peer,
            _ => {
                let wanted = format!("the certificate does not name another node of cluster {}", self.cluster);
                return Err(Status::permission_denied(wanted));
            }
        };
        let (outgoing, frames) = mpsc::channel(STREAM_FRAMES_MAX);
        let incoming = until_it_breaks(request.into_inner());
        self.consensus.accept(peer, class, FrameStream { outgoing, incoming });
        let frames = impeded(self.lab.as_ref(), peer, ReceiverStream::new(frames));
        Ok(Response::new(Box::pin(frames.map(Ok))))
    }
}

#[tonic::async_trait]
impl PeerService for PeerServer {
    type AppendStream = Frames;
    type HeartbeatStream = Frames;
    type SnapshotStream = Frames;

    async fn append(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        self.accept(request, Class::Append)
    }

    async fn heartbeat(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        self.accept(request, Class::Heartbeat)
    }

    async fn snapshot(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        self.accept(request, Class::Snapshot)
    }
}
