//! `fastness cluster …`: administration of a running cluster.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use fastness_console::watch::views::{Views, mode_of, primary_of};
use fastness_wire::admin::v1::{
    CreateClusterRequest, DescribeClusterResponse, HandOverRequest, MakeSnapshotsRequest, NodeSpec,
    SetDurabilityRequest,
};
use serde_json::json;

use crate::connection::{Connection, first_that_answers};
use crate::dev;
use crate::events;
use crate::master_key;
use crate::replace;
use crate::table::Table;
use crate::views::{self, faults};

/// The subcommands of `fastness cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Create a cluster from running nodes that belong to none
    ///
    /// Every node must be running with its config. The called node checks the requirements of a durable cluster (at
    /// least 2 AZs and one replica per shard, TLS, encryption at rest), places the shards so that no AZ has a majority,
    /// and starts them. Repeat the command to continue a creation that was interrupted.
    #[command(after_help = CREATE_EXAMPLE)]
    Create {
        #[command(flatten)]
        connection: Connection,
        /// One node: id, az, peer, grpc, host, tls-port; optionally port (plaintext) and hostname
        #[arg(long = "node", value_name = "KEY=VALUE,…", required = true)]
        nodes: Vec<NodeSpecArgument>,
        /// Number of shards; fixed for the life of the cluster
        #[arg(long, default_value_t = 3)]
        shards: u32,
        /// Copies of each shard besides the primary
        #[arg(long, default_value_t = 2)]
        replicas: u32,
        /// When a write is acknowledged: sync, async or disabled
        #[arg(long, default_value = "sync")]
        durability: String,
    },
    /// Show nodes and shards, and which node leads each shard
    Describe {
        #[command(flatten)]
        connection: Connection,
    },
    /// Move a shard's primary to another replica, without losing acknowledged writes
    HandOver {
        #[command(flatten)]
        connection: Connection,
        /// The shard's number, from 1
        #[arg(long)]
        shard: u32,
        /// The node that is to lead [default: the best other replica]
        #[arg(long, value_name = "NODE")]
        to: Option<u64>,
    },
    /// Replace a node whose machine or disk is lost with a new, empty node, in every shard and in the control plane
    ///
    /// The new node must be running (`fastness server`) on an empty disk, with a node id that no node has had and a
    /// certificate that names it. It reports its other addresses and its AZ itself. The old node must not be running.
    /// The new node receives the data of each shard, then votes in the old node's place; clients are served all the
    /// while. Repeat the command to see the progress, or whether the replacement is complete. A node whose disk was
    /// wiped, is damaged or is an old copy can return only in this way.
    #[command(after_help = REPLACE_EXAMPLE)]
    ReplaceReplica(replace::ReplaceArguments),
    /// Start a snapshot of each replica on the given nodes (with --dir, on all running nodes), in the background
    ///
    /// Replicas take snapshots by themselves after snapshot-log-bytes of log. A restart reads the newest snapshot and
    /// the log after it.
    Snapshot {
        #[command(flatten)]
        connection: Connection,
        /// The shard's number, from 1 [default: all shards]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        shard: u32,
    },
    /// Show which master key each node's disk is under, and the new key that its operator has provided
    ///
    /// Keys are named by fingerprints, which reveal nothing of them. Exit status 1 means that a node did not answer.
    MasterKey(master_key::MasterKeyArguments),
    /// Put the nodes' disks under new master keys, while clients are served
    ///
    /// Each node takes its new key from its own disk: the file that master-key-file names, with .new at the end of the
    /// name. Keys are never sent over the network. The keys of the files on disk are wrapped again and nothing is
    /// encrypted again, so it takes moments, however much data there is. At the end the new file has replaced the old
    /// one, and the old key opens nothing any more. If a node has no new key, or its file is readable by others, of the
    /// wrong length or holds the key in force, no node's key is rotated. Repeat the command to complete an interrupted
    /// rotation.
    #[command(after_help = master_key::ROTATE_EXAMPLE)]
    RotateMasterKey(master_key::MasterKeyArguments),
    /// Show what has happened: elections and why, lost leases, refused writes, stalls, snapshots, changes
    ///
    /// Every node keeps a journal of its newest events since its process started. The journals of all nodes are merged
    /// by their wall clocks. deploy/EVENTS.md describes each kind. With --json each event is an object on a line.
    #[command(after_help = EVENTS_EXAMPLE)]
    Events(events::EventsArguments),
    /// Change the durability mode of the running cluster to sync or async
    ///
    /// Returns when the new mode has committed in the log of every shard. After a change to sync, every write
    /// acknowledged from then on, and everything before it, survives a failover. After a change to async, a failover
    /// may lose up to durability-max-lag of writes. Whether a cluster is durable at all (not `disabled`) is fixed when
    /// it is created.
    SetDurability {
        #[command(flatten)]
        connection: Connection,
        /// The new mode: sync or async
        mode: String,
    },
}

const CREATE_EXAMPLE: &str = "\
Example:
  fastness cluster create --address 10.0.1.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key \\
    --node id=1,az=a,peer=10.0.1.1:16379,grpc=10.0.1.1:17379,host=10.0.1.1,tls-port=6379 \\
    --node id=2,az=b,peer=10.0.2.1:16379,grpc=10.0.2.1:17379,host=10.0.2.1,tls-port=6379 \\
    --node id=3,az=c,peer=10.0.3.1:16379,grpc=10.0.3.1:17379,host=10.0.3.1,tls-port=6379";

const REPLACE_EXAMPLE: &str = "\
Example:
  fastness cluster replace-replica --address 10.0.2.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key \\
    --node 1 --with 4 --at 10.0.1.4:17379

In a dev cluster, after `fastness dev node add --az a` has created and started node 4:
  fastness cluster replace-replica --dir .fastness-dev --node 1 --with 4";

const EVENTS_EXAMPLE: &str = "\
Examples:
  fastness cluster events --dir .fastness-dev --since 10m
  fastness cluster events --dir .fastness-dev --kind elected,leadership_lost,primary --shard 1 --follow";

/// A `--node` argument: `id=1,az=a,…`.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpecArgument(NodeSpec);

impl FromStr for NodeSpecArgument {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<NodeSpecArgument> {
        let mut spec = NodeSpec::default();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?} is not KEY=VALUE"))?;
            let port =
                || value.parse::<u16>().map(u32::from).with_context(|| format!("{key}: {value:?} is not a port"));
            match key.trim() {
                "id" => spec.id = value.parse().with_context(|| format!("id: {value:?} is not a number"))?,
                "az" => spec.az = value.to_owned(),
                "peer" => spec.peer_address = value.to_owned(),
                "grpc" => spec.grpc_address = value.to_owned(),
                "host" => spec.announce_host = value.to_owned(),
                "hostname" => spec.announce_hostname = value.to_owned(),
                "port" => spec.resp_port = port()?,
                "tls-port" => spec.resp_tls_port = port()?,
                other => bail!("{other:?} is not one of id, az, peer, grpc, host, hostname, port, tls-port"),
            }
        }
        let required = [
            ("id", spec.id == 0),
            ("az", spec.az.is_empty()),
            ("peer", spec.peer_address.is_empty()),
            ("grpc", spec.grpc_address.is_empty()),
            ("host", spec.announce_host.is_empty()),
            ("tls-port (or port)", spec.resp_port == 0 && spec.resp_tls_port == 0),
        ];
        match required.iter().find(|(_, missing)| *missing) {
            Some((name, _)) => bail!("{name} is missing"),
            None => Ok(NodeSpecArgument(spec)),
        }
    }
}

/// Runs a subcommand.
pub async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Create { connection, nodes, shards, replicas, durability } => {
            let nodes = nodes.into_iter().map(|node| node.0).collect();
            create(&connection, CreateClusterRequest { nodes, shards, replicas, durability }).await
        }
        ClusterCommand::Describe { connection } => describe(&connection).await,
        ClusterCommand::HandOver { connection, shard, to } => {
            hand_over(&connection, HandOverRequest { shard, target_node: to.unwrap_or(0) }).await
        }
        ClusterCommand::Events(arguments) => events::run(arguments).await,
        ClusterCommand::ReplaceReplica(arguments) => replace::run(arguments).await,
        ClusterCommand::Snapshot { connection, shard } => snapshot(&connection, MakeSnapshotsRequest { shard }).await,
        ClusterCommand::MasterKey(arguments) => master_key::show(arguments).await,
        ClusterCommand::RotateMasterKey(arguments) => master_key::rotate(arguments).await,
        ClusterCommand::SetDurability { connection, mode } => {
            set_durability(&connection, SetDurabilityRequest { durability: mode }).await
        }
    }
}

async fn create(connection: &Connection, request: CreateClusterRequest) -> Result<()> {
    let (admin, addresses) = connection.open()?;
    let answer = first_that_answers!(&addresses, |address| admin.create(address, request.clone()))?;
    if connection.json {
        println!("{}", json!({ "warnings": answer.warnings }));
        return Ok(());
    }
    for warning in &answer.warnings {
        println!("warning: {warning}");
    }
    println!("the cluster has been created; see `fastness cluster describe`");
    Ok(())
}

async fn hand_over(connection: &Connection, request: HandOverRequest) -> Result<()> {
    let (admin, addresses) = connection.open()?;
    let answer = first_that_answers!(&addresses, |address| admin.hand_over(address, request))?;
    if connection.json {
        println!("{}", json!({ "new_primary_node": answer.new_primary_node }));
    } else {
        println!("shard {} is now led by node {}", request.shard, answer.new_primary_node);
    }
    Ok(())
}

async fn snapshot(connection: &Connection, request: MakeSnapshotsRequest) -> Result<()> {
    let (admin, addresses) = connection.open()?;
    let mut started = Vec::new();
    for address in &addresses {
        started.push((address, admin.make_snapshots(address, request).await?.shards));
    }
    if connection.json {
        let of = |(address, shards): &(&String, Vec<u32>)| json!({ "address": address, "shards": shards });
        println!("{}", json!(started.iter().map(of).collect::<Vec<_>>()));
        return Ok(());
    }
    for (address, shards) in started {
        let shards: Vec<_> = shards.iter().map(u32::to_string).collect();
        println!("{address}: started snapshots of shards {}", shards.join(", "));
    }
    Ok(())
}

async fn set_durability(connection: &Connection, request: SetDurabilityRequest) -> Result<()> {
    let (admin, addresses) = connection.open()?;
    let answer = first_that_answers!(&addresses, |address| admin.set_durability(address, request.clone()))?;
    if let Some(dir) = &connection.dir {
        dev::note_durability(dir, &request.durability).await?;
    }
    if connection.json {
        println!("{}", json!({ "durability": request.durability, "durability_version": answer.durability_version }));
    } else {
        println!("durability {} is in force on every shard", request.durability);
    }
    Ok(())
}

async fn describe(connection: &Connection) -> Result<()> {
    let (admin, addresses) = connection.open()?;
    let first = first_that_answers!(&addresses, |address| admin.describe(address))?;
    if first.map_version == 0 {
        println!(
            "node {} is running, but belongs to no cluster yet: create one with `fastness cluster create`",
            first.node_id
        );
        return Ok(());
    }
    // Each node reports its own replicas.
    let views = views::of_cluster(&admin, &first.nodes).await;
    if connection.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&first, &views))?);
    } else {
        print!("{}", as_text(&first, &views));
    }
    Ok(())
}

fn as_json(map: &DescribeClusterResponse, views: &Views) -> serde_json::Value {
    let replicas = |view: &DescribeClusterResponse| -> Vec<_> {
        let one = |r: &fastness_wire::admin::v1::ReplicaStatus| {
            json!({
                "shard": r.shard, "role": r.role, "term": r.term, "leader_node": r.leader_node,
                "committed": r.committed, "applied": r.applied, "ready": r.ready, "lease_held": r.lease_held,
                "durability": r.durability, "durability_version": r.durability_version,
                "members": r.members.iter().map(|m| json!({
                    "node": m.node, "voted": m.voted, "votes": m.votes, "matched": m.matched, "answers": m.answers,
                })).collect::<Vec<_>>(),
                "joint": r.joint, "last_log": r.last_log,
            })
        };
        view.replicas.iter().map(one).collect()
    };
    let nodes = map.nodes.iter().map(|node| {
        let view = views.iter().find(|(id, _)| *id == node.id).and_then(|(_, view)| view.as_ref());
        json!({
            "id": node.id, "az": node.az, "reachable": view.is_some(), "peer": node.peer_address, "grpc": node.grpc_address,
            "host": node.announce_host, "hostname": node.announce_hostname, "port": node.resp_port,
            "tls_port": node.resp_tls_port, "disk": node.disk, "replicas": view.map(replicas).unwrap_or_default(),
            "lab_faults": view.map(|view| &view.lab_faults),
        })
    });
    let shards = map.shards.iter().map(|shard| {
        json!({
            "id": shard.id, "slots": [shard.slot_first, shard.slot_last], "members": shard.members,
            "primary": primary_of(shard.id, views), "durability": mode_of(shard.id, views),
        })
    });
    json!({
        "cluster_id": map.cluster_id, "map_version": map.map_version, "durability": map.durability,
        "durability_version": map.durability_version,
        "replacement": map.replacement.as_ref().map(|replacement| json!({ "leaving": replacement.leaving, "by": replacement.by })),
        "replaced": map.replaced.iter().map(|replaced| json!({ "node": replaced.node, "by": replaced.by })).collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(), "shards": shards.collect::<Vec<_>>(),
    })
}

fn as_text(map: &DescribeClusterResponse, views: &Views) -> String {
    let mut text =
        format!("cluster {} · durability {} · map version {}\n\n", map.cluster_id, map.durability, map.map_version);
    if let Some(replacement) = &map.replacement {
        let leaving: Vec<_> = replacement.leaving.iter().map(u64::to_string).collect();
        text += &format!("node {} is replacing node {}\n\n", replacement.by, leaving.join(" and "));
    }
    let mut nodes = Table::new(&["NODE", "AZ", "STATE", "HOST", "PORT", "TLS", "GRPC", "PEER"]);
    for node in &map.nodes {
        let reachable = views.iter().any(|(id, view)| *id == node.id && view.is_some());
        nodes.row([
            node.id.to_string(),
            node.az.clone(),
            if reachable { "up" } else { "no answer" }.to_owned(),
            node.announce_host.clone(),
            port(node.resp_port),
            port(node.resp_tls_port),
            node.grpc_address.clone(),
            node.peer_address.clone(),
        ]);
    }
    text += &nodes.to_string();
    text.push('\n');
    text += &faults(views);
    let mut shards = Table::new(&["SHARD", "SLOTS", "DURABILITY", "PRIMARY", "REPLICAS"]);
    for shard in &map.shards {
        let primary = primary_of(shard.id, views);
        let others = shard.members.iter().filter(|node| Some(**node) != primary).map(|node| {
            let view = views.iter().find(|(id, _)| id == node).and_then(|(_, view)| view.as_ref());
            let own = view.and_then(|view| view.replicas.iter().find(|replica| replica.shard == shard.id));
            match own {
                Some(replica) => format!("{node} ({}, applied {})", replica.role, replica.applied),
                None => format!("{node} (no answer)"),
            }
        });
        shards.row([
            shard.id.to_string(),
            format!("{}-{}", shard.slot_first, shard.slot_last),
            mode_of(shard.id, views).unwrap_or("unknown").to_owned(),
            primary.map_or_else(|| "none".to_owned(), |node| format!("node {node}")),
            others.collect::<Vec<_>>().join(", "),
        ]);
    }
    text + &shards.to_string()
}

fn port(port: u32) -> String {
    if port == 0 { "-".to_owned() } else { port.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_from_its_parts() {
        let text = "id=2,az=b,peer=h:1,grpc=h:2,host=h,tls-port=6379,port=6380,hostname=db2";
        let NodeSpecArgument(spec) = text.parse().unwrap();
        assert_eq!((spec.id, spec.resp_port, spec.resp_tls_port), (2, 6380, 6379));
        assert_eq!((spec.az.as_str(), spec.announce_hostname.as_str()), ("b", "db2"));
    }

    #[test]
    fn errors_name_the_wrong_part_of_a_node() {
        let refused = |text: &str, reason: &str| {
            let error = text.parse::<NodeSpecArgument>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused("id", "KEY=VALUE");
        refused("id=x", "not a number");
        refused("id=1,az=a,peer=h:1,grpc=h:2,host=h", "tls-port");
        refused("id=1,tls-port=70000", "not a port");
        refused("id=1,zone=a", "\"zone\"");
        refused("id=1,az=a,peer=h:1,host=h,port=1", "grpc is missing");
    }
}
