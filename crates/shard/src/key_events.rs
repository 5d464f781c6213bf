//! Keyspace notifications on their way from the units to the front end.
//!
//! Rules:
//! - Notifications leave in the order of their units, and those of one unit in the order of its commands.
//! - Those of a unit that waits for its commit (in `sync`, or because of a durability override) leave when it has
//!   committed. Those of later units leave after them, also if these need not wait. All others leave when the unit was
//!   executed, as replies do.
//! - What is undone notifies nobody. It is counted.
//! - A read that has missed a key may have seen what is not committed: in `sync` it waits for everything staged.
//! - What waits is bounded ([`NOTIFICATION_BYTES_MAX`]), whether for a commit or for the front end. A unit whose
//!   notifications would exceed that loses all of them, and they are counted: no write waits for subscribers.
//!
//! A replica makes notifications only of what its clients read: effects do not say which command made them.

use std::collections::VecDeque;
use std::rc::Rc;

use fastness_engine::Notifications;
use fastness_types::Seq;
use fastness_types::limits::NOTIFICATION_BYTES_MAX;
use tokio::sync::Notify;

/// Notifications that the front end may publish, and how many it will never get.
#[derive(Debug, Default)]
pub struct PassedNotifications {
    /// Of one unit.
    pub unit: Notifications,
    /// Dropped since the last ones, because too many waited.
    pub dropped: u64,
    /// Of units that were undone since the last ones.
    pub undone: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeyEvents {
    /// With the batch whose commit each unit waits for; `None`: only for those before it.
    waiting: VecDeque<(Option<Seq>, Notifications)>,
    ready: VecDeque<Notifications>,
    /// Of both.
    bytes: usize,
    dropped: u64,
    undone: u64,
    pub(crate) arrived: Rc<Notify>,
}

impl KeyEvents {
    /// What waits, in bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the notifications of a unit. They leave after the commit of batch `after`, if there is one.
    pub(crate) fn add(&mut self, after: Option<Seq>, unit: Notifications) {
        self.dropped += unit.dropped();
        if self.bytes + unit.bytes() > NOTIFICATION_BYTES_MAX {
            self.dropped += unit.len() as u64;
            return self.arrived.notify_one();
        }
        self.bytes += unit.bytes();
        if after.is_none() && self.waiting.is_empty() {
            self.ready.push_back(unit);
            self.arrived.notify_one();
        } else {
            self.waiting.push_back((after, unit));
        }
    }

    /// Everything up to batch `seq` has committed.
    #[inline]
    pub(crate) fn commit(&mut self, seq: Seq) {
        if !self.waiting.is_empty() {
            self.release(seq);
        }
    }

    #[cold]
    fn release(&mut self, seq: Seq) {
        while self.waiting.front().is_some_and(|(after, _)| after.is_none_or(|after| after <= seq))
            && let Some((_, unit)) = self.waiting.pop_front()
        {
            self.ready.push_back(unit);
        }
        self.arrived.notify_one();
    }

    /// The tenure has ended, and what has not committed is undone.
    pub(crate) fn end_tenure(&mut self) {
        for (_, unit) in self.waiting.drain(..) {
            self.bytes -= unit.bytes();
            self.undone += unit.len() as u64;
        }
        if self.undone > 0 {
            self.arrived.notify_one();
        }
    }

    /// Takes the next that may be published; `None`: there is nothing to report.
    pub(crate) fn take(&mut self) -> Option<PassedNotifications> {
        let unit = self.ready.pop_front();
        if unit.is_none() && self.dropped == 0 && self.undone == 0 {
            return None;
        }
        let unit = unit.unwrap_or_default();
        self.bytes -= unit.bytes();
        let (dropped, undone) = (std::mem::take(&mut self.dropped), std::mem::take(&mut self.undone));
        Some(PassedNotifications { unit, dropped, undone })
    }
}

#[cfg(test)]
mod tests {
    use fastness_engine::NotifyClasses;

    use super::*;

    fn unit(event: &'static str, key: &[u8]) -> Notifications {
        let mut unit = Notifications::default();
        unit.push(NotifyClasses::STRING, event, key);
        unit
    }

    /// The events that may be published now.
    fn taken(events: &mut KeyEvents) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some(passed) = events.take() {
            names.extend(passed.unit.iter().map(|one| one.event));
        }
        names
    }

    #[test]
    fn later_units_leave_after_those_that_wait() {
        let mut events = KeyEvents::default();
        events.add(None, unit("at once", b"k"));
        events.add(Some(Seq(2)), unit("second", b"k"));
        events.add(None, unit("behind", b"k"));
        events.add(Some(Seq(3)), unit("third", b"k"));
        assert_eq!(taken(&mut events), ["at once"]);
        events.commit(Seq(1));
        assert!(taken(&mut events).is_empty());
        events.commit(Seq(2));
        assert_eq!(taken(&mut events), ["second", "behind"]);
        events.commit(Seq(3));
        assert_eq!(taken(&mut events), ["third"]);
        assert_eq!(events.bytes(), 0);
    }

    #[test]
    fn what_is_undone_notifies_nobody() {
        let mut events = KeyEvents::default();
        events.add(Some(Seq(1)), unit("committed", b"k"));
        events.add(Some(Seq(2)), unit("undone", b"k"));
        events.commit(Seq(1));
        events.end_tenure();
        let passed = events.take().unwrap_or_default();
        assert_eq!(
            (passed.unit.iter().map(|one| one.event).collect::<Vec<_>>(), passed.undone),
            (vec!["committed"], 1)
        );
        assert!(events.take().is_none());
        assert_eq!(events.bytes(), 0);
    }

    #[test]
    fn what_exceeds_the_bound_is_dropped_and_counted() {
        let mut events = KeyEvents::default();
        let key = vec![b'k'; NOTIFICATION_BYTES_MAX / 3];
        (1..=5).for_each(|seq| events.add(Some(Seq(seq)), unit("set", &key)));
        assert!(events.bytes() <= NOTIFICATION_BYTES_MAX);
        assert_eq!(events.take().map(|passed| (passed.unit.len(), passed.dropped)), Some((0, 3)));
        events.commit(Seq(5));
        assert_eq!(taken(&mut events), ["set", "set"]);
    }
}
