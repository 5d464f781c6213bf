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

fn read(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("config {}", path.display()))?;
    let config = Config::parse(&text).with_context(|| format!("config {}", path.display()))?;
    config.check().with_context(|| format!("config {}", path.display()))?;
    Ok(config)
}

fn log(config: &Config) -> Result<()> {
    let level = match config.loglevel {
        LogLevel::Debug => "trace",
        LogLevel::Verbose => "debug",
        LogLevel::Notice => "info,openraft=warn",
        LogLevel::Warning => "warn",
        LogLevel::Nothing => "off",
    };
    match config.logfile.as_str() {
        "" => logging::to_stderr(level),
        file => logging::to_file(level, Path::new(file)),
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
