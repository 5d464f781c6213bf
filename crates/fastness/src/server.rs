//! `fastness server`: one node, from its config to SIGTERM.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fastness_server::config::{Config, LogLevel};
use fastness_server::node::{Node, NodeError};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;

/// Between two attempts to start on a full disk.
const FULL_PAUSE_MIN: Duration = Duration::from_secs(2);
const FULL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Runs a node until it is asked to end, or must.
pub fn run(path: &Path) -> Result<()> {
    let config = read(path)?;
    log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fastness").build()?;
    let ended = runtime.block_on(serve(config));
    // Whatever still waits for a disk is not waited for.
    runtime.shutdown_background();
    match ended? {
        End::Done => Ok(()),
        End::Again => start_anew(),
    }
}

/// What follows a node's end.
enum End {
    Done,
    /// The node has to be started anew.
    Again,
}

/// Becomes a fresh process with the same arguments, and the same id: nothing of the node that has ended is left in it.
fn start_anew() -> Result<()> {
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let error = std::process::Command::new(binary).args(std::env::args_os().skip(1)).exec();
    Err(error).context("cannot start anew")
}

/// The config in a file, checked.
pub fn read(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("config {}", path.display()))?;
    let config = Config::parse(&text).with_context(|| format!("config {}", path.display()))?;
    config.check().with_context(|| format!("config {}", path.display()))?;
    Ok(config)
}

fn log(config: &Config) -> Result<()> {
    let level = directives(config.loglevel);
    match config.logfile.as_str() {
        "" => logging::to_stderr(&level),
        file => logging::to_file(&level, Path::new(file)),
    }
}

/// What openraft warns of at every heartbeat and append to a peer that is not there. A peer that cannot be reached, and
/// one that is reached again, is told once by consensus' links.
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
    let mut asked_to_end = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut node = tokio::select! {
        started = start(config) => started?,
        () = asked_to_end() => return Ok(End::Done),
    };
    let failure = tokio::select! {
        () = asked_to_end() => None,
        failure = node.failed() => Some(failure),
    };
    match failure {
        None => {
            tracing::info!("asked to end: handing over");
            node.shutdown().await;
            Ok(End::Done)
        }
        Some(_) if node.lacks_space().is_some() => tokio::select! {
            () = node.wait_for_space() => Ok(End::Again),
            () = asked_to_end() => Ok(End::Done),
        },
        Some(failure) => anyhow::bail!("the node must stop: {failure}"),
    }
}

/// Starts the node, as soon as there is space for its log.
async fn start(config: Config) -> Result<Node> {
    let mut pause = FULL_PAUSE_MIN;
    loop {
        match Node::start(config.clone()).await {
            Err(NodeError::Full(reason)) => {
                tracing::error!(%reason, ?pause, "the disk is full: the node does not start, and tries again by itself");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(FULL_PAUSE_MAX);
            }
            started => return Ok(started?),
        }
    }
}
