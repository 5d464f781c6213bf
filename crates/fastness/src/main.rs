//! The `fastness` program: runs one node (`server`) or a whole cluster on this machine (`dev`), administrates clusters
//! (`cluster`), watches them (`top`), is their client (`cli`), checks them and their machines (`doctor`), makes
//! certificates (`certs`), checks snapshot files (`snapshot`) and injects faults into labs (`lab`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod admin_calls;
mod allocator;
mod certs;
mod cli;
mod cluster;
mod connection;
mod container_lab;
mod dev;
mod doctor;
mod events;
mod files;
mod lab;
mod logging;
mod master_key;
mod replace;
mod server;
mod snapshot;
mod table;
mod top;
mod views;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An in-memory data store that speaks Valkey's protocol and does not lose acknowledged writes
///
/// To try it, run `fastness dev`. It starts a cluster over three availability zones on this machine, with its own
/// folder, ports, certificates and keys, and prints example commands.
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
    /// Everything is in one folder: data, logs, certificates, and cluster.json, which lists the nodes with their
    /// processes and addresses. In an existing folder, the command starts all nodes that are not running, with their
    /// data. A node that was killed stays down until `fastness dev node start ID`. Ctrl-C stops all nodes.
    Dev(dev::DevArguments),
    /// Run one node
    ///
    /// The config file has the syntax of valkey.conf. A new node waits until it becomes part of a cluster, by `fastness
    /// cluster create` or, as the replacement of a lost node, by `fastness cluster replace-replica`. On SIGTERM the
    /// node hands over leadership, completes what is in progress, and exits with status 0. On SIGHUP it reads its
    /// certificate, its key and the CA certificates again, as it also does by itself (tls-auto-reload-interval).
    Server {
        /// The config file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make and show the certificates of a cluster's nodes, administrators and clients
    ///
    /// Every node needs a certificate that names it, signed by the cluster's CA, and so does every administrator. `ca`
    /// makes the CA and the cluster's id; `node`, `admin` and `client` make what the CA signs.
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Watch a cluster: roles, durability lag, commit times, operations, memory, slow commands, events
    ///
    /// Shows shards by availability zone in a terminal of 80 columns and 24 rows or more, from samples of every node,
    /// over TLS. Any node can be named; the others are found through it. A node that does not answer is shown as down
    /// and delays nothing else. A figure that was not observed is shown as -. Press ? for the keys and the columns.
    #[command(after_help = top::EXAMPLES)]
    Top(top::TopArguments),
    /// Run commands on a cluster: at a prompt, one, from standard input, or many at once (--pipe)
    ///
    /// Finds the node of each key by itself. At the prompt, Tab completes commands and their arguments, which are also
    /// shown as hints, and HELP explains them. Any other client of this protocol works as well.
    #[command(after_help = cli::EXAMPLES)]
    Cli(cli::CliArguments),
    /// Check a machine and a cluster, and name the next command to run
    ///
    /// Without arguments, this machine is checked: kernel, clock, memory, swap, huge pages, descriptors, the disk with
    /// the time of synced writes. With --config also the files, ports and certificates of that node. With --dir or
    /// --address the cluster: every node's answer, version, clock, certificate, disk and limits; the AZs, primaries,
    /// replicas and durability of every shard. A node that does not answer delays nothing else. Nothing is changed.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArguments),
    /// Create, describe and administrate clusters
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Inject disk and network faults into a lab, to see how the cluster behaves
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Check snapshot files
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Server { config } => {
            arm_failpoints();
            fastness_server::allocator::install(&allocator::Jemalloc);
            exit_at_once(server::run(&config))
        }
        Command::Certs(command) => certs::run(command).map(|()| 0),
        Command::Snapshot(command) => snapshot::run(command).map(|()| 0),
        Command::Dev(arguments) => on_one_thread(dev::run(arguments)),
        Command::Lab(command) => on_threads(lab::run(command)),
        Command::Cli(arguments) => on_one_thread(cli::run(arguments)),
        Command::Top(arguments) => on_one_thread(async { top::run(arguments).await.map(|()| 0) }),
        Command::Doctor(arguments) => on_one_thread(doctor::run(arguments)),
        Command::Cluster(command) => on_one_thread(async { cluster::run(command).await.map(|()| 0) }),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn print_error(error: &anyhow::Error) {
    eprintln!("fastness: {error:#}");
}

/// Arms failpoints in builds for tests, which have them compiled in. The variable `FAILPOINTS` selects them
/// (`log::written=0.1%panic`), and a panic aborts the whole process at once, as a `kill -9` at that step would. Without
/// effect in the shipped binary.
fn arm_failpoints() {
    if !fail::has_failpoints() || std::env::var_os("FAILPOINTS").is_none() {
        return;
    }
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    // Failpoints stay armed for the life of the process.
    std::mem::forget(fail::FailScenario::setup());
}

/// Ends a node's process without running exit handlers. A thread that waits for a disk may still be inside RocksDB. The
/// destructors of RocksDB's globals would destroy its locks while the thread uses them, which aborts the process.
/// Nothing durable depends on these handlers.
fn exit_at_once(result: anyhow::Result<()>) -> ! {
    let status = result.inspect_err(print_error).map_or(1, |()| 0);
    signal_hook::low_level::exit(status)
}

/// Runs a command on a single-threaded runtime, which suffices because commands mostly wait.
fn on_one_thread(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Runs a command that has a load beside it.
fn on_threads(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(command)
}
