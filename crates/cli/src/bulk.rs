//! Bulk input (`--pipe`): commands from standard input, RESP or one per line, to the nodes that serve their keys.
//!
//! ```text
//! input (own thread: read ─▶ split into units) ─▶ bounded queue ─▶ batches ─▶ one pipeline per node ─▶ tally
//! ```
//!
//! - `unit`: what is sent as a whole: one command, or a transaction from MULTI to EXEC. [`splitter`]: from commands
//!   to units. [`input`]: reads and splits, as long as there is room.
//! - [`slots`]: which node serves which slot. [`verdict`]: what the replies to a unit mean. [`dispatch`]: sends
//!   batches.
//! - [`tally`]: replies, errors and unknown outcomes. [`progress`]: the progress bar.
//!
//! Invariants:
//! - Commands on the same slot are executed in the order of the input. A unit that a node did not serve (MOVED, ASK,
//!   CLUSTERDOWN, LOADING, TRYAGAIN, or no connection) is sent again before anything that follows it in the input is
//!   sent; if something that followed it has been executed already, it counts as failed.
//! - Nothing is sent again that may have been executed: its outcome is counted as unknown.
//! - What was read and is not answered takes at most [`MEMORY_BYTES_MAX`], or one unit.

pub mod dispatch;
pub mod input;
pub mod progress;
pub mod slots;
pub mod splitter;
pub mod tally;
pub mod unit;
pub mod verdict;

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use fastness_engine::command::CommandTable;
use tokio::sync::mpsc;

use crate::access::{Access, ProtocolChoice};
use crate::address::Address;
use crate::error::CliError;
use dispatch::Dispatcher;
use input::Budget;
use progress::Progress;
use splitter::Splitter;
use tally::Tally;
use unit::{Item, Unit};

/// What was read and is not answered, bytes; one unit may exceed it.
pub const MEMORY_BYTES_MAX: usize = 16 << 20;
/// Units between the thread that reads and the batches.
const UNITS_AHEAD_MAX: usize = 16 * 1024;
/// Units of one batch.
const BATCH_UNITS_MAX: usize = 8 * 1024;

/// Sends the input to a cluster. `total`: its length, if that is known.
///
/// # Errors
/// No node can be used, or the input cannot be read to its end. What was answered until then is in the tally.
pub async fn run(
    table: &'static CommandTable,
    access: Access,
    nodes: Vec<Address>,
    source: impl Read + Send + 'static,
    total: Option<u64>,
) -> (Tally, Result<(), CliError>) {
    let mut tally = Tally::default();
    let started = Instant::now();
    let result = pump(table, access, nodes, source, &mut tally, &Progress::start(total)).await;
    tally.elapsed = started.elapsed();
    (tally, result)
}

async fn pump(
    table: &'static CommandTable,
    access: Access,
    nodes: Vec<Address>,
    source: impl Read + Send + 'static,
    tally: &mut Tally,
    progress: &Progress,
) -> Result<(), CliError> {
    let database = access.database;
    // Replies are only counted; RESP2 is what every server speaks.
    let access = Access { protocol: ProtocolChoice::Resp2, ..access };
    let mut dispatcher = Dispatcher::connect(access, nodes).await?;
    let (items, mut queue) = mpsc::channel(UNITS_AHEAD_MAX);
    let budget = Arc::new(Budget::new(MEMORY_BYTES_MAX));
    let splitter = Splitter::new(table, database);
    std::thread::spawn(move || input::read_all(source, splitter, &budget, |item| items.blocking_send(item).is_ok()));
    let mut batch: Vec<Unit> = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        let mut broken = None;
        while let Some(item) = next {
            match item {
                Item::Unit(unit) => batch.push(unit),
                Item::Refused(failure) => tally.fail(failure),
                Item::Broken(error) => {
                    broken = Some(error);
                    break;
                }
            }
            next = if batch.len() < BATCH_UNITS_MAX { queue.try_recv().ok() } else { None };
        }
        let read = batch.last().map(|unit| unit.end);
        dispatcher.run(std::mem::take(&mut batch), tally).await?;
        progress.show(read, tally);
        if let Some(error) = broken {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
