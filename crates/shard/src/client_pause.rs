//! CLIENT PAUSE: commands of clients wait at the front end, for a time or until CLIENT UNPAUSE.
//!
//! - A command that is paused has been admitted: redirects and refusals are answered at once, as in Valkey.
//! - During a pause no expired key is removed, not even by a read that finds it: clients pause writers in order to read
//!   data that does not change, or to hand over. Expired keys are only hidden.
//! - A second pause can make the first one longer or stricter, never shorter or less strict.
//!
//! A pause belongs to this node and this process: other replicas do not know of it, and a change of role does not end
//! it.

use std::rc::Rc;
use std::time::Duration;

use fastness_types::BootNs;
use tokio::sync::Notify;

/// Which commands wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Those that may change data.
    Writes,
    /// All, CLIENT UNPAUSE too.
    All,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    until: BootNs,
    kind: PauseKind,
}

/// The current pause of one replica's clients, if any.
#[derive(Debug, Default)]
pub(crate) struct ClientPause {
    running: Option<Running>,
    ended: Rc<Notify>,
}

/// The longest span that the clock can represent.
const SPAN_MAX: Duration = Duration::from_nanos(u64::MAX);

impl ClientPause {
    pub(crate) fn begin(&mut self, now: BootNs, span: Duration, kind: PauseKind) {
        let desired = Running { until: now.plus(span.min(SPAN_MAX)), kind };
        let before = self.running(now).unwrap_or(desired);
        self.running = Some(Running { until: desired.until.max(before.until), kind: kind.max(before.kind) });
    }

    pub(crate) fn end(&mut self) {
        self.running = None;
        self.ended.notify_waiters();
    }

    fn running(&self, now: BootNs) -> Option<Running> {
        self.running.filter(|running| running.until > now)
    }

    /// The commands that wait, and the remaining time; `None`: no pause is in effect.
    pub(crate) fn state(&self, now: BootNs) -> Option<(PauseKind, Duration)> {
        self.running(now).map(|running| (running.kind, running.until.since(now)))
    }

    /// The remaining time, and what is notified if the pause ends earlier; `None`: no pause is in effect.
    pub(crate) fn rest(&self, now: BootNs) -> Option<(Duration, Rc<Notify>)> {
        let (_, left) = self.state(now)?;
        Some((left, self.ended.clone()))
    }

    /// Whether a pause is in effect.
    #[inline]
    pub(crate) fn is_running(&self, now: BootNs) -> bool {
        self.running.is_some() && self.running(now).is_some()
    }

    /// Whether a command has to wait.
    #[inline]
    pub(crate) fn holds(&self, now: BootNs, writes: bool) -> bool {
        self.running.is_some() && self.running(now).is_some_and(|running| writes || running.kind == PauseKind::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootNs = BootNs(1_000_000_000);

    fn after(ms: u64) -> BootNs {
        NOW.plus(Duration::from_millis(ms))
    }

    #[test]
    fn ends_with_its_time() {
        let mut pause = ClientPause::default();
        assert!(!pause.holds(NOW, true));
        pause.begin(NOW, Duration::from_millis(50), PauseKind::Writes);
        assert!(pause.holds(after(49), true) && !pause.holds(after(49), false) && pause.is_running(after(49)));
        assert!(!pause.holds(after(50), true) && !pause.is_running(after(50)));
    }

    #[test]
    fn a_second_pause_never_loosens_the_first() {
        let mut pause = ClientPause::default();
        pause.begin(NOW, Duration::from_millis(50), PauseKind::All);
        pause.begin(NOW, Duration::from_millis(10), PauseKind::Writes);
        assert_eq!(pause.state(NOW), Some((PauseKind::All, Duration::from_millis(50))));
        pause.begin(NOW, Duration::from_millis(90), PauseKind::Writes);
        assert_eq!(pause.state(NOW), Some((PauseKind::All, Duration::from_millis(90))));
        // One that has ended has no effect.
        pause.begin(after(100), Duration::from_millis(5), PauseKind::Writes);
        assert_eq!(pause.state(after(100)), Some((PauseKind::Writes, Duration::from_millis(5))));
        pause.end();
        assert_eq!(pause.state(after(100)), None);
    }

    #[test]
    fn a_span_beyond_every_clock_is_for_ever() {
        let mut pause = ClientPause::default();
        pause.begin(NOW, Duration::from_millis(u64::MAX / 2), PauseKind::All);
        assert!(pause.holds(BootNs(u64::MAX - 1), false));
    }
}
