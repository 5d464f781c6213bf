//! The links of this node to all of its peers.

use std::collections::HashMap;
use std::sync::Arc;

use fastness_types::NodeId;
use parking_lot::Mutex;

use crate::node::NodeCore;
use crate::peer::link::Link;
use crate::peer::transport::Class;

/// One link per peer and class. A link is opened when it is first used, and stays open.
pub(crate) struct Links {
    node: Arc<NodeCore>,
    open: Mutex<HashMap<(NodeId, Class), Arc<Link>>>,
}

impl Links {
    pub(crate) fn new(node: Arc<NodeCore>) -> Links {
        Links { node, open: Mutex::default() }
    }

    pub(crate) fn node(&self) -> &Arc<NodeCore> {
        &self.node
    }

    /// The link to `peer`. `address`: where the peer listens, as a membership says.
    pub(crate) fn to(&self, peer: NodeId, class: Class, address: Option<&str>) -> Arc<Link> {
        if let Some(at) = address {
            self.node.set_address(peer, at, false);
        }
        let mut open = self.open.lock();
        let link = open.entry((peer, class)).or_insert_with(|| {
            let link = Arc::new(Link::new(peer, class));
            self.node.runtime().spawn(link.clone().run(self.node.clone()));
            link
        });
        link.clone()
    }
}
