//! `fastness dev`: a whole cluster on this machine, one process per node, for trials and for tests.
//!
//! The command itself (or, with `--detach`, a child of it) becomes the [`supervisor`]. All other commands send requests
//! to it over a socket in the cluster's folder, and work without it where possible (see [`stop`]).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use fastness_types::ClusterId;
use tokio::time::Instant;

use crate::admin::Admin;
use crate::container_lab::ContainerLab;
use cluster_file::ClusterFile;
use folder::Folder;
use nodes::{POLL, STOP_PATIENCE, SUPERVISOR_PATIENCE, open, start_detached};
use report::Report;
use settings::{Desired, Settings};
use socket::Request;

mod bring_up;
mod certificates;
mod cluster_file;
mod folder;
mod node_config;
mod nodes;
mod ports;
mod probe;
mod process;
mod report;
mod settings;
mod socket;
mod supervisor;

pub use folder::tail;
pub use nodes::DevCluster;
pub use process::{Presence, ProcessId};

/// The default folder.
pub const DIR: &str = ".fastness-dev";
/// Exit status of `dev status` if a node or a primary is missing.
const UNHEALTHY: u8 = 10;

/// The argument that names the cluster's folder.
#[derive(Debug, Clone, Args)]
pub struct DirArgument {
    /// The cluster's folder
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
}

/// Arguments of `fastness dev`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArguments {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    up: UpArguments,
}

/// Properties of the cluster.
#[derive(Debug, Args)]
struct UpArguments {
    #[command(flatten)]
    dir: DirArgument,
    /// AZ of each node; an AZ that is named twice gets two nodes [default: a,b,c]
    #[arg(long, value_name = "AZ,…")]
    azs: Option<String>,
    /// Number of shards; fixed for the life of the cluster [default: 3]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Copies of each shard besides the primary [default: 2]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// When a write is acknowledged: sync (on stable storage in 2 AZs), async or disabled (in the primary's memory)
    /// [default: sync]
    #[arg(long, value_name = "MODE")]
    durability: Option<String>,
    /// First of the 100 ports that the cluster may use, on loopback [default: 7400]
    #[arg(long, value_name = "P")]
    port: Option<u16>,
    /// Return once writes succeed on every shard, and leave the cluster running
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Stop all nodes; their data is kept, and `fastness dev --dir DIR` starts them again
    Stop(DirArgument),
    /// Show nodes, process ids, roles and ports; exit status 10 if a node or a primary is missing
    Status {
        #[command(flatten)]
        dir: DirArgument,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add, start or stop one node; `fastness lab node` kills and pauses nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Run the supervisor of a detached cluster
    #[command(hide = true)]
    Supervise(DirArgument),
}

#[derive(Debug, Clone, Args)]
struct NodeArgument {
    /// The node's id
    id: u64,
    #[command(flatten)]
    dir: DirArgument,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Create and start a new, empty node, which can replace a lost one
    ///
    /// The node belongs to no shard until then: `fastness cluster replace-replica --dir DIR --node LOST --with ID`.
    Add {
        /// Its AZ
        #[arg(long)]
        az: String,
        #[command(flatten)]
        dir: DirArgument,
    },
    /// Start a node that is not running, with its data
    Start(NodeArgument),
    /// Stop a node gracefully: it hands over leadership first
    Stop(NodeArgument),
}

/// Runs `fastness dev …` and returns the exit status.
pub async fn run(arguments: DevArguments) -> Result<u8> {
    match arguments.command {
        None => up(arguments.up).await?,
        Some(DevCommand::Stop(dir)) => stop(&dir.dir).await?,
        Some(DevCommand::Status { dir, json }) => return status(&dir.dir, json).await,
        Some(DevCommand::Node(NodeCommand::Add { az, dir })) => node_add(&dir.dir, &az).await?,
        Some(DevCommand::Node(NodeCommand::Start(node))) => node_start(&node).await?,
        Some(DevCommand::Node(NodeCommand::Stop(node))) => node_stop(&node).await?,
        Some(DevCommand::Supervise(dir)) => supervise(&dir.dir).await?,
    }
    Ok(0)
}

/// The admin client and the addresses of a dev cluster, for `fastness cluster … --dir`.
pub fn admin_of(dir: &Path) -> Result<(Admin, Vec<String>)> {
    let (folder, settings) = open(dir)?;
    let running =
        settings.nodes().filter(|node| settings.is_member(*node) && process::of_node(&folder, *node).is_some());
    let addresses: Result<Vec<_>> = running.map(|node| bring_up::grpc_address(&settings, node)).collect();
    let addresses = addresses?;
    ensure!(
        !addresses.is_empty(),
        "no node of {} is running: start the cluster with `fastness dev --dir {0}`",
        folder.path().display()
    );
    Ok((bring_up::admin(&folder)?, addresses))
}

/// Address of a node's admin listener, for `fastness cluster replace-replica --dir`.
pub fn grpc_address_of(dir: &Path, node: u64) -> Result<String> {
    let (_, settings) = open(dir)?;
    bring_up::grpc_address(&settings, node)
        .with_context(|| format!("add a node first: `fastness dev node add --az AZ --dir {}`", dir.display()))
}

/// Records in the folder that the running cluster has another durability mode.
pub async fn note_durability(dir: &Path, mode: &str) -> Result<()> {
    note(dir, |settings| settings.durability = mode.to_owned()).await
}

/// Records in the folder that a node replaces another one in the running cluster.
pub async fn note_replaced(dir: &Path, old: u64, new: u64) -> Result<()> {
    note(dir, |settings| settings.replace(old, new)).await
}

async fn note(dir: &Path, change: impl FnOnce(&mut Settings)) -> Result<()> {
    if ContainerLab::at(dir)?.is_some() {
        // The lab in containers keeps no settings beside those of the cluster itself.
        return Ok(());
    }
    let (folder, mut settings) = open(dir)?;
    change(&mut settings);
    publish(folder, settings).await
}

/// Saves changed settings and updates `cluster.json`.
async fn publish(folder: Folder, settings: Settings) -> Result<()> {
    settings.save(&folder)?;
    let (socket_folder, file_folder) = (folder.clone(), folder);
    let supervised = tokio::task::spawn_blocking(move || socket::send(&socket_folder, &Request::Reload)).await??;
    if supervised.is_none() {
        let running = |node| Some((node, process::of_node(&file_folder, node)?.pid));
        ClusterFile::of(&file_folder, &settings, &settings.nodes().filter_map(running).collect())?
            .write(&file_folder)?;
    }
    Ok(())
}

/// Opens the cluster of this folder; creates it if there is none.
fn open_or_create(arguments: &UpArguments) -> Result<(Folder, Settings)> {
    let desired = Desired {
        azs: arguments.azs.clone(),
        shards: arguments.shards,
        replicas: arguments.replicas,
        durability: arguments.durability.clone(),
        port: arguments.port,
    };
    // Settings that cannot work must not leave a folder behind.
    let fresh = Settings::new(&desired, ClusterId(rand::random()));
    if !arguments.dir.dir.exists() {
        fresh.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    }
    let folder = Folder::at(&arguments.dir.dir)?;
    if let Some(settings) = Settings::load(&folder)? {
        settings.refuse_others(&desired, &folder)?;
        return Ok((folder, settings));
    }
    let settings = fresh?;
    folder.check_fresh()?;
    let plan = settings.ports()?;
    let mut ports = plan.iter().flat_map(|(_, ports)| ports.all(settings.shards));
    if let Some((port, error)) = ports::taken(&mut ports) {
        bail!(
            "port {port} is not free ({error}): choose another first port of 100 free ones with --port (now {})",
            settings.port
        );
    }
    certificates::make(&folder, &settings)?;
    node_config::write(&folder, &settings, &settings.nodes().collect::<Vec<_>>())?;
    settings.save(&folder)?;
    Ok((folder, settings))
}

async fn up(arguments: UpArguments) -> Result<()> {
    let (folder, settings) = open_or_create(&arguments)?;
    let nodes: Vec<u64> = settings.nodes().collect();
    if arguments.detach {
        let started = start_detached(&folder, &nodes).await?;
        return finish_detached(&folder, settings, &nodes, &started).await;
    }
    match supervisor::lock(&folder).await? {
        Some(lock) => foreground(folder, settings, lock, &nodes).await,
        None => {
            let started = start_detached(&folder, &nodes).await?;
            finish_detached(&folder, settings, &nodes, &started).await?;
            println!("\nThe cluster was already running, started by another `fastness dev`.");
            Ok(())
        }
    }
}

/// Waits until the cluster accepts writes, and prints it. On failure, stops what this command has started.
async fn finish_detached(folder: &Folder, mut settings: Settings, nodes: &[u64], started: &[u64]) -> Result<()> {
    if let Err(error) = bring_up_and_show(folder, &mut settings, nodes).await {
        if started.len() == nodes.len() {
            socket::send(folder, &Request::Shutdown)?;
        }
        return Err(error);
    }
    Ok(())
}

async fn bring_up_and_show(folder: &Folder, settings: &mut Settings, nodes: &[u64]) -> Result<()> {
    for warning in bring_up::bring_up(folder, settings, nodes).await? {
        println!("warning: {warning}\n");
    }
    let report = Report::gather(folder, settings).await?;
    print!("{}\n{}", report.nodes(), report.session());
    Ok(())
}

/// Supervises the cluster in this process until Ctrl-C.
async fn foreground(folder: Folder, mut settings: Settings, lock: std::fs::File, nodes: &[u64]) -> Result<()> {
    let mut supervising = tokio::spawn(supervisor::run(folder.clone(), settings.clone(), lock));
    let showing = async {
        let request = Request::Start(nodes.to_vec());
        let socket_folder = folder.clone();
        let until = Instant::now() + SUPERVISOR_PATIENCE;
        loop {
            // A task of this process answers the request, so the wait must not block the runtime.
            let (folder, request) = (socket_folder.clone(), request.clone());
            if tokio::task::spawn_blocking(move || socket::send(&folder, &request)).await??.is_some() {
                break;
            }
            ensure!(Instant::now() < until, "the supervisor does not start to listen in time");
            tokio::time::sleep(POLL).await;
        }
        bring_up_and_show(&folder, &mut settings, nodes).await?;
        println!("\nCtrl-C stops all nodes; the data is kept in {}.", folder.path().display());
        anyhow::Ok(())
    };
    tokio::select! {
        ended = &mut supervising => return ended?,
        shown = showing => if let Err(error) = shown {
            let folder = folder.clone();
            // The supervisor may have stopped by itself.
            let _ = tokio::task::spawn_blocking(move || socket::send(&folder, &Request::Shutdown)).await?;
            let _ = supervising.await;
            return Err(error);
        },
    }
    supervising.await??;
    println!("all nodes have stopped");
    Ok(())
}

async fn supervise(dir: &Path) -> Result<()> {
    let (folder, settings) = open(dir)?;
    // Starts a new session, so that the terminal's signals do not reach the supervisor. Fails only if it leads one
    // already.
    let _ = rustix::process::setsid();
    crate::logging::to_stderr("info")?;
    match supervisor::lock(&folder).await? {
        Some(lock) => supervisor::run(folder, settings, lock).await,
        None => bail!("another supervisor is running: it has locked {}", folder.lock().display()),
    }
}

async fn stop(dir: &Path) -> Result<()> {
    let (folder, settings) = open(dir)?;
    let running: Vec<_> = settings.nodes().filter_map(|node| process::left_of_node(&folder, node)).collect();
    if socket::send(&folder, &Request::Shutdown)?.is_none() {
        // The supervisor was killed, so its nodes are stopped directly.
        running.iter().for_each(|process| supervisor::stop(process, false));
    }
    let mut until = Instant::now() + STOP_PATIENCE;
    while !running.iter().all(process::ProcessId::has_exited) {
        if Instant::now() >= until {
            running.iter().for_each(|process| supervisor::stop(process, true));
            until += STOP_PATIENCE;
        }
        tokio::time::sleep(POLL).await;
    }
    // Taking the lock ensures that the supervisor has finished.
    let lock = supervisor::lock(&folder).await?;
    ensure!(lock.is_some(), "the nodes have stopped, but the supervisor has not");
    cluster_file::ClusterFile::of(&folder, &settings, &Default::default())?.write(&folder)?;
    match running.len() {
        0 => println!("no node was running in {}", folder.path().display()),
        n => println!("{n} nodes stopped; the data is kept in {}", folder.path().display()),
    }
    Ok(())
}

async fn status(dir: &Path, json: bool) -> Result<u8> {
    let (folder, settings) = open(dir)?;
    let report = Report::gather(&folder, &settings).await?;
    if json {
        println!("{}", report.json()?);
    } else {
        print!("{}", report.nodes());
    }
    Ok(if report.is_healthy() { 0 } else { UNHEALTHY })
}

async fn node_add(dir: &Path, az: &str) -> Result<()> {
    let (folder, mut settings) = open(dir)?;
    ensure!(
        settings.created,
        "the cluster does not exist yet: create it with `{} dev --dir {}`",
        report::program(),
        dir.display()
    );
    let node = settings.add_node(az)?;
    if let Some((port, error)) = ports::taken(&mut settings.ports_of(node)?.all(settings.shards)) {
        bail!("port {port} is not free ({error}): stop the program that uses it");
    }
    certificates::add_node(&folder, &settings, node)?;
    publish(folder.clone(), settings.clone()).await?;
    start_detached(&folder, &[node]).await?;
    let until = Instant::now() + STOP_PATIENCE;
    bring_up::answers(&folder, &settings, &bring_up::admin(&folder)?, node, until).await?;
    let pid = process::of_node(&folder, node).map_or(0, |process| process.pid);
    println!(
        "node {node} is running in AZ {az}, pid {pid}, without data. To replace a lost node with it:\n  \
         {} cluster replace-replica --dir {} --node LOST --with {node}",
        report::program(),
        folder.path().display()
    );
    Ok(())
}

async fn node_start(node: &NodeArgument) -> Result<()> {
    let (folder, settings) = open(&node.dir.dir)?;
    settings.check_node(node.id)?;
    let started = start_detached(&folder, &[node.id]).await?;
    let serves = bring_up::node_serves(&folder, &settings, node.id).await?;
    let pid = process::of_node(&folder, node.id).map_or(0, |process| process.pid);
    let what = if started.is_empty() { "was already running" } else { "is running" };
    println!("node {} {what}, pid {pid}", node.id);
    if !serves {
        println!("fewer than a majority of the nodes are running: it serves once more of them are");
    }
    Ok(())
}

async fn node_stop(node: &NodeArgument) -> Result<()> {
    let (folder, settings) = open(&node.dir.dir)?;
    settings.check_node(node.id)?;
    nodes::end(&folder, node.id).await?;
    println!(
        "node {} has stopped; start it again with `{} dev node start {} --dir {}`",
        node.id,
        report::program(),
        node.id,
        folder.path().display()
    );
    Ok(())
}
