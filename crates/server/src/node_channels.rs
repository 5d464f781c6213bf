//! Connections to the gRPC ports of other nodes, with this node's certificate.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::NodeInfo;
use fastness_types::NodeId;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::certificates::Newest;
use crate::shared::NodeShared;

/// One connection to each node, made when it is first used.
pub(crate) struct NodeChannels {
    /// With the address that it was made for.
    channels: BTreeMap<NodeId, (String, Channel)>,
    tls: Newest<ClientTlsConfig>,
    /// What the channels were made with.
    made_with: Arc<ClientTlsConfig>,
    source: Option<IpAddr>,
    connect_max: Duration,
    answer_max: Option<Duration>,
}

impl NodeChannels {
    /// `tls` has this node's certificate. A call takes at most `answer_max`, if given.
    pub(crate) fn new(
        node: &NodeShared,
        tls: Newest<ClientTlsConfig>,
        connect_max: Duration,
        answer_max: Option<Duration>,
    ) -> NodeChannels {
        let source = node.config.load().source_address();
        NodeChannels { channels: BTreeMap::new(), made_with: tls.load(), tls, source, connect_max, answer_max }
    }

    /// The connection to a node; `None`: its address is not valid.
    pub(crate) fn channel(&mut self, node: &NodeInfo) -> Option<Channel> {
        let newest = self.tls.load();
        if !Arc::ptr_eq(&newest, &self.made_with) {
            // A channel connects again by itself, and would show the previous certificate.
            self.channels.clear();
            self.made_with = newest;
        }
        self.channels.retain(|id, (address, _)| *id != node.id || *address == node.grpc_address);
        match self.channels.entry(node.id) {
            Entry::Occupied(known) => Some(known.get().1.clone()),
            Entry::Vacant(place) => {
                let endpoint = Endpoint::from_shared(format!("https://{}", node.grpc_address)).ok()?;
                let endpoint = endpoint.tls_config(ClientTlsConfig::clone(&self.made_with)).ok()?;
                let endpoint = endpoint.connect_timeout(self.connect_max).local_address(self.source);
                let endpoint = match self.answer_max {
                    Some(answer_max) => endpoint.timeout(answer_max),
                    None => endpoint,
                };
                Some(place.insert((node.grpc_address.clone(), endpoint.connect_lazy())).1.clone())
            }
        }
    }
}
