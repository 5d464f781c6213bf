//! Checks of a cluster, from what every node reports about itself and its replicas.

mod access;
mod certificates;
mod clocks;
mod disks;
mod durability;
mod facts;
#[cfg(test)]
mod fixture;
mod lab_faults;
mod margins;
mod membership;
mod placement;
mod primaries;
mod reach;
mod replicas;
mod resources;
mod users;
mod versions;

use anyhow::Result;
use fastness_wire::admin::v1::DescribeClusterResponse;

use super::finding::{CheckResult, Finding, NextStep};
use crate::admin::Admin;
use crate::connection::Connection;
use access::ClusterAccess;
use facts::ClusterFacts;

/// The checks, in the order of the report.
const CHECKS: &[fn(&ClusterFacts) -> Vec<Finding>] = &[
    reach::check,
    versions::check,
    clocks::check,
    placement::check,
    membership::check,
    primaries::check,
    replicas::check,
    margins::check,
    durability::check,
    certificates::check,
    disks::check,
    resources::check,
    users::check,
    lab_faults::check,
];

/// Checks the cluster that the arguments name.
///
/// # Errors
/// The arguments or the files that they name are wrong. A cluster that does not answer is a finding.
pub async fn examine(connection: &Connection) -> Result<Vec<Finding>> {
    let access = ClusterAccess::of(connection);
    let (admin, map) = match find(connection).await? {
        Ok(found) => found,
        Err(error) => return Ok(vec![silent(&access, &format!("{error:#}"))]),
    };
    if map.map_version == 0 {
        return Ok(vec![uncreated(&map)]);
    }
    let facts = ClusterFacts::gather(&admin, map, access).await;
    Ok(CHECKS.iter().flat_map(|check| check(&facts)).collect())
}

/// The client and the map; the inner error: nobody answers.
async fn find(connection: &Connection) -> Result<Result<(Admin, DescribeClusterResponse)>> {
    let (admin, addresses) = match connection.open() {
        Ok(opened) => opened,
        // Of a folder whose nodes are all down this is all that can be said.
        Err(error) if connection.dir.as_ref().is_some_and(|dir| dir.join("cluster.json").is_file()) => {
            return Ok(Err(error));
        }
        Err(error) => return Err(error),
    };
    Ok(admin.describe_first(&addresses).await.map(|map| (admin, map)))
}

fn silent(access: &ClusterAccess, reason: &str) -> Finding {
    let found = Finding::ok(reach::CHECK, "the cluster", format!("no node answers: {reason}"));
    found.but(CheckResult::Problem, "nothing else can be checked, and clients are not served").then(access.start_all())
}

fn uncreated(map: &DescribeClusterResponse) -> Finding {
    let found = Finding::ok("cluster", format!("node {}", map.node_id), "it runs, and belongs to no cluster yet");
    let why = "it serves no client until the cluster is created, or it replaces a lost node";
    found.but(CheckResult::Problem, why).then(NextStep::fastness(["help", "cluster", "create"]))
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_cluster_that_is_silent_or_does_not_exist_is_a_finding() {
        let of = |access| result(&silent(&access, "connection refused"));
        assert_eq!([of(fixture::of_folder()), of(fixture::by_address())], [CheckResult::Problem; 2]);
        assert_eq!(result(&uncreated(&DescribeClusterResponse::default())), CheckResult::Problem);
    }
}
