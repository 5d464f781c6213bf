//! **Async loss is bounded.** The time between the oldest acknowledged write that a failover loses and the newest one
//! acknowledged in the same tenure is at most `durability-max-lag`.
//!
//! An acknowledgement counts from when it left the front end. Clocks drift: a primary measures its lag with its own
//! boot clock.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_types::ShardId;

use crate::sim::clock::DRIFT_MAX;
use crate::sim::origin::{ReplyOrigin, TenureId};

/// Tolerance of the bound: the turn of the loop that closes the gate is not a point in time, and steps have a length.
const TOLERANCE: Duration = Duration::from_millis(3);

#[derive(Debug, Default)]
struct Account {
    oldest_lost: Option<Duration>,
    newest_acknowledged: Duration,
}

/// Acknowledgements under `async` and their losses, by tenure.
#[derive(Debug, Default)]
pub struct LossAccount {
    max_lag: Duration,
    tenures: BTreeMap<(ShardId, TenureId), Account>,
    longest: Duration,
    violations: Vec<String>,
}

impl LossAccount {
    /// An account without acknowledgements.
    #[must_use]
    pub fn new(max_lag: Duration) -> LossAccount {
        LossAccount { max_lag, ..LossAccount::default() }
    }

    /// Records an acknowledgement that has left.
    pub fn acknowledged(&mut self, shard: ShardId, given: ReplyOrigin) {
        let account = self.tenures.entry((shard, given.tenure())).or_default();
        account.newest_acknowledged = account.newest_acknowledged.max(given.left);
        self.check(shard, given.tenure());
    }

    /// Records that an acknowledged write is lost.
    pub fn lost(&mut self, shard: ShardId, given: ReplyOrigin) {
        let account = self.tenures.entry((shard, given.tenure())).or_default();
        if account.oldest_lost.is_none_or(|oldest| given.left < oldest) {
            account.oldest_lost = Some(given.left);
            self.check(shard, given.tenure());
        }
    }

    fn check(&mut self, shard: ShardId, tenure: TenureId) {
        let Some(account) = self.tenures.get(&(shard, tenure)) else { return };
        let Some(oldest) = account.oldest_lost else { return };
        let span = account.newest_acknowledged.saturating_sub(oldest);
        self.longest = self.longest.max(span);
        let drift = self.max_lag * DRIFT_MAX as u32 / 1_000_000;
        if span > self.max_lag + drift + TOLERANCE {
            self.violations.push(format!(
                "shard {shard}: epoch {} lost a write that was acknowledged {span:?} before its newest, the bound is {:?}",
                tenure.epoch, self.max_lag
            ));
        }
    }

    /// The longest such span.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Takes the violations found since the last call.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }
}
