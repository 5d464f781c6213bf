//! Flow control: the reasons why a command waits or is refused although the replica could run it. There are four: the
//! lag gate (`lag.rs`), CLIENT PAUSE (`client_pause.rs`), a hand-over that is draining, and a lapsed lease.

use std::time::Duration;

use fastness_types::BootNs;

use crate::client_pause::ClientPause;
use crate::lag::{Lag, LagGate};
use crate::options::ShardOptions;

/// The flow-control state of one replica.
pub(crate) struct FlowControl {
    pub(crate) lag: Lag,
    pub(crate) gate: LagGate,
    pub(crate) client_pause: ClientPause,
    /// When the current hand-over started to drain; `None`: no hand-over is draining.
    draining: Option<BootNs>,
    drain_hold_max: Duration,
    /// Longest time that a command waits while no primary is known.
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

    /// Records that a hand-over has started or stopped draining.
    pub(crate) fn set_draining(&mut self, drains: bool, now: BootNs) {
        if drains {
            self.draining.get_or_insert(now);
        } else {
            self.draining = None;
        }
    }

    /// Whether a hand-over is draining. If so, no more writes are staged.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether the front end delays commands for a hand-over. It refuses them after `drain_hold_max`.
    pub(crate) fn is_holding(&self, now: BootNs) -> bool {
        self.draining.is_some_and(|since| now.since(since) < self.drain_hold_max)
    }
}
