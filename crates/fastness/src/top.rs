//! `fastness top`: watches a cluster in a terminal.
//!
//! ```text
//! sample (one node, polled by itself) ─▶ watched (the newest reports) ─▶ overview (one frame's figures) ─▶ draw
//! ```
//!
//! - [`fastness_console::watch`]: everything up to the figures, the same as the web console has.
//! - [`draw`]: a frame; pure. [`choice`]: keys. [`screen`]: the terminal. [`live`]: the loop.

mod choice;
mod draw;
mod live;
mod screen;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastness_console::watch::overview::Overview;
use fastness_console::watch::sample::{NodePoller, now_ms};
use fastness_console::watch::watched::ClusterWatch;
use fastness_wire::admin::v1::DescribeClusterResponse;
use futures::future::join_all;

use crate::admin::Admin;
use crate::admin_calls::AdminCluster;
use crate::connection::Connection;

/// Examples for the help.
pub const EXAMPLES: &str = "\
Examples:
  fastness top --dir .fastness-dev
  fastness top --address 10.0.1.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key --interval 2s
  fastness top --dir .fastness-dev --once";

/// Shortest and longest time between two samples.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct TopArguments {
    #[command(flatten)]
    connection: Connection,
    /// Print one frame as text and exit; with --json as JSON. Rates are those of one interval. Exit status 0 also if
    /// nodes are down, 1 if no node answers
    #[arg(long)]
    once: bool,
    /// Time between two samples of each node
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration> {
    let span = humantime::parse_duration(text)?;
    ensure!((INTERVAL_MIN..=INTERVAL_MAX).contains(&span), "it must be 100ms to 1h");
    Ok(span)
}

/// Runs the command.
pub async fn run(arguments: TopArguments) -> Result<()> {
    let TopArguments { connection, once, interval } = arguments;
    ensure!(once || !connection.json, "--json prints one frame: give --once as well");
    let (admin, addresses) = connection.open()?;
    let map = first_map(&admin, &addresses).await?;
    let cluster = Arc::new(AdminCluster::new(admin, addresses));
    if !once {
        return live::run(cluster, map, interval).await;
    }
    let overview = two_samples(cluster, map, interval).await?;
    let page = if connection.json { serde_json::to_string_pretty(&overview)? + "\n" } else { draw::page(&overview) };
    std::io::stdout().write_all(page.as_bytes())?;
    Ok(())
}

/// The cluster as the node sees it that answers first: those that do not answer are not waited for.
async fn first_map(admin: &Admin, addresses: &[String]) -> Result<DescribeClusterResponse> {
    let map = admin.describe_first(addresses).await?;
    if map.map_version == 0 {
        bail!(
            "node {} is running, but belongs to no cluster yet: create one with `fastness cluster create`",
            map.node_id
        );
    }
    Ok(map)
}

/// Polls every node twice, an interval apart, all nodes at once.
async fn two_samples(cluster: Arc<AdminCluster>, map: DescribeClusterResponse, interval: Duration) -> Result<Overview> {
    let mut pollers: Vec<_> = map.nodes.iter().map(|node| NodePoller::new(cluster.clone(), node.clone())).collect();
    let mut watched = ClusterWatch::new(map);
    for round in 0..2 {
        if round > 0 {
            tokio::time::sleep(interval).await;
        }
        for report in join_all(pollers.iter_mut().map(NodePoller::poll)).await {
            watched.take(report);
        }
    }
    ensure!(watched.views().iter().any(|(_, view)| view.is_some()), "no node has answered");
    Ok(Overview::of(&watched, now_ms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_span_within_bounds() {
        assert_eq!(interval("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["10ms", "2h", "fast", ""] {
            assert!(interval(wrong).is_err(), "{wrong:?}");
        }
    }
}
