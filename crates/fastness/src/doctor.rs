//! `fastness doctor`: checks a machine and a cluster, and names the next command to run.
//!
//! ```text
//! machine (this host, one config) ─┐
//!                                  ├─▶ findings ─▶ report (text, JSON, exit status)
//! cluster (what nodes report) ─────┘
//! ```
//!
//! - [`machine`], [`cluster`]: a table of checks each, one check per file. A check consists of an observation and of a
//!   judgement, which is pure. Checks change nothing but one temporary file without a name.
//! - [`finding`]: what a check has found. [`expiry`]: of certificates. [`report`]: how it is shown.
//! - Every observation has a time limit, and nodes are asked all at once, so that one that hangs delays nothing.

mod cluster;
mod expiry;
mod finding;
mod machine;
mod report;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::connection::Connection;

/// What the help says after the options.
pub const EXAMPLES: &str = "\
Exit status: 0 if nothing is worse than ok, 10 if there are warnings (or nothing could be checked), 11 if there are
problems, 1 if the arguments or files are wrong.

Examples:
  fastness doctor                                      # this machine, before a node is set up
  fastness doctor --config /etc/fastness/1.conf        # this machine, for the node of this config
  fastness doctor --dir .fastness-dev                  # a cluster of `fastness dev`, or the lab in containers
  fastness doctor --address 10.0.1.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key --json";

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    connection: Connection,
    /// Check this machine for the node of this config file. Run it as the user that the node runs as
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command and returns the exit status.
pub async fn run(arguments: DoctorArguments) -> Result<u8> {
    let DoctorArguments { connection, config } = arguments;
    let has_cluster = !connection.arguments().is_empty();
    let mut findings = Vec::new();
    if config.is_some() || !has_cluster {
        findings.extend(machine::examine(config.as_deref()));
    }
    if has_cluster {
        findings.extend(cluster::examine(&connection).await?);
    }
    let page = match connection.json {
        true => serde_json::to_string_pretty(&report::json(&findings))? + "\n",
        false => report::text(&findings),
    };
    std::io::stdout().write_all(page.as_bytes())?;
    Ok(report::status(&findings))
}
