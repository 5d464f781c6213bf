//! What a node records for its operator: elections with their reason, lost leases, the lag gate, stalls, snapshots,
//! replacements, refused peers, changes of settings, users and certificates.
//!
//! An [`Event`] is recorded once, where it happens, with [`Events::record`]. Everything else is derived from it: the
//! log line, the journal that `fastness cluster events` reads, and the counter `fastness_events_total`. The table in
//! `event.rs` holds name, level, sentence and fields of each kind.
//!
//! - Names of kinds, fields and reasons are part of the interface: scripts and dashboards use them, so they never
//!   change.
//! - An event carries no secret and no data of clients: names of users and options, never their values or passwords.
//! - Events are rare. Nothing on the path of a command records one.
//! - Recording never waits and never fails. The crate reads no clock; the [`EventSink`] adds the time.

mod event;
mod field;
mod reason;

use std::sync::Arc;

pub use event::{Event, Kind, KindFacts};
pub use field::{Field, Value};
pub use reason::{ElectionReason, HandOverReason, LossReason, SnapshotFailure, StallOutcome};

/// Receives the events of a node.
pub trait EventSink: Send + Sync {
    /// Takes an event. Called on any thread of the node, so it must not wait.
    fn take(&self, event: &Event);
}

/// Records events. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<dyn EventSink>>);

impl Events {
    /// Passes what is recorded to `sink`, after it was logged.
    #[must_use]
    pub fn to(sink: Arc<dyn EventSink>) -> Events {
        Events(Some(sink))
    }

    /// Only logs: for tests and the simulation.
    #[must_use]
    pub fn only_logged() -> Events {
        Events(None)
    }

    /// Records an event.
    pub fn record(&self, event: Event) {
        event.log();
        if let Some(sink) = &self.0 {
            sink.take(&event);
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Events(recorded)" } else { "Events(only logged)" })
    }
}
