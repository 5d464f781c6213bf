//! Starts the node's consensus.

use std::sync::Arc;

use fastness_consensus::handle::GroupHandle;
use fastness_consensus::{Consensus, ConsensusOptions, GroupControl, Timers};
use fastness_control::{Control, ControlOptions};
use fastness_log::Log;
use fastness_types::{Clock, FormatLevel, GroupId, SystemClock};
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use super::error::NodeError;
use crate::certificates::Certificates;
use crate::descriptors;
use crate::grpc_accept::{GrpcStream, Guard};
use crate::peer_server::{HTTP_FRAME_BYTES_MAX, KEEP_ALIVE, PeerServer, TlsTransport, WINDOW_BYTES};
use crate::promise;
use crate::shared::NodeShared;
use crate::snapshots::SnapshotFiles;

/// Consensus, the control plane, and group 0 from both sides.
pub(super) type Started = (Consensus, Control, GroupControl, GroupHandle);

/// Starts consensus, group 0 and the peer front end on consensus' own thread.
pub(super) async fn start_consensus(
    runtime: &Handle,
    shared: &Arc<NodeShared>,
    certificates: &Certificates,
    log: Log,
    listeners: Vec<std::net::TcpListener>,
    snapshots: SnapshotFiles,
) -> Result<Started, NodeError> {
    let source = shared.config.load().source_address();
    let transport =
        Arc::new(TlsTransport::new(shared.cluster, certificates.to_peers.clone(), source, shared.lab.clone()));
    // Handshakes run on this runtime, not on consensus' own.
    let listening = listeners.into_iter().map(|listener| {
        let guard = Guard::new("peer-port", certificates.peers.clone(), descriptors::bounds());
        Ok::<_, std::io::Error>(guard.accept(TcpListener::from_std(listener)?))
    });
    let listening = listening.collect::<Result<Vec<_>, _>>()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = shared.config.load().dir.clone();
    let timers = Timers::for_failover(shared.config.load().failover_timeout);
    let promised_before = promise::start(&dir, timers.lease).map_err(NodeError::Promise)?;
    let options = ConsensusOptions {
        format: FormatLevel::CURRENT,
        node: shared.node,
        az: shared.az.clone(),
        cluster: shared.cluster,
        timers,
        promised_before,
        clock_offset_max: shared.config.load().clock_max_offset,
        loop_stall_max: shared.config.load().loop_stall_max,
        clock: clock.clone(),
        seed: rand::random(),
        events: shared.events.clone(),
    };
    let (node, shared) = (shared.node, shared.clone());
    let started = runtime.spawn(async move {
        let consensus = Consensus::new(options, log, transport)?;
        for connections in listening {
            let incoming = ReceiverStream::new(connections).map(|stream| stream.and_then(GrpcStream::adopt));
            let server = Server::builder()
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .max_frame_size(HTTP_FRAME_BYTES_MAX)
                .http2_keepalive_interval(Some(KEEP_ALIVE.0))
                .http2_keepalive_timeout(Some(KEEP_ALIVE.1));
            let service = PeerServer::service(shared.cluster, consensus.clone(), shared.lab.clone());
            tokio::spawn(async move {
                if let Err(error) = server.serve_with_incoming(service, incoming).await {
                    tracing::error!(%error, "peer-port is no longer served: no other node can connect to this one");
                }
            });
        }
        let snapshots = Arc::new(snapshots);
        let (handle, group) = consensus.start_group(GroupId::CONTROL, Some(snapshots.clone())).await?;
        let (own, view) = (handle.clone(), Arc::new(group.clone()));
        let control = Control::start(ControlOptions { node, handle, group: view, clock, snapshots: Some(snapshots) });
        Ok::<Started, NodeError>((consensus, control, group, own))
    });
    if promised_before > timers.lease {
        tokio::spawn(promise::shorten(dir, promised_before, timers.lease));
    }
    match started.await {
        Ok(started) => started,
        Err(panicked) => Err(NodeError::Threads(std::io::Error::other(panicked))),
    }
}
