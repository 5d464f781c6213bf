//! `fastness server`: runs one node until SIGTERM.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fastness_server::config::{Config, LogLevel};
use fastness_server::node::{Node, NodeError};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging::{self, LogGuard, LogOptions};

/// Bounds of the pause between two attempts to start on a full disk.
const FULL_PAUSE_MIN: Duration = Duration::from_secs(2);
const FULL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Runs a node until it is asked to stop, or must stop.
pub fn run(path: &Path) -> Result<()> {
    let config = read(path)?;
    let _log = log(&config)?;
    if !config.core_dumps {
        keep_from_core_files();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fastness").build()?;
    let ended = runtime.block_on(serve(config));
    // Tasks that still wait for a disk are abandoned.
    runtime.shutdown_background();
    match ended? {
        End::Done => Ok(()),
        End::Restart => restart(),
    }
}

/// Has the system write no core file of this process: its memory holds what the disk has encrypted only.
fn keep_from_core_files() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a crash may leave a core file with the data in it");
    }
}

/// What to do after the node has stopped.
enum End {
    Done,
    /// The node must be restarted.
    Restart,
}

/// Replaces the process with a fresh one that has the same arguments and process id, so that no state of the stopped
/// node remains.
fn restart() -> Result<()> {
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let error = std::process::Command::new(binary).args(std::env::args_os().skip(1)).exec();
    Err(error).context("cannot restart")
}

/// Reads and checks a config file.
pub fn read(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("config {}", path.display()))?;
    let config = Config::parse(&text).with_context(|| format!("config {}", path.display()))?;
    config.check().with_context(|| format!("config {}", path.display()))?;
    Ok(config)
}

fn log(config: &Config) -> Result<LogGuard> {
    logging::start(&LogOptions {
        level: &directives(config.loglevel),
        format: config.log_format,
        lines: (config.log_lines.per_second > 0).then_some(config.log_lines),
        file: (!config.logfile.is_empty()).then(|| Path::new(&config.logfile)),
    })
}

/// Filters that silence openraft's warning at every heartbeat and append to an unreachable peer. Consensus' own links
/// report once when a peer becomes unreachable, and once when it is reachable again.
const REPEATED: &str = "openraft::core::heartbeat=error,openraft::replication=error,\
                        openraft::replication::stream_state=warn,openraft::engine::handler::replication_handler=error";

fn directives(level: LogLevel) -> String {
    match level {
        LogLevel::Debug => "trace".to_owned(),
        LogLevel::Verbose => "debug".to_owned(),
        LogLevel::Notice => format!("info,openraft=warn,{REPEATED}"),
        LogLevel::Warning => format!("warn,{REPEATED}"),
        LogLevel::Nothing => "off".to_owned(),
    }
}

async fn serve(config: Config) -> Result<End> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut stop_requested = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // A signal that arrives during the start is kept until the node can act on it.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut node = tokio::select! {
        started = start(config) => started?,
        () = stop_requested() => return Ok(End::Done),
    };
    let failure = loop {
        tokio::select! {
            () = stop_requested() => break None,
            failure = node.failed() => break Some(failure),
            _ = hangup.recv() => {
                tracing::info!("received SIGHUP: reading the TLS files");
                node.reload_certificates();
            }
        }
    };
    match failure {
        None => {
            tracing::info!("received a signal to stop: handing over leadership");
            node.shutdown().await;
            Ok(End::Done)
        }
        Some(_) if node.lacks_space().is_some() => tokio::select! {
            () = node.wait_for_space() => Ok(End::Restart),
            () = stop_requested() => Ok(End::Done),
        },
        Some(failure) => anyhow::bail!("the node must stop: {failure}"),
    }
}

/// Starts the node; retries as long as its disk is full.
async fn start(config: Config) -> Result<Node> {
    let mut pause = FULL_PAUSE_MIN;
    loop {
        match Node::start(config.clone()).await {
            Err(NodeError::Full(reason)) => {
                tracing::error!(
                    %reason,
                    ?pause,
                    "the disk is full, so the node cannot start: free space; it tries again by itself"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(FULL_PAUSE_MAX);
            }
            started => return Ok(started?),
        }
    }
}
