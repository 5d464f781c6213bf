//! Passes operations on to the node that serves them, for clients that know no shards (`CallOptions.forward`).
//!
//! - One hop: what arrives forwarded is not passed on again; its MOVED reaches the client, who tries again.
//! - The user goes with it, in a header that only nodes of the cluster may send; rights are checked where it runs.
//!   Durability, consistency, idempotency key and the rest of the deadline go with it, too.
//! - Once it was sent it is not sent again: a write without an answer has an unknown outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastness_types::NodeId;
use fastness_types::limits::GRPC_MESSAGE_BYTES_MAX;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::{self, BatchRequest, PipelineRequest};
use parking_lot::Mutex;
use prost::Message as _;
use tonic::metadata::{Binary, MetadataKey, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, ConnectError, Request, Status};

use super::lane::{Caller, LaneError, dropped};
use super::operation::TRACE_PARENT;
use super::refusal::{ApiRefusal, reason};
use crate::certificates::Newest;
use crate::node_channels::NodeChannels;
use crate::shared::NodeShared;

/// The header with the name of the user, between nodes.
pub(super) const USER_HEADER: &str = "fastness-user-bin";
/// How long a connection to another node may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a forwarded operation may take whose client has set no deadline: longer than any reply waits for the log.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// Marks a call that another node has forwarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forwarded;

/// See the module.
pub(super) struct Forwarder {
    node: Arc<NodeShared>,
    channels: Mutex<NodeChannels>,
    user_header: MetadataKey<Binary>,
}

impl Forwarder {
    pub(super) fn new(node: Arc<NodeShared>, tls: Newest<ClientTlsConfig>) -> Forwarder {
        let channels = Mutex::new(NodeChannels::new(&node, tls, CONNECT_MAX, None));
        Forwarder { node, channels, user_header: MetadataKey::from_static(USER_HEADER) }
    }

    /// Runs an operation at the node that a refusal has named.
    pub(super) async fn run(
        &self,
        caller: &Caller,
        to: &ApiRefusal,
        operation: Operation,
        writes: bool,
    ) -> Result<Outcome, ApiRefusal> {
        let request = BatchRequest { operations: vec![PipelineRequest { operation: Some(operation) }] };
        let (mut node, request) = self.prepare(caller, to, request)?;
        let response = node.batch(request).await.map_err(|status| unanswered(writes, &status))?.into_inner();
        let len = response.encoded_len();
        self.keep(caller, len)?;
        match response.responses.into_iter().next().and_then(|response| response.outcome) {
            Some(Outcome::Error(error)) => Err(error.into()),
            Some(outcome) => Ok(outcome),
            None if writes => Err(ApiRefusal::unknown("the node that ran the operation sent no response to it")),
            None => Err(ApiRefusal::unavailable(reason::NOT_SERVED, "the node sent no response to the operation")),
        }
    }

    /// The same for a transaction.
    pub(super) async fn run_txn(
        &self,
        caller: &Caller,
        to: &ApiRefusal,
        request: v1::TxnRequest,
        writes: bool,
    ) -> Result<v1::TxnResponse, ApiRefusal> {
        let (mut node, request) = self.prepare(caller, to, request)?;
        let response = node.txn(request).await.map_err(|status| unanswered(writes, &status))?.into_inner();
        self.keep(caller, response.encoded_len())?;
        Ok(response)
    }

    /// The node that a refusal names, and what is sent to it.
    fn prepare<Q>(
        &self,
        caller: &Caller,
        to: &ApiRefusal,
        message: Q,
    ) -> Result<(KvServiceClient<Channel>, Request<Q>), ApiRefusal> {
        let down = || ApiRefusal::unavailable("CLUSTERDOWN", "The cluster is down");
        let id = to.metadata.get("node").and_then(|id| id.parse().ok()).map(NodeId).ok_or_else(down)?;
        let map = self.node.map.load_full();
        let known = map.as_ref().and_then(|map| map.node(id)).ok_or_else(down)?;
        let channel = self.channels.lock().channel(known).ok_or_else(down)?;
        let mut request = Request::new(message);
        let user = MetadataValue::from_bytes(caller.account.name.as_bytes());
        request.metadata_mut().insert_bin(self.user_header.clone(), user);
        if let Some(parent) = caller.trace_parent.and_then(|parent| parent.to_string().parse().ok()) {
            request.metadata_mut().insert(TRACE_PARENT, parent);
        }
        let left = caller.until.map_or(ANSWER_MAX, |until| until.saturating_duration_since(Instant::now()));
        request.set_timeout(left.min(ANSWER_MAX));
        self.node.forwarded.fetch_add(1, Ordering::Relaxed);
        let client = KvServiceClient::new(channel).max_decoding_message_size(2 * GRPC_MESSAGE_BYTES_MAX);
        Ok((client.max_encoding_message_size(2 * GRPC_MESSAGE_BYTES_MAX), request))
    }

    /// Reserves what a response takes until it has left.
    fn keep(&self, caller: &Caller, bytes: usize) -> Result<(), ApiRefusal> {
        let mut room = caller.memory.reply();
        if !room.grow_to(bytes, 1) {
            return Err(dropped(LaneError::NoMemory));
        }
        caller.held.keep(room.into_permit());
        Ok(())
    }
}

/// Why another node has not answered, or has refused the call as a whole.
fn unanswered(writes: bool, status: &Status) -> ApiRefusal {
    if let Some(refusal) = ApiRefusal::from_status(status) {
        return refusal;
    }
    let mut causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    if causes.any(|cause| cause.is::<ConnectError>()) {
        return ApiRefusal::unavailable("CLUSTERDOWN", "the node that serves the key cannot be reached");
    }
    let text = format!("the node that serves the key has not answered: {}", status.message());
    match (writes, status.code()) {
        (true, _) => ApiRefusal::unknown(text),
        (false, Code::DeadlineExceeded) => ApiRefusal::new(Code::DeadlineExceeded, "ERR", text),
        (false, _) => ApiRefusal::unavailable(reason::NOT_SERVED, text),
    }
}
