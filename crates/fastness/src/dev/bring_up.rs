//! Brings up a cluster: from running processes to one that accepts writes on every shard.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastness_wire::admin::v1::{CreateClusterRequest, DescribeClusterResponse, NodeSpec, ReplicaStatus};
use tokio::time::Instant;

use super::cluster_file::{ClusterFile, HOST};
use super::folder::{self, Folder};
use super::probe::{self, Write};
use super::process;
use super::settings::Settings;
use crate::admin::{Admin, Credentials};

/// Time limit for all nodes to answer and all shards to accept writes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time limit for nodes that accept writes to learn about each other's replicas.
const DISCOVERY_MAX: Duration = Duration::from_secs(5);
/// Interval between two checks.
const POLL: Duration = Duration::from_millis(50);
/// Number of log lines that are shown of a node that has stopped.
const LOG_LINES: usize = 12;

/// The admin client of a dev cluster.
pub fn admin(folder: &Folder) -> Result<Admin> {
    Admin::new(&Credentials {
        ca: folder.ca(),
        certificate: folder.certificate("admin"),
        key: folder.private_key("admin"),
    })
}

/// Creates the cluster unless it exists, and waits until a write succeeds on every shard. `nodes` are the nodes that
/// must be running. Returns the warnings of the creation.
pub async fn bring_up(folder: &Folder, settings: &mut Settings, nodes: &[u64]) -> Result<Vec<String>> {
    let until = Instant::now() + PATIENCE;
    let admin = admin(folder)?;
    for &node in nodes {
        answers(folder, settings, &admin, node, until).await?;
    }
    let mut warnings = Vec::new();
    if !settings.created {
        let address = grpc_address(settings, nodes.first().copied().unwrap_or(1))?;
        warnings =
            admin.create(&address, request(settings)?).await.context("the cluster could not be created")?.warnings;
        settings.created = true;
        settings.save(folder)?;
    }
    for shard in 1..=settings.shards {
        takes_writes(folder, settings, &admin, shard, nodes, until).await?;
    }
    wait_for_discovery(settings, nodes).await?;
    Ok(warnings)
}

/// Waits until every node knows that every replica can serve, so that a client that reads the topology now finds all of
/// them. The wait is bounded, because a cluster that accepts writes is up without it.
async fn wait_for_discovery(settings: &Settings, nodes: &[u64]) -> Result<()> {
    let until = Instant::now() + DISCOVERY_MAX;
    let all: usize = nodes.iter().map(|node| settings.shards_on(*node).count()).sum();
    for &node in nodes {
        let Some(shard) = settings.shards_on(node).next() else { continue };
        let port = settings.ports_of(node)?.plaintext + shard as u16 - 1;
        // A node that requires a password does not report it.
        while let Some(online) = probe::online(port).await
            && online < all
            && Instant::now() < until
        {
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// Waits until a node answers on its admin listener.
pub async fn answers(
    folder: &Folder,
    settings: &Settings,
    admin: &Admin,
    node: u64,
    until: Instant,
) -> Result<DescribeClusterResponse> {
    let address = grpc_address(settings, node)?;
    loop {
        let error = match admin.describe(&address).await {
            Ok(view) => return Ok(view),
            Err(error) => error,
        };
        check_alive(folder, node)?;
        if Instant::now() >= until {
            return Err(
                error.context(format!("node {node} does not answer; its log: {}", folder.node_log(node).display()))
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Address of a node's admin listener.
pub fn grpc_address(settings: &Settings, node: u64) -> Result<String> {
    Ok(format!("{HOST}:{}", settings.ports_of(node)?.grpc))
}

fn check_alive(folder: &Folder, node: u64) -> Result<()> {
    if process::of_node(folder, node).is_some() {
        return Ok(());
    }
    let log = folder.node_log(node);
    bail!("node {node} has stopped. The last lines of its log, {}:\n{}", log.display(), folder::tail(&log, LOG_LINES))
}

fn request(settings: &Settings) -> Result<CreateClusterRequest> {
    let nodes = settings.ports()?.into_iter().map(|(id, ports)| NodeSpec {
        id,
        az: settings.az(id).to_owned(),
        peer_address: format!("{HOST}:{}", ports.peer),
        grpc_address: format!("{HOST}:{}", ports.grpc),
        announce_host: HOST.to_owned(),
        resp_port: ports.plaintext.into(),
        resp_tls_port: ports.tls.into(),
        announce_hostname: String::new(),
        disk: String::new(),
    });
    Ok(CreateClusterRequest {
        nodes: nodes.collect(),
        shards: settings.shards,
        replicas: settings.replicas,
        durability: settings.durability.clone(),
    })
}

/// Whether one of these nodes reports that it leads the shard under a lease, with all data. More cannot be known about
/// a cluster with a password.
async fn leads(settings: &Settings, admin: &Admin, shard: u32, nodes: &[u64]) -> Result<bool> {
    for &node in nodes {
        let Ok(view) = admin.describe(&grpc_address(settings, node)?).await else { continue };
        let leads = |r: &ReplicaStatus| r.shard == shard && r.role == "leader" && r.lease_held && r.ready;
        if view.replicas.iter().any(leads) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn takes_writes(
    folder: &Folder,
    settings: &Settings,
    admin: &Admin,
    shard: u32,
    nodes: &[u64],
    until: Instant,
) -> Result<()> {
    let key = probe::key_of(shard, settings.shards);
    let file = ClusterFile::of(folder, settings, &Default::default())?;
    let listeners: Vec<u16> = file
        .nodes
        .iter()
        .flat_map(|node| &node.resp)
        .filter(|listener| listener.shard == shard)
        .map(|listener| listener.port)
        .collect();
    loop {
        for &port in &listeners {
            match probe::writes(port, &key).await {
                Write::Accepted => return Ok(()),
                Write::Refused => {}
                Write::Password if leads(settings, admin, shard, nodes).await? => return Ok(()),
                Write::Password => {}
            }
        }
        for &node in nodes {
            check_alive(folder, node)?;
        }
        if Instant::now() >= until {
            bail!(
                "shard {shard} does not accept writes after {} s; logs are in {}",
                PATIENCE.as_secs(),
                Path::new("nodes/*/node.log").display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a restarted node serves: it answers on its admin listener and, if a majority of all nodes is running (so
/// that it can learn what is committed), its replicas have loaded their data and know their leader. Returns whether the
/// latter is the case.
pub async fn node_serves(folder: &Folder, settings: &Settings, node: u64) -> Result<bool> {
    let until = Instant::now() + PATIENCE;
    answers(folder, settings, &admin(folder)?, node, until).await?;
    let running = settings.nodes().filter(|node| process::of_node(folder, *node).is_some()).count();
    if running * 2 <= settings.nodes().count() {
        return Ok(false);
    }
    let (admin, ports) = (admin(folder)?, settings.ports_of(node)?);
    loop {
        let view = answers(folder, settings, &admin, node, until).await?;
        let mut serving = 0;
        for shard in settings.shards_on(node) {
            let follows = |r: &ReplicaStatus| r.shard == shard && r.ready && r.leader_node != 0;
            if view.replicas.iter().any(follows) && serves(ports.plaintext + shard as u16 - 1).await {
                serving += 1;
            }
        }
        if serving == settings.shards_on(node).count() {
            return Ok(true);
        }
        if Instant::now() >= until {
            bail!("node {node} is running, but not all of its replicas serve after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a replica has loaded its data and answers.
async fn serves(port: u16) -> bool {
    probe::call(port, &["PING"]).await.is_some_and(|reply| reply == "+PONG" || reply.starts_with("-NOAUTH"))
}
