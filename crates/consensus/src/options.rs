//! Options of one node's consensus: its identity, its timers, its clock.
//!
//! Safety and liveness depend on how the timers relate to each other. [`Timers::validate`] checks these relations.

use std::sync::Arc;
use std::time::Duration;

use fastness_events::Events;
use fastness_types::{Az, Clock, ClusterId, FormatLevel, NodeId, Plant};

use crate::peer::frame::LINGER_MAX;

/// How long a promise binds a voter whose answers do not say it. Older versions made only promises of this length.
pub(crate) const BASE_PROMISE: Duration = Duration::from_millis(350);

/// All timers of consensus. All nodes should run with the same values. While the values are being changed, a leader
/// relies on no more than what each voter reports about its own promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Interval between two heartbeats, and between two checks of tasks that watch something.
    pub heartbeat: Duration,
    /// Lower bound of openraft's election time-out. An election starts `election_max` plus a random time between both
    /// bounds after the leader was last heard.
    pub election_min: Duration,
    /// Upper bound of the election time-out. Also the length of openraft's own leader lease.
    pub election_max: Duration,
    /// How long a voter's promise binds the voter.
    pub lease: Duration,
    /// What the leader subtracts from the promise, because clocks run at slightly different rates.
    pub drift_margin: Duration,
}

impl Default for Timers {
    /// Without a leader an election starts after 0.6 to 0.7 s, so that writes resume less than 1 s after a fault. A
    /// lease survives the loss or delay of five heartbeats in a row.
    fn default() -> Timers {
        Timers {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(350),
            lease: Duration::from_millis(350),
            drift_margin: Duration::from_millis(20),
        }
    }
}

/// Why timers do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimersError {
    /// A timer of zero would send nothing, or end a promise before it is made.
    #[error("heartbeat, election and lease timers must be at least 1 ms")]
    Zero,
    /// openraft requires a range.
    #[error("the lower election time-out must be below the upper one")]
    ElectionRange,
    /// A follower would campaign between two heartbeats.
    #[error("the lower election time-out must be at least three heartbeat intervals")]
    HeartbeatTooSlow,
    /// The lease would lapse between two heartbeats.
    #[error("the lease less its drift margin must be at least three heartbeat intervals")]
    LeaseTooShort,
    /// Voters would still be bound when the first candidate requests their votes.
    #[error("the lease plus one heartbeat interval must not exceed the sum of both election time-outs")]
    LeaseTooLong,
    /// The margin would cover no difference between clock rates.
    #[error("the drift margin must be at least a hundredth of the lease")]
    MarginTooSmall,
}

impl Timers {
    /// Timers with which an election starts at most `failover` after the leader was last heard. The default is 700 ms.
    /// A shorter time is not possible, because a leader of an older version relies on promises of 350 ms. The heartbeat
    /// interval stays the same, so a longer time survives more lost or late heartbeats.
    #[must_use]
    pub fn for_failover(failover: Duration) -> Timers {
        let base = Timers::default();
        let scale =
            |span: Duration| span.mul_f64((failover.as_secs_f64() / Timers::FAILOVER_MIN.as_secs_f64()).max(1.0));
        let whole_ms = |span: Duration| Duration::from_millis(span.as_millis() as u64);
        Timers {
            heartbeat: base.heartbeat,
            election_min: whole_ms(scale(base.election_min)),
            election_max: whole_ms(scale(base.election_max)),
            lease: whole_ms(scale(base.lease)),
            drift_margin: whole_ms(scale(base.drift_margin)),
        }
    }

    /// The default and minimum time until an election starts.
    pub const FAILOVER_MIN: Duration = Duration::from_millis(700);

    /// Checks that the timers fit together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), TimersError> {
        let least = self.heartbeat.min(self.election_min).min(self.lease);
        if least < Duration::from_millis(1) {
            return Err(TimersError::Zero);
        }
        if self.election_min >= self.election_max {
            return Err(TimersError::ElectionRange);
        }
        if self.election_min < self.heartbeat * 3 {
            return Err(TimersError::HeartbeatTooSlow);
        }
        if self.drift_margin < self.lease / 100 {
            return Err(TimersError::MarginTooSmall);
        }
        if self.lease.saturating_sub(self.drift_margin) < self.heartbeat * 3 {
            return Err(TimersError::LeaseTooShort);
        }
        // A candidate's first request arrives at least `election_max + election_min` after the leader was last heard. A
        // voter that is still bound refuses it, and the next attempt costs another time-out.
        if self.lease + self.heartbeat > self.election_min + self.election_max {
            return Err(TimersError::LeaseTooLong);
        }
        Ok(())
    }

    /// openraft's own heartbeat interval, which is also openraft's time-out for the answer. A longer round trip counts
    /// as silence, and a leader without answers refuses every write. So the interval is as long as the followers'
    /// time-out allows: two heartbeats, the tick at which they are sent, and one answer fit into openraft's own lease,
    /// the upper election time-out.
    #[must_use]
    pub fn raft_heartbeat(&self) -> Duration {
        self.election_min * 2 / 5
    }

    /// The longest round trip between two nodes with which writes commit: openraft's time-out, minus how long an answer
    /// and its request may linger.
    #[must_use]
    pub fn round_trip_max(&self) -> Duration {
        self.raft_heartbeat().saturating_sub(LINGER_MAX * 2)
    }

    /// How long a quorum's answers to a heartbeat keep the leader's lease, counted from the send time of the heartbeat.
    #[must_use]
    pub fn lease_of_leader(&self) -> Duration {
        if Plant::LongLease.is_on() {
            return 8 * self.lease;
        }
        self.lease.saturating_sub(self.drift_margin)
    }
}

/// What consensus on one node is started with.
#[derive(Clone)]
pub struct ConsensusOptions {
    /// This node.
    pub node: NodeId,
    /// Its AZ.
    pub az: Az,
    /// The cluster that its certificate names.
    pub cluster: ClusterId,
    /// Timers of elections and of the lease.
    pub timers: Timers,
    /// How far this node's wall clock may be off the median of all nodes' clocks before the node stages nothing and
    /// hands over leadership.
    pub clock_offset_max: Duration,
    /// The longest promise that an earlier start of this node may have made. After a start the node is silent for that
    /// long. On a node whose timers were never configured it is the default lease.
    pub promised_before: Duration,
    /// How long the loop of a leading replica may stall before its lease is closed.
    pub loop_stall_max: Duration,
    /// The node's clocks.
    pub clock: Arc<dyn Clock>,
    /// Seed of consensus' jitter and of the nonce by which peers distinguish this start from others. Must differ for
    /// each start of a node.
    pub seed: u64,
    /// The level that this node announces to its peers: [`FormatLevel::CURRENT`], or in tests that of an older version.
    pub format: FormatLevel,
    /// Takes what happens to the node's groups; their owners record there too.
    pub events: Events,
}

impl std::fmt::Debug for ConsensusOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsensusOptions")
            .field("node", &self.node)
            .field("az", &self.az)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Timers::default().validate(), Ok(()));
    }

    #[test]
    fn timers_of_any_failover_time_fit_together() {
        assert_eq!(Timers::for_failover(Timers::FAILOVER_MIN), Timers::default());
        for ms in [0, 700, 701, 1_000, 1_234, 5_000, 10_000, 60_000] {
            let (failover, timers) = (Duration::from_millis(ms), Timers::for_failover(Duration::from_millis(ms)));
            assert_eq!(timers.validate(), Ok(()), "{failover:?}: {timers:?}");
            assert!(timers.lease >= BASE_PROMISE && timers.heartbeat == Timers::default().heartbeat);
            // openraft sends heartbeats at a tick of 13/64 of their interval.
            let heartbeat = timers.raft_heartbeat() * 77 / 64;
            assert!(
                heartbeat < timers.election_min && heartbeat * 2 + timers.round_trip_max() <= timers.election_max,
                "{timers:?}"
            );
            let starts = timers.election_max * 2;
            assert!(starts <= failover.max(Timers::FAILOVER_MIN), "{failover:?}: {timers:?}");
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let ms = Duration::from_millis;
        let with = |change: fn(&mut Timers)| {
            let mut timers = Timers::default();
            change(&mut timers);
            timers.validate()
        };
        assert_eq!(with(|t| t.heartbeat = Duration::ZERO), Err(TimersError::Zero));
        assert_eq!(with(|t| t.election_max = t.election_min), Err(TimersError::ElectionRange));
        assert_eq!(with(|t| t.heartbeat = t.election_min), Err(TimersError::HeartbeatTooSlow));
        assert_eq!(with(|t| t.drift_margin = Duration::ZERO), Err(TimersError::MarginTooSmall));
        assert_eq!(with(|t| t.lease = t.heartbeat * 2), Err(TimersError::LeaseTooShort));
        assert_eq!(with(|t| t.lease = t.election_min + t.election_max), Err(TimersError::LeaseTooLong));
        assert_eq!(Timers::default().lease_of_leader(), ms(330));
    }
}
