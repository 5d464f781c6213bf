//! Streams of committed changes: `fastness.v1.WatchService`.
//!
//! ```text
//! log of the replica ─▶ ChangeReader (shard/src/changes) ─▶ follow: filter, changes ─▶ outbox ─▶ the client's stream
//! ```
//!
//! One task for each stream, on the runtime of the gRPC port. A replica's thread only publishes its applied position,
//! and answers requests for current values; it never waits for a watcher. The log is the buffer of a watcher; the
//! `outbox` holds little more than a message, and ends a stream whose client takes nothing.

mod changes;
mod follow;
mod outbox;
mod request;
mod values;
pub mod watchers;

pub use outbox::WatchResponses;

use std::sync::Arc;

use fastness_types::Clock;
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use fastness_wire::v1::WatchRequest;
use fastness_wire::v1::watch_service_server::{WatchService, WatchServiceServer};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::gateway::Gateway;
use super::guard::ApiGuard;
use super::memory::{MessageMemory, Metered};
use super::service::caller;

/// The service.
pub struct WatchServer {
    gateway: Gateway,
    memory: Arc<MessageMemory>,
    clock: Arc<dyn Clock>,
}

impl WatchServer {
    /// As a tonic service that checks every caller.
    #[must_use]
    pub fn service(
        gateway: Gateway,
        clock: Arc<dyn Clock>,
    ) -> InterceptedService<Metered<WatchServiceServer<WatchServer>>, ApiGuard> {
        let guard = ApiGuard::new(gateway.node.clone(), clock.clone());
        let memory = gateway.node.messages.clone();
        let server = WatchServiceServer::new(WatchServer { gateway, memory: memory.clone(), clock })
            .max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GRPC_MESSAGE_BYTES_MAX);
        InterceptedService::new(Metered { inner: server, memory }, guard)
    }
}

#[tonic::async_trait]
impl WatchService for WatchServer {
    type WatchStream = WatchResponses;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<WatchResponses>, Status> {
        let caller = caller(&request, &self.memory)?;
        let watched = request::parse(&self.gateway, request.into_inner())?;
        Ok(Response::new(follow::start(&self.gateway, caller, watched, self.clock.clone()).await?))
    }
}
