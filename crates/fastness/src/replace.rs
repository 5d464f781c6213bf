//! `fastness cluster replace-replica`: requests the replacement of a node and reports its progress until every group
//! has the new node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use fastness_console::watch::views::{Views, primary_of};
use fastness_wire::admin::v1::{DescribeClusterResponse, GroupMember, ReplaceNodeRequest, ReplicaStatus};
use serde_json::json;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::connection::{Connection, first_that_answers};
use crate::dev;
use crate::views;

/// Interval between two checks of the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct ReplaceArguments {
    #[command(flatten)]
    connection: Connection,
    /// The node that is lost
    #[arg(long, value_name = "ID")]
    node: u64,
    /// The node that replaces it
    #[arg(long, value_name = "ID")]
    with: u64,
    /// The new node's gRPC address; not needed with --dir
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "dir")]
    at: Option<String>,
    /// How long to report progress, in seconds; the replacement continues after that
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// Runs the command.
pub async fn run(arguments: ReplaceArguments) -> Result<()> {
    let ReplaceArguments { connection, node, with, at, timeout } = arguments;
    let at = match (at, &connection.dir) {
        (Some(at), _) => at,
        (None, Some(dir)) => dev::grpc_address_of(dir, with)?,
        (None, None) => bail!("--at is missing: give the gRPC address of the new node"),
    };
    let (admin, mut addresses) = connection.open()?;
    // The new node does not belong to the cluster yet.
    addresses.retain(|address| *address != at);
    let request = ReplaceNodeRequest { old_node: node, new_node: with, new_grpc_address: at };
    let answer = first_that_answers!(&addresses, |address| admin.replace_node(address, request.clone()))?;
    if let Some(dir) = &connection.dir {
        dev::note_replaced(dir, node, with).await?;
    }
    let print = |text: &str| {
        if !connection.json {
            print!("{text}");
        }
    };
    for warning in &answer.warnings {
        print(&format!("warning: {warning}\n"));
    }
    if !answer.complete {
        print(&format!("node {with} replaces node {node}; progress of each group:\n"));
        watch(&admin, &addresses, (node, with), Duration::from_secs(timeout), print).await?;
    }
    let holdings = holdings(&admin, &addresses, with).await?;
    if connection.json {
        let groups: Vec<_> = holdings
            .iter()
            .map(|(group, member, last)| {
                json!({
                    "group": group,
                    "held_index": member.held_index,
                    "last_index": last,
                    "keys": member.held_keys,
                    "bytes": member.held_bytes,
                    "snapshot_index": member.snapshot_index,
                })
            })
            .collect();
        let done =
            json!({ "node": node, "with": with, "complete": true, "warnings": answer.warnings, "groups": groups });
        println!("{done}");
    } else {
        println!("node {with} has replaced node {node} in every group; the data that it reports:");
        for (group, member, last) in holdings {
            println!("  {:13} {}", name_of(group), holds(&member, last));
        }
    }
    Ok(())
}

/// What the new node reports about its memory for each group, as the group's leader received it last.
async fn holdings(admin: &Admin, addresses: &[String], with: u64) -> Result<Vec<(u32, GroupMember, u64)>> {
    let map = first_that_answers!(addresses, |address| admin.describe(address))?;
    let views = views::of_cluster(admin, &map.nodes).await;
    let found = groups_of(&map, with).filter_map(|group| {
        let replica = replica(group, primary_of(group, &views)?, &views)?;
        let member = replica.members.iter().find(|member| member.node == with)?;
        Some((group, *member, replica.last_log))
    });
    Ok(found.collect())
}

fn name_of(group: u32) -> String {
    if group == 0 { "control plane".to_owned() } else { format!("shard {group}") }
}

/// Describes a member's report about its memory.
fn holds(member: &GroupMember, last: u64) -> String {
    let Some(index) = member.held_index else {
        return format!("nothing reported; its log is at index {} of {last}", member.matched);
    };
    let mut text = format!("memory at index {index} of {last}");
    if member.held_keys > 0 {
        let _ = write!(text, ", {} keys of {} bytes", member.held_keys, member.held_bytes);
    }
    if member.snapshot_index > 0 {
        let _ = write!(text, ", snapshot of index {}", member.snapshot_index);
    }
    text
}

/// Prints the progress until the map says that the replacement is complete.
async fn watch(
    admin: &Admin,
    addresses: &[String],
    (node, with): (u64, u64),
    patience: Duration,
    print: impl Fn(&str),
) -> Result<()> {
    let until = Instant::now() + patience;
    let mut printed: BTreeMap<u32, String> = BTreeMap::new();
    loop {
        let map = first_that_answers!(addresses, |address| admin.describe(address))?;
        if map.replaced.iter().any(|replaced| replaced.node == node && replaced.by == with) {
            return Ok(());
        }
        if let Some(other) = map.replacement.as_ref().filter(|replacement| replacement.by != with) {
            bail!("node {with} is itself being replaced, by node {}", other.by);
        }
        let views = views::of_cluster(admin, &map.nodes).await;
        for (group, line) in progress(&map, &views, with) {
            if printed.get(&group) != Some(&line) {
                print(&format!("  {:13} {line}\n", name_of(group)));
                printed.insert(group, line);
            }
        }
        if Instant::now() >= until {
            let mut unfinished = String::new();
            for (group, line) in printed.iter().filter(|(_, line)| *line != DONE) {
                let _ = write!(unfinished, "\n  {}: {line}", name_of(*group));
            }
            bail!(
                "the replacement is not complete after {} s; it continues in the background; repeat the command to see its progress{unfinished}",
                patience.as_secs()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

const DONE: &str = "done";

/// The progress of each group that the new node belongs to, as its leader reports it.
fn progress(map: &DescribeClusterResponse, views: &Views, with: u64) -> Vec<(u32, String)> {
    groups_of(map, with).map(|group| (group, progress_of(group, map, views, with))).collect()
}

/// The groups that the map assigns to the new node.
fn groups_of(map: &DescribeClusterResponse, with: u64) -> impl Iterator<Item = u32> {
    let shards = map.shards.iter().filter(move |shard| shard.members.contains(&with)).map(|shard| shard.id);
    [0].into_iter().chain(shards)
}

fn progress_of(group: u32, map: &DescribeClusterResponse, views: &Views, with: u64) -> String {
    let leader = primary_of(group, views).context("no leader").ok();
    let replica = leader.and_then(|leader| replica(group, leader, views));
    let Some(replica) = replica else {
        return "no leader answers; the replacement continues once there is one".to_owned();
    };
    let Some(member) = replica.members.iter().find(|member| member.node == with) else {
        return "not started".to_owned();
    };
    let leaving = map.replacement.as_ref().map_or(&[][..], |replacement| &replacement.leaving);
    let still = replica.members.iter().any(|member| member.votes && leaving.contains(&member.node));
    match (replica.joint, member.votes && !still) {
        (true, _) => "joint configuration: old and new members must both agree".to_owned(),
        (false, true) => DONE.to_owned(),
        // A node without a vote follows the control plane; its replacement is done once it is a member.
        (false, false) if group == 0 && !still => DONE.to_owned(),
        (false, false) => {
            let (log, last) = (member.matched, replica.last_log);
            format!("learner added, log at index {log} of {last}, {}", holds(member, last))
        }
    }
}

fn replica(group: u32, node: u64, views: &Views) -> Option<&ReplicaStatus> {
    let (_, view) = views.iter().find(|(id, _)| *id == node)?;
    view.as_ref()?.replicas.iter().find(|replica| replica.shard == group)
}

#[cfg(test)]
mod tests {
    use fastness_wire::admin::v1::{GroupMember, Replacement, ShardStatus};

    use super::*;

    #[test]
    fn progress_is_what_the_groups_leader_reports() {
        let shard = ShardStatus { id: 1, members: vec![4, 2, 3], ..ShardStatus::default() };
        let replacement = Some(Replacement { leaving: vec![1], by: 4 });
        let map = DescribeClusterResponse { shards: vec![shard], replacement, ..DescribeClusterResponse::default() };
        let line = |joint: bool, voters: &[u64], learners: &[u64]| {
            let member = |node: &u64| GroupMember {
                node: *node,
                votes: voters.contains(node),
                matched: 7,
                held_index: Some(5),
                held_keys: 3,
                held_bytes: 70,
                snapshot_index: 4,
                ..GroupMember::default()
            };
            let replica = ReplicaStatus {
                shard: 1,
                role: "leader".into(),
                lease_held: true,
                members: voters.iter().chain(learners).map(member).collect(),
                joint,
                last_log: 9,
                ..ReplicaStatus::default()
            };
            let view = DescribeClusterResponse { replicas: vec![replica], ..DescribeClusterResponse::default() };
            progress(&map, &[(2, Some(view)), (3, None)], 4).pop().unwrap().1
        };
        assert_eq!(line(false, &[1, 2, 3], &[]), "not started");
        let learner = line(false, &[1, 2, 3], &[4]);
        assert_eq!(
            learner,
            "learner added, log at index 7 of 9, memory at index 5 of 9, 3 keys of 70 bytes, snapshot of index 4"
        );
        assert!(line(true, &[4, 2, 3], &[]).starts_with("joint"));
        assert_eq!(line(false, &[4, 2, 3], &[]), "done");
        assert!(progress_of(1, &map, &[(2, None)], 4).contains("no leader answers"));
        let old = GroupMember { node: 4, matched: 7, ..GroupMember::default() };
        assert_eq!(holds(&old, 9), "nothing reported; its log is at index 7 of 9");
    }
}
