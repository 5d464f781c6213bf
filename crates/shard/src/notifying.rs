//! Passes keyspace notifications from the engine to the front end; `key_events.rs` has the rules.

use fastness_types::Durability;

use crate::key_events::PassedNotifications;
use crate::leader::Leader;
use crate::shard::Shard;
use crate::state::{Primary, Replica};

impl Primary<'_> {
    /// Passes the notifications of the unit that has ended on: now, or when what it has staged has committed.
    #[inline]
    pub(crate) fn pass_notifications(&mut self, durability: Durability) {
        if self.replica.data.engine.has_notifications() {
            let after = (durability == Durability::Sync).then_some(&*self.leader);
            self.replica.take_notifications(after);
        }
    }
}

impl Replica {
    /// Passes on what commands have noted that only read committed data.
    #[inline]
    pub(crate) fn pass_notifications_of_read(&mut self) {
        // Those of a unit that a suspended script has not ended wait for its end.
        if self.data.engine.has_notifications() && !self.scripts.is_suspended() {
            self.take_notifications(None);
        }
    }

    #[cold]
    fn take_notifications(&mut self, waits_for: Option<&Leader>) {
        let unit = self.data.engine.take_notifications();
        let staged = waits_for.map(|leader| (leader.stage.last_staged(), leader.committed));
        self.key_events.add(staged.filter(|(last, committed)| last > committed).map(|(last, _)| last), unit);
    }
}

impl Shard {
    /// Resolves to the next notifications that may be published, in order. For one caller at a time.
    pub async fn next_notifications(&self) -> PassedNotifications {
        let arrived = self.inner.state.borrow().replica.key_events.arrived.clone();
        loop {
            let taken = self.inner.state.borrow_mut().replica.key_events.take();
            match taken {
                Some(taken) => return taken,
                None => arrived.notified().await,
            }
        }
    }
}
