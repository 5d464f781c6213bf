//! Follows the topology by a stream from one node.
//!
//! - The stream is opened when a client makes its first call, to any node, and again to another one after it broke,
//!   with backoff. Calls never wait for it: whom to call is learned from refusals as well.
//! - A node without the service (of an older version), or a user without the right to it, is asked again after a
//!   minute.
//! - The task holds the client weakly, and ends with it or with its runtime. Then the next call starts it again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use fastness_wire::v1;
use fastness_wire::v1::topology_service_client::TopologyServiceClient;
use tokio::runtime::Handle;
use tonic::{Code, Status};

use crate::calls::ClientCore;

/// How long a stream may be silent: nodes send something every 10 s.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The first wait before a stream is opened again, and the longest one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long nodes are not asked again that do not have the service.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Longest topology, bytes.
const TOPOLOGY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Starts the task if it does not run.
pub(crate) fn ensure_followed(core: &Arc<ClientCore>) {
    if core.topology.runs() {
        return;
    }
    // Without a runtime the call cannot be made either.
    let Ok(runtime) = Handle::try_current() else { return };
    core.topology.start(&runtime, follow(Arc::downgrade(core)));
}

async fn follow(core: Weak<ClientCore>) {
    // Clients begin with different nodes.
    let mut turn: usize = rand::random_range(0..1_000);
    let mut failures = 0;
    loop {
        let Some(address) = core.upgrade().map(|core| core.pool.in_turn(turn)) else { return };
        let mut has_heard = false;
        let ended = watch(&core, &address, &mut has_heard).await;
        let Some(strong) = core.upgrade() else { return };
        let wait = match ended.code() {
            Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated => REFUSED_FOR,
            _ => {
                failures = if has_heard { 0 } else { failures + 1 };
                let doubled = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures));
                doubled.min(BACKOFF_MAX).mul_f64(rand::random_range(0.5..1.0))
            }
        };
        drop(strong);
        tracing::debug!(target: "fastness_client", node = &*address, status = %ended, "the topology's stream has ended");
        turn = turn.wrapping_add(1);
        tokio::time::sleep(wait).await;
    }
}

/// Follows one stream; returns the status with which it ended.
async fn watch(core: &Weak<ClientCore>, address: &Arc<str>, has_heard: &mut bool) -> Status {
    let opened = {
        let Some(core) = core.upgrade() else { return Status::cancelled("the client was dropped") };
        let channel = match core.pool.channel(address) {
            Ok(channel) => channel,
            Err(error) => return Status::unavailable(error.to_string()),
        };
        (TopologyServiceClient::new(channel), core.authorized(v1::WatchTopologyRequest {}))
    };
    let (client, request) = opened;
    let mut client = client.max_decoding_message_size(TOPOLOGY_BYTES_MAX);
    let silent = |_| Status::deadline_exceeded("the node sends nothing");
    let mut stream = match tokio::time::timeout(SILENCE_MAX, client.watch_topology(request)).await.map_err(silent) {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) | Err(status) => return status,
    };
    loop {
        let message = match tokio::time::timeout(SILENCE_MAX, stream.message()).await.map_err(silent) {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Status::unavailable("the node has ended the stream"),
            Ok(Err(status)) | Err(status) => return status,
        };
        *has_heard = true;
        let Some(core) = core.upgrade() else { return Status::cancelled("the client was dropped") };
        if let Some(topology) = message.topology
            && !core.learn(&topology)
        {
            return Status::unavailable("the node has an older map");
        }
    }
}
