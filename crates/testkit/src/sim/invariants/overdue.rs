//! **Nothing overdue.** While nothing is broken, a primary removes keys soon after their deadline, however many there
//! are and however long their names are.
//!
//! A key past its deadline is hidden from clients, so only its memory shows that it still exists.

use std::time::Duration;

use fastness_types::{Clock as _, ShardId};

use crate::sim::node::{Replica, SimNode, is_primary};

/// The longest time for which a key may remain after its deadline, and after the end of a disturbance.
const OVERDUE_MAX: Duration = Duration::from_secs(4);

/// When something was last broken.
#[derive(Debug, Default)]
pub struct Overdue {
    disturbed: Duration,
}

impl Overdue {
    /// Records that something is broken now.
    pub fn disturbed(&mut self, now: Duration) {
        self.disturbed = now;
    }

    /// Checks one replica.
    ///
    /// # Errors
    /// The replica is the primary and holds a key that it should have removed.
    pub fn check(&self, node: &SimNode, shard: ShardId, replica: &Replica, now: Duration) -> Result<(), String> {
        if now < self.disturbed + OVERDUE_MAX {
            return Ok(());
        }
        let Some(first) = replica.shard.with_engine(|engine| engine.first_deadline()) else { return Ok(()) };
        let late = Duration::from_millis(node.clock.wall().0.saturating_sub(first.0));
        if late <= OVERDUE_MAX || !is_primary(replica) {
            return Ok(());
        }
        Err(format!(
            "nothing overdue: shard {shard}: the primary on node {} holds a key {late:?} after its deadline",
            node.id
        ))
    }
}
