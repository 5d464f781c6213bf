//! Takes messages of channels from other nodes.

use std::sync::Arc;

use fastness_types::ShardId;
use fastness_types::limits::{CHANNEL_BYTES_MAX, CHANNEL_MESSAGE_BYTES_MAX};
use fastness_wire::peer::v1::channel_service_server::{ChannelService, ChannelServiceServer};
use fastness_wire::peer::v1::{ChannelMessage, PublishRequest, PublishResponse};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::links::REQUEST_BYTES_MAX;
use super::message::Publication;
use crate::admin_guard::AdminGuard;
use crate::shared::{NodeShared, Phase};
use crate::tls::Identity;

/// See the module.
pub(crate) struct ChannelServer {
    node: Arc<NodeShared>,
}

impl ChannelServer {
    /// The service, for other nodes of the cluster alone.
    pub(crate) fn service(
        node: Arc<NodeShared>,
    ) -> InterceptedService<ChannelServiceServer<ChannelServer>, AdminGuard> {
        let guard = AdminGuard::new(node.clone());
        let service = ChannelServiceServer::new(ChannelServer { node });
        InterceptedService::new(service.max_decoding_message_size(REQUEST_BYTES_MAX), guard)
    }
}

/// The message, if its sender keeps to the limits.
fn publication(message: ChannelMessage) -> Option<Publication> {
    let ChannelMessage { channel, payload, shard } = message;
    let is_valid = channel.len() <= CHANNEL_BYTES_MAX && payload.len() <= CHANNEL_MESSAGE_BYTES_MAX;
    is_valid.then(|| Publication { channel, payload, shard: (shard != 0).then_some(ShardId(shard)) })
}

#[tonic::async_trait]
impl ChannelService for ChannelServer {
    async fn publish(&self, request: Request<Streaming<PublishRequest>>) -> Result<Response<PublishResponse>, Status> {
        if !matches!(request.extensions().get::<Identity>(), Some(Identity::Node(..))) {
            return Err(Status::permission_denied("the certificate does not name a node of this cluster"));
        }
        let mut requests = request.into_inner();
        let receive = async {
            while let Some(request) = requests.message().await? {
                for message in request.messages.into_iter().filter_map(publication) {
                    self.node.publications.deliver(&Arc::new(message));
                }
            }
            Ok::<(), Status>(())
        };
        tokio::select! {
            received = receive => received?,
            () = self.node.reached(Phase::Closing) => {}
        }
        Ok(Response::new(PublishResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_limits_is_left_out() {
        let message = |channel: usize, payload: usize| ChannelMessage {
            channel: vec![b'c'; channel].into(),
            payload: vec![b'p'; payload].into(),
            shard: 3,
        };
        assert_eq!(publication(message(1, 1)).and_then(|message| message.shard), Some(ShardId(3)));
        assert!(publication(message(CHANNEL_BYTES_MAX + 1, 1)).is_none());
        assert!(publication(message(1, CHANNEL_MESSAGE_BYTES_MAX + 1)).is_none());
    }
}
