//! `fastness server`: one node, from its config to SIGTERM.

use std::path::Path;

use anyhow::{Context, Result};
use fastness_server::config::{Config, LogLevel};
use fastness_server::node::Node;
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;

/// Runs a node until it is asked to end, or must.
pub fn run(path: &Path) -> Result<()> {
    let config = read(path)?;
    log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fastness").build()?;
    runtime.block_on(serve(config))
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

/// What openraft warns of at every heartbeat and append to a peer that is not there. A peer that cannot be reached, and one
/// that is reached again, is told once by consensus' links.
const REPEATED: &str =
    "openraft::core::heartbeat=error,openraft::replication=error,openraft::replication::stream_state=warn";

fn directives(level: LogLevel) -> String {
    match level {
        LogLevel::Debug => "trace".to_owned(),
        LogLevel::Verbose => "debug".to_owned(),
        LogLevel::Notice => format!("info,openraft=warn,{REPEATED}"),
        LogLevel::Warning => format!("warn,{REPEATED}"),
        LogLevel::Nothing => "off".to_owned(),
    }
}

async fn serve(config: Config) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let node = Node::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        failure = node.failed() => anyhow::bail!("the node must stop: {failure}"),
    }
    tracing::info!("asked to end: handing over");
    node.shutdown().await;
    Ok(())
}
