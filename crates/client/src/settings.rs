//! What calls ask for beyond the cluster's mode.

use std::time::Duration;

use fastness_wire::v1;

use crate::idempotency::{Idempotency, IdempotencyKey};

/// What calls ask for. [`Client::with_options`](crate::Client::with_options) returns a client whose calls have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallSettings {
    /// How long a call may take in all, with its retries; the client's default if absent. At most a day.
    pub deadline: Option<Duration>,
    /// Whether the reply is released only once everything that it depends on is on stable storage in two availability
    /// zones, whatever the cluster's durability mode is. Refused by a cluster whose durability is disabled.
    pub durability_sync: bool,
    /// Whether a read is confirmed by a quorum, which does not depend on clocks, instead of the primary's lease.
    pub consistency_quorum: bool,
    /// Whether writes have an idempotency key; by default each has a new one.
    pub idempotency: Idempotency,
}

impl CallSettings {
    /// As requests have them; absent if all is as the cluster's mode says.
    pub(crate) fn message(&self, key: Option<IdempotencyKey>) -> Option<v1::CallOptions> {
        let durability = if self.durability_sync { v1::Durability::Sync } else { v1::Durability::Unspecified };
        let consistency = if self.consistency_quorum { v1::Consistency::Quorum } else { v1::Consistency::Unspecified };
        let asks = self.durability_sync || self.consistency_quorum || key.is_some();
        asks.then(|| v1::CallOptions {
            durability: durability.into(),
            consistency: consistency.into(),
            idempotency_key: key.map(IdempotencyKey::message),
            // This client follows MOVED.
            forward: false,
        })
    }
}
