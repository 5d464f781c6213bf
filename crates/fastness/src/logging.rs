//! Sets up logging: its destination and level.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;

/// Environment variable that overrides the level, in the syntax of tracing (`fastness_consensus=debug,info`).
const VARIABLE: &str = "FASTNESS_LOG";

fn filter(level: &str) -> Result<EnvFilter> {
    let directives = std::env::var(VARIABLE).unwrap_or_else(|_| level.to_owned());
    EnvFilter::try_new(&directives).with_context(|| format!("{VARIABLE}: {directives:?} is not a valid filter"))
}

/// Logs to standard error.
pub fn to_stderr(level: &str) -> Result<()> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_ansi(false);
    builder.with_writer(std::io::stderr).try_init().map_err(|e| anyhow!("logging: {e}"))
}

/// Appends the log to a file.
pub fn to_file(level: &str, path: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = Arc::new(file.with_context(|| format!("logfile {}", path.display()))?);
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_ansi(false);
    builder.with_writer(file).try_init().map_err(|e| anyhow!("logging: {e}"))
}
