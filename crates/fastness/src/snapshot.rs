//! `fastness snapshot …`: what can be done with snapshot files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Subcommand;
use fastness_server::snapshots;
use fastness_types::ShardId;

use crate::server;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Check a node's snapshots: restore each in memory, compare its keys and digest with what it says, and replay the
    /// log from each to the next
    ///
    /// The node may be running. Checks the whole transaction log on the way. Needs its config, for the folder, the
    /// master key and the certificate. Exit status 1 if one is damaged, or the log does not lead to it.
    Verify {
        /// The node's config
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One shard's only
        #[arg(long)]
        shard: Option<u32>,
    },
}

/// Runs one of the commands.
pub fn run(command: SnapshotCommand) -> Result<()> {
    let SnapshotCommand::Verify { config, shard } = command;
    let verified = snapshots::verify(&server::read(&config)?, shard.map(ShardId))?;
    ensure!(!verified.is_empty(), "this node has no snapshot (`fastness cluster snapshot` makes one)");
    let mut damaged = 0;
    for snapshot in &verified {
        let file = snapshot.file.display();
        match &snapshot.found {
            Ok(found) => {
                let replayed = match &snapshot.replayed {
                    Some(Ok(entries)) => format!("; the log leads to it from the one before, in {entries} entries"),
                    Some(Err(error)) => {
                        damaged += 1;
                        format!("; DIFFERS from what the log leads to from the one before: {error}")
                    }
                    None => String::new(),
                };
                println!(
                    "{file}: whole; index {}, epoch {}, {} keys, digest {}, log checksum {}{replayed}",
                    found.index.0, found.epoch, found.keys, found.digest, found.log_checksum
                );
            }
            Err(error) => {
                damaged += 1;
                println!("{file}: DAMAGED: {error}");
            }
        }
    }
    ensure!(damaged == 0, "{damaged} of {} snapshots are damaged, or not what the log leads to", verified.len());
    Ok(())
}
