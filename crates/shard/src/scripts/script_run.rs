//! What is known of a run.

use fastness_scripts::Run;
use fastness_types::{BootNs, Seq};

use crate::now::Now;
use crate::slots_seen::SlotsSeen;

/// A script or function that runs.
pub(crate) struct ScriptRun {
    pub(super) run: Run,
    pub(super) is_function: bool,
    /// The function's name, and the whole command: for FUNCTION STATS.
    pub(super) name: Vec<u8>,
    pub(super) command: Vec<Vec<u8>>,
    /// Its commands may not write.
    pub(super) read_only: bool,
    pub(super) allow_oom: bool,
    /// Its commands may use any slot of the shard.
    pub(super) cross_slot: bool,
    /// The slot of its keys, or of the first key that it has used.
    pub(super) slots: SlotsSeen,
    /// Memory was exceeded when it started.
    pub(super) lacks_memory: bool,
    /// One of its commands may have changed data.
    pub(super) wrote: bool,
    /// The last batch that its replies have shown.
    pub(super) depends_on: Seq,
    /// Set by SCRIPT KILL or FUNCTION KILL: the error that ends it.
    pub(super) killed: Option<&'static str>,
    pub(super) started: BootNs,
    /// The clock readings that its commands see.
    pub(super) now: Now,
}
