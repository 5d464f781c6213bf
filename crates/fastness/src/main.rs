//! The Fastness binary: one node (`server`), a whole cluster on this machine (`dev`), administration (`cluster`),
//! snapshot files (`snapshot`), faults on command (`lab`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod cluster;
mod connection;
mod dev;
mod lab;
mod logging;
mod replace;
mod server;
mod snapshot;
mod table;
mod views;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An in-memory data store that speaks Valkey's protocol and does not lose data
///
/// To try it: `fastness dev` starts a cluster over three availability zones on this machine, with a folder, ports,
/// certificates and keys of its own, and prints a session to follow.
#[derive(Debug, Parser)]
#[command(name = "fastness", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine, one process per node
    ///
    /// Everything lies in one folder: data, logs, certificates, and cluster.json, which says what runs where. In an
    /// existing folder it starts whatever is not running, with the data. A node that was killed stays dead until
    /// `fastness dev node start ID`. Ctrl-C stops all nodes.
    Dev(dev::DevArguments),
    /// Run one node
    ///
    /// The config is written as valkey.conf is. A new node waits until it becomes part of a cluster (`fastness cluster
    /// create`, or `replace-replica` in the place of a lost one). SIGTERM hands over what the node leads, drains, and
    /// ends with status 0.
    Server {
        /// The config
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Create, describe and administrate clusters
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Break a lab's disks and links on command, to see what the cluster does
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Check snapshot files
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Server { config } => {
            die_at_failpoints();
            end_at_once(server::run(&config))
        }
        Command::Snapshot(command) => snapshot::run(command).map(|()| 0),
        Command::Dev(arguments) => on_one_thread(dev::run(arguments)),
        Command::Lab(command) => on_one_thread(async { lab::run(command).await.map(|()| 0) }),
        Command::Cluster(command) => on_one_thread(async { cluster::run(command).await.map(|()| 0) }),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn tell(error: &anyhow::Error) {
    eprintln!("fastness: {error:#}");
}

/// In builds for tests, where failpoints are compiled in, the variable `FAILPOINTS` arms them
/// (`log::written=0.1%panic`), and a panic ends the whole process at once, as a `kill -9` at that very step would. In
/// the shipped binary this does nothing.
fn die_at_failpoints() {
    if !fail::has_failpoints() || std::env::var_os("FAILPOINTS").is_none() {
        return;
    }
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    // Armed as long as the process lives.
    std::mem::forget(fail::FailScenario::setup());
}

/// Ends a node's process without its exit handlers. A thread that stands in a disk's way may still be inside RocksDB,
/// and the destructors of RocksDB's globals would take its locks away beneath it, which aborts the process. Nothing
/// durable waits for them.
fn end_at_once(result: anyhow::Result<()>) -> ! {
    let status = result.inspect_err(tell).map_or(1, |()| 0);
    signal_hook::low_level::exit(status)
}

/// Commands that mostly wait need no more.
fn on_one_thread(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
