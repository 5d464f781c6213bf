//! What was counted, and whether it is right.

use std::collections::BTreeMap;

use crate::clients::{ClientKind, Counts};

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct CountingVerdict {
    /// Counters that are not what their clients were told, and watches that have shown something else.
    pub violations: Vec<String>,
    /// Of these, counters that lack acknowledged increments.
    pub lost: u64,
    /// Why the run proves nothing.
    pub undecided: Vec<String>,
    /// Increments by each client.
    pub by_name: BTreeMap<&'static str, Counts>,
    /// Increments by each kind of client.
    pub by_client: BTreeMap<ClientKind, Counts>,
    /// Sum of all counters.
    pub counted: u64,
    /// Number of events that watches have shown.
    pub events: u64,
    /// How often a watch has reported that changes were purged.
    pub purged: u64,
}
