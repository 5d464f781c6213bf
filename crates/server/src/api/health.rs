//! Health of the data API (`grpc.health.v1`), for load balancers and probes: of the service, and of each shard.
//!
//! `""`, `fastness.v1.KvService` and `fastness.v1.WatchService` serve while the node does. `fastness.shard.N` serves
//! while this node's replica of the shard is its primary under a lease: then calls for its keys are answered here. A
//! shard without a replica here is an unknown service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::v1::kv_service_server::SERVICE_NAME;
use fastness_wire::v1::watch_service_server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::replicas::Replicas;
use crate::shared::{NodeShared, Phase};

/// Time between two checks.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// Keeps the reports current until the node ends.
pub(crate) async fn follow(node: Arc<NodeShared>, replicas: Arc<Replicas>, reporter: HealthReporter) {
    let mut reported: BTreeMap<String, bool> = BTreeMap::new();
    while node.phase() < Phase::Closing {
        for (service, serves) in observed(&node, &replicas) {
            if reported.insert(service.clone(), serves) != Some(serves) {
                let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(service, status).await;
            }
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

fn observed(node: &NodeShared, replicas: &Replicas) -> Vec<(String, bool)> {
    let runs = node.phase() == Phase::Running;
    let all = replicas.all();
    let serves = runs && !all.is_empty();
    let names = [String::new(), SERVICE_NAME.to_owned(), watch_service_server::SERVICE_NAME.to_owned()];
    let mut services: Vec<_> = names.into_iter().map(|name| (name, serves)).collect();
    for (shard, running) in all {
        let status = running.control.status();
        let leads = status.leader == Some(node.node) && status.lease_held;
        services.push((format!("fastness.shard.{shard}"), runs && leads));
    }
    services
}
