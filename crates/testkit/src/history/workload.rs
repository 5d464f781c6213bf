//! The workloads: which requests clients send, and how the answers become operations of a history. One file each; the
//! rules for the histories are in `check`.

pub(super) mod all;
mod append;
mod bank;
mod board;
mod copies;
mod counter;
mod lives;
mod pair;
mod queue;
mod register;
mod set;
mod stream;

use async_trait::async_trait;

use super::actor::Actor;
use super::check::Findings;
use super::record::Bounds;
use super::run::Run;

/// One group of clients on its own keys.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    /// The name in the verdict.
    fn name(&self) -> &'static str;

    /// Number of clients: together with the one that reads back, as many as a checker supports.
    fn clients(&self) -> u32 {
        4
    }

    /// Runs one operation (or a few that belong together) of the client with this place, from 0. Returns whether it was
    /// acknowledged.
    async fn step(&self, place: u32, actor: &mut Actor) -> bool;

    /// Reads all keys after the run, into their histories.
    ///
    /// # Errors
    /// If a key cannot be read.
    async fn read_back(&self, reader: &mut Actor) -> Result<(), String>;

    /// Checks all histories.
    fn check(&self, run: &Run, findings: &mut Findings);
}

/// Limits of a key whose history is searched for an order: half of what the search supports, because a step may be two
/// operations, and those of all clients may be in progress when the limit is reached.
const SEARCHED: Bounds = Bounds { ops: 400, unknown: 8 };

/// Number of keys that a group uses at the same time.
const KEYS: usize = 3;

/// One of several keys that share a slot.
fn in_slot(key: &str, which: impl std::fmt::Display) -> String {
    format!("{{{key}}}:{which}")
}
