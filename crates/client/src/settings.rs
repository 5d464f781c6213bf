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
    /// Who answers reads.
    pub consistency: ReadConsistency,
    /// Whether writes have an idempotency key; by default each has a new one.
    pub idempotency: Idempotency,
}

/// Who answers a read, and what that says about the answer.
///
/// [`ReadConsistency::AzLocal`] and [`ReadConsistency::Replica`] are for calls that read one key ([`Client::get`],
/// [`Client::hash_get`], [`Client::execute_read`], …). Within [`Client::txn`], [`Client::update`], [`Client::batch`]
/// and [`Client::pipeline`] everything goes to the primary all the same: only there do operations on one slot happen in
/// their order. The user needs the right to the command READONLY.
///
/// A replica answers with what it has applied, usually some milliseconds after the primary has acknowledged it. There
/// is **no order between replicas**: a read may show older data than an earlier read or write of the same client, if
/// another replica answers it. What needs to see earlier writes reads from the primary.
///
/// If the replica refuses, fails, or does not answer within half of the remaining time (at most a second), the primary
/// is called within the same try.
///
/// [`Client::get`]: crate::Client::get
/// [`Client::hash_get`]: crate::Client::hash_get
/// [`Client::execute_read`]: crate::Client::execute_read
/// [`Client::txn`]: crate::Client::txn
/// [`Client::update`]: crate::Client::update
/// [`Client::batch`]: crate::Client::batch
/// [`Client::pipeline`]: crate::Client::pipeline
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadConsistency {
    /// The primary, which knows by its lease that no other node has taken over: a read shows every write that was
    /// acknowledged before it began.
    #[default]
    Primary,
    /// A replica in the client's own availability zone ([`ClientBuilder::az`](crate::ClientBuilder::az)), however old
    /// its data are. The primary if it is in that zone itself, if no replica there serves reads, or if the client has
    /// no zone.
    AzLocal,
    /// Any replica but the primary, in turn.
    Replica {
        /// How old its data may be, in whole milliseconds (rounded up); absent: any age. It covers what was
        /// acknowledged in `sync` mode, or has committed in the other modes. A replica that cannot show that much
        /// refuses, which costs a call: one that has everything can show about 300 ms.
        max_staleness: Option<Duration>,
    },
    /// The primary, after a quorum has confirmed it. As [`ReadConsistency::Primary`], and independent of clocks, for
    /// one more round trip between the nodes.
    Linearizable,
}

impl ReadConsistency {
    /// What a replica is told when it is asked.
    pub(crate) fn staleness_ms(self) -> u64 {
        match self {
            ReadConsistency::Replica { max_staleness: Some(span) } => {
                u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
            }
            _ => 0,
        }
    }
}

impl CallSettings {
    /// As requests to a primary have them; absent if all is as the cluster's mode says.
    pub(crate) fn message(&self, key: Option<IdempotencyKey>) -> Option<v1::CallOptions> {
        let is_linearizable = self.consistency == ReadConsistency::Linearizable;
        let durability = if self.durability_sync { v1::Durability::Sync } else { v1::Durability::Unspecified };
        let consistency = if is_linearizable { v1::Consistency::Quorum } else { v1::Consistency::Unspecified };
        let asks = self.durability_sync || is_linearizable || key.is_some();
        asks.then(|| v1::CallOptions {
            durability: durability.into(),
            consistency: consistency.into(),
            idempotency_key: key.map(IdempotencyKey::message),
            // This client follows MOVED.
            forward: false,
            max_staleness_ms: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_at_least_a_millisecond() {
        let ms = |span| ReadConsistency::Replica { max_staleness: span }.staleness_ms();
        assert_eq!(ms(None), 0, "0 stands for any age");
        assert_eq!(ms(Some(Duration::ZERO)), 1);
        assert_eq!((ms(Some(Duration::from_micros(1_001))), ms(Some(Duration::MAX))), (2, u64::MAX));
    }
}
