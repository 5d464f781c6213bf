//! Sets up logging: its destination, format and level, and how many lines one place may write.
//!
//! Text is for people. JSON has one object per line with the same members for every line: `timestamp` (RFC 3339, UTC),
//! `level`, `target` (the module), and `fields`, which has `message` and what the line is about. An event of the
//! journal has its kind as the field `event` (`deploy/EVENTS.md`). Names of members and of the events' fields do not
//! change.
//!
//! A log file is only appended to. Whoever rotates it truncates it in place, or uses standard error and journald.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use fastness_server::config::{LogFormat, LogLines};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use self::limit::LineLimit;

mod limit;

/// Environment variable that overrides the level, in the syntax of tracing (`fastness_consensus=debug,info`).
const VARIABLE: &str = "FASTNESS_LOG";

/// What is logged, and how.
#[derive(Debug)]
pub struct LogOptions<'a> {
    /// The level, in the syntax of tracing.
    pub level: &'a str,
    /// The form of a line.
    pub format: LogFormat,
    /// How many lines one place may write; `None`: all.
    pub lines: Option<LogLines>,
    /// A file; `None`: standard error.
    pub file: Option<&'a Path>,
}

/// Reports at its end what was left out of the log since the last report.
#[derive(Debug)]
#[must_use]
pub struct LogGuard(Option<LineLimit>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(limit) = &self.0 {
            limit.report();
        }
    }
}

fn filter(level: &str) -> Result<EnvFilter> {
    let directives = std::env::var(VARIABLE).unwrap_or_else(|_| level.to_owned());
    EnvFilter::try_new(&directives).with_context(|| format!("{VARIABLE}: {directives:?} is not a valid filter"))
}

/// Logs as text to standard error, all lines.
pub fn to_stderr(level: &str) -> Result<()> {
    start(&LogOptions { level, format: LogFormat::Text, lines: None, file: None }).map(drop)
}

/// Logs from now on.
pub fn start(options: &LogOptions<'_>) -> Result<LogGuard> {
    let writer = match options.file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            BoxMakeWriter::new(Arc::new(file.with_context(|| format!("logfile {}", path.display()))?))
        }
    };
    let limit = options.lines.map(LineLimit::new);
    let lines = fmt::layer().with_ansi(false).with_writer(writer);
    let lines = match options.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().with_current_span(false).with_span_list(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter(options.level)?).with(limit.clone()).with(lines);
    subscriber.try_init().map_err(|e| anyhow!("logging: {e}"))?;
    if let Some(limit) = &limit {
        limit.report_from_time_to_time().context("logging")?;
    }
    Ok(LogGuard(limit))
}
