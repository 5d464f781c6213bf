//! This node's web console: how it reaches the nodes of the cluster, and who may see it.
//!
//! Its own figures are taken in this process, so that a node that is cut off still shows itself. The other nodes are
//! called over their gRPC ports with this node's certificate, as for any question between nodes. What they answer is
//! what every node may know of the cluster; keys, values and arguments of commands are not among it.

mod calls;
mod opener;
mod passwords;

use std::sync::Arc;

use axum::Router;
use fastness_console::web::feed::Feed;
use fastness_console::web::router::Console;
use fastness_types::Clock;

use crate::admin::Admin;
use calls::ClusterOfNode;
use passwords::UsersOfCluster;

pub use opener::MaybeTls;

/// The paths of the console. `admin` answers for this node.
pub fn router(admin: Arc<Admin>, clock: Arc<dyn Clock>) -> Router {
    let passwords = Arc::new(UsersOfCluster::new(admin.node.clone(), clock));
    let feed = Feed::new(Arc::new(ClusterOfNode::new(admin)));
    Console::of_node(feed, passwords).router()
}
