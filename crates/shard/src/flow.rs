//! Flow control: what makes commands wait or has them refused although the replica could run them. Four things do: the
//! lag gate (`lag.rs`), CLIENT PAUSE (`client_pause.rs`), a hand-over that drains, and a lease that has lapsed.

use std::time::Duration;

use fastness_types::BootNs;

use crate::client_pause::ClientPause;
use crate::lag::{Lag, LagGate};
use crate::options::ShardOptions;

/// What makes commands of one replica wait.
pub(crate) struct FlowControl {
    pub(crate) lag: Lag,
    pub(crate) gate: LagGate,
    pub(crate) client_pause: ClientPause,
    /// Since when a hand-over has requested to drain.
    draining: Option<BootNs>,
    drain_hold_max: Duration,
    /// How long commands wait while no primary is known.
    pub(crate) lease_wait_max: Duration,
}

impl FlowControl {
    pub(crate) fn new(options: &ShardOptions) -> FlowControl {
        FlowControl {
            lag: Lag::default(),
            gate: LagGate::default(),
            client_pause: ClientPause::default(),
            draining: None,
            drain_hold_max: options.batching.drain_hold_max,
            lease_wait_max: options.lease_wait_max,
        }
    }

    /// A hand-over requests to drain, or none does.
    pub(crate) fn set_draining(&mut self, drains: bool, now: BootNs) {
        if drains {
            self.draining.get_or_insert(now);
        } else {
            self.draining = None;
        }
    }

    /// Whether a hand-over drains: nothing more is staged.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether commands are held at the front end for a hand-over.
    pub(crate) fn is_holding(&self, now: BootNs) -> bool {
        self.draining.is_some_and(|since| now.since(since) < self.drain_hold_max)
    }
}
