//! The workloads: what clients ask, and how their answers become operations of a history. One file each; what the
//! histories must fulfil is in `check`.

pub(super) mod all;
mod append;
mod bank;
mod copies;
mod counter;
mod lives;
mod pair;
mod register;
mod set;

use async_trait::async_trait;

use super::actor::Actor;
use super::check::Findings;
use super::record::Bounds;
use super::run::Run;

/// One group of clients on keys of its own.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    /// As in the verdict.
    fn name(&self) -> &'static str;

    /// How many clients it takes: with the one that reads back, as many as a checker bears.
    fn clients(&self) -> u32 {
        4
    }

    /// One operation (or a few that belong together) of the client in this place, from 0. Whether it was acknowledged.
    async fn step(&self, place: u32, actor: &mut Actor) -> bool;

    /// Reads all keys after the run, into their histories.
    ///
    /// # Errors
    /// If one cannot be read.
    async fn read_back(&self, reader: &mut Actor) -> Result<(), String>;

    /// Checks all histories.
    fn check(&self, run: &Run, findings: &mut Findings);
}

/// Keys that one search for an order can judge: half of what it bears, since a step may be two operations, and all
/// clients' may be under way when the bound is reached.
const SEARCHED: Bounds = Bounds { ops: 400, unknown: 8 };

/// Keys that a group uses at the same time.
const KEYS: usize = 3;

/// One of several keys that share a slot.
fn in_slot(key: &str, which: impl std::fmt::Display) -> String {
    format!("{{{key}}}:{which}")
}
