//! Events of one replica: which changes of its state are recorded, and which only repeat what happened before.

use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_events::Event;
use fastness_types::{BootNs, GroupId, LogIndex};

use crate::lag::GateState;
use crate::settings::Settings;

/// Slowed writes are recorded at most this often: a lag near the mark may cross it with each commit.
const SLOWED_EVERY: Duration = Duration::from_secs(10);

/// Records the events of one replica.
pub(crate) struct Recorder {
    handle: GroupHandle,
    /// The newest versions of mode and lag bound that were in force here. A restore reads the log again and passes them
    /// a second time.
    seen: SettingsVersions,
    /// What was recorded of the lag gate last.
    gate: GateState,
    /// When slowed writes were recorded last.
    slowed: Option<BootNs>,
}

/// The versions of the settings in a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SettingsVersions {
    mode: u64,
    lag_bound: u64,
}

impl SettingsVersions {
    pub(crate) fn of(settings: &Settings) -> SettingsVersions {
        SettingsVersions { mode: settings.mode.version(), lag_bound: settings.lag_bound.version() }
    }
}

impl Recorder {
    pub(crate) fn new(handle: GroupHandle) -> Recorder {
        Recorder { handle, seen: SettingsVersions::default(), gate: GateState::Open, slowed: None }
    }

    /// The shard, as events name it.
    pub(crate) fn shard(&self) -> GroupId {
        self.handle.group()
    }

    /// Records an event.
    pub(crate) fn record(&self, event: Event) {
        self.handle.events().record(event);
    }

    /// Records settings that the entry at `index` has brought into force. `before`: the versions before that entry.
    pub(crate) fn follow_settings(&mut self, before: SettingsVersions, settings: &Settings, index: LogIndex) {
        let after = SettingsVersions::of(settings);
        if after == before {
            return;
        }
        let (shard, is_new) = (self.shard(), !self.handle.is_replayed(index));
        if let Some(mode) = settings.mode.committed()
            && mode.version > self.seen.mode.max(before.mode)
        {
            self.seen.mode = mode.version;
            if is_new {
                self.record(Event::ModeInForce { shard, mode: mode.mode, version: mode.version });
            }
        }
        if let Some(desired) = settings.lag_bound.committed()
            && desired.version > self.seen.lag_bound.max(before.lag_bound)
        {
            self.seen.lag_bound = desired.version;
            if is_new {
                let bound_ms = desired.bound.as_millis() as u64;
                self.record(Event::LagBoundInForce { shard, bound_ms, version: desired.version });
            }
        }
    }

    /// Records that the lag gate treats writes in another way.
    pub(crate) fn follow_gate(&mut self, gate: GateState, lag: Duration, bound: Duration, now: BootNs) {
        let (shard, lag_ms, bound_ms) = (self.shard(), lag.as_millis() as u64, bound.as_millis() as u64);
        let event = match (self.gate, gate) {
            (GateState::Open | GateState::Slowing(_), GateState::Closed) => {
                Event::WritesRefused { shard, lag_ms, bound_ms }
            }
            (GateState::Closed | GateState::Slowing(_), GateState::Open) => Event::WritesAccepted { shard, lag_ms },
            (GateState::Open, GateState::Slowing(_)) => {
                if self.slowed.is_some_and(|slowed| now.since(slowed) < SLOWED_EVERY) {
                    return;
                }
                self.slowed = Some(now);
                Event::WritesSlowed { shard, lag_ms, bound_ms }
            }
            _ => return,
        };
        self.gate = gate;
        self.record(event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use fastness_consensus::handle::{Committed, CommittedLog, ReadError, group_pair};
    use fastness_events::{EventSink, Events, Kind};

    use super::*;

    struct NoLog;

    #[async_trait::async_trait]
    impl CommittedLog for NoLog {
        fn read_cached(&self, _: LogIndex, _: LogIndex, _: usize) -> Option<Vec<Committed>> {
            None
        }

        async fn read(&self, _: LogIndex, _: LogIndex, _: usize) -> Result<Vec<Committed>, ReadError> {
            Ok(Vec::new())
        }
    }

    #[derive(Default)]
    struct Taken(Mutex<Vec<Kind>>);

    impl EventSink for Taken {
        fn take(&self, event: &Event) {
            self.0.lock().unwrap().push(event.kind());
        }
    }

    fn at(seconds: u64) -> BootNs {
        BootNs((100 + seconds) * 1_000_000_000)
    }

    #[test]
    fn the_gate_is_recorded_when_it_changes_and_slowing_not_too_often() {
        let taken = Arc::new(Taken::default());
        let (handle, _driver) = group_pair(GroupId(1), Arc::new(NoLog), Events::to(taken.clone()));
        let mut recorder = Recorder::new(handle);
        let slowing = GateState::Slowing(Duration::from_millis(1));
        let (lag, bound) = (Duration::from_secs(5), Duration::from_secs(10));
        for (gate, now) in [
            (GateState::Open, 0),
            (slowing, 1),
            (slowing, 2),
            (GateState::Open, 3),
            // Too soon to be recorded again, and so is its end.
            (slowing, 4),
            (GateState::Open, 5),
            (slowing, 6),
            (GateState::Closed, 7),
            (slowing, 8),
            (GateState::Open, 9),
            (slowing, 12),
        ] {
            recorder.follow_gate(gate, lag, bound, at(now));
        }
        use Kind::{WritesAccepted, WritesRefused, WritesSlowed};
        let expected = vec![WritesSlowed, WritesAccepted, WritesRefused, WritesAccepted, WritesSlowed];
        assert_eq!(*taken.0.lock().unwrap(), expected);
    }
}
