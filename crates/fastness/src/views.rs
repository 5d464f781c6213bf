//! Calls several nodes for their reports about their replicas.

use fastness_console::watch::views::Views;
use fastness_wire::admin::v1::{DescribeClusterResponse, NodeSpec};

use crate::admin::Admin;

/// Calls all nodes of a cluster at once, and returns each with its report.
pub async fn of_cluster(admin: &Admin, nodes: &[NodeSpec]) -> Vec<(u64, Option<DescribeClusterResponse>)> {
    gather(admin, nodes.iter().map(|node| (node.id, Some(node.grpc_address.clone())))).await
}

/// Calls the given nodes, all at once, and returns each with its report, in their order. A node without an address is
/// not called.
pub async fn gather(
    admin: &Admin,
    nodes: impl Iterator<Item = (u64, Option<String>)>,
) -> Vec<(u64, Option<DescribeClusterResponse>)> {
    let call = |(id, address): (u64, Option<String>)| {
        let admin = admin.clone();
        (id, tokio::spawn(async move { admin.describe(&address?).await.ok() }))
    };
    let mut views = Vec::new();
    for (id, call) in nodes.map(call).collect::<Vec<_>>() {
        views.push((id, call.await.ok().flatten()));
    }
    views
}

/// One line for each injected fault, as a reminder that it is set.
pub fn faults(views: &Views) -> String {
    let of = |(node, view): &(u64, Option<DescribeClusterResponse>)| -> String {
        let faults = view.iter().flat_map(|view| &view.lab_faults);
        faults.map(|fault| format!("LAB: node {node} has an injected fault: {fault}\n")).collect()
    };
    views.iter().map(of).collect()
}
