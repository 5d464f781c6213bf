//! `fastness snapshot …`: checks of snapshot files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Subcommand;
use fastness_server::snapshots::{self, SnapshotFound};
use fastness_types::GroupId;

use crate::server;

/// The subcommands of `fastness snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Check a node's snapshots
    ///
    /// Restores each snapshot in memory, compares its keys and digest with the ones that it states, and replays the log
    /// from each snapshot to the next. On the way it checks the whole transaction log. The node may be running. The
    /// command needs the node's config for the folder, the master key and the certificate. Exit status 1 means that a
    /// snapshot is damaged or differs from the log.
    Verify {
        /// The node's config file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Check only this shard's snapshots; 0: those of the control plane [default: all]
        #[arg(long)]
        shard: Option<u32>,
    },
}

/// Runs a subcommand.
pub fn run(command: SnapshotCommand) -> Result<()> {
    let SnapshotCommand::Verify { config, shard } = command;
    let verified = snapshots::verify(&server::read(&config)?, shard.map(GroupId))?;
    ensure!(!verified.is_empty(), "this node has no snapshot: `fastness cluster snapshot` takes one");
    let mut damaged = 0;
    for snapshot in &verified {
        let file = snapshot.file.display();
        match &snapshot.found {
            Ok(found) => {
                let replayed = match &snapshot.replayed {
                    Some(Ok(entries)) => format!("; equals the previous one with {entries} log entries replayed"),
                    Some(Err(error)) => {
                        damaged += 1;
                        format!("; DIFFERS from the previous one with the log replayed: {error}")
                    }
                    None => String::new(),
                };
                let (index, epoch) = (found.index().0, found.epoch());
                println!("{file}: intact; index {index}, epoch {epoch}, {}{replayed}", content(found));
            }
            Err(error) => {
                damaged += 1;
                println!("{file}: DAMAGED: {error}");
            }
        }
    }
    ensure!(damaged == 0, "{damaged} of {} snapshots are damaged or differ from the log", verified.len());
    Ok(())
}

fn content(found: &SnapshotFound) -> String {
    match found {
        SnapshotFound::Shard(report) => {
            format!("{} keys, digest {}, log checksum {}", report.keys, report.digest, report.log_checksum)
        }
        SnapshotFound::Control(state) => match &state.map {
            Some(map) => format!("cluster map of version {}, {} users", map.version, map.settings.users.rules.len()),
            None => "no cluster map".to_owned(),
        },
    }
}
