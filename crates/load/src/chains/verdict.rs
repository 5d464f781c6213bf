//! What a run has proven.

use serde::{Deserialize, Serialize};

/// The figures of a finished run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainVerdict {
    /// Length of the run in seconds.
    pub seconds: f64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes refused.
    pub refused: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Reads answered.
    pub reads: u64,
    /// Acknowledged writes that are lost although they were made in `sync`.
    pub lost_in_sync: u64,
    /// Acknowledged writes that are lost, made in other modes or around a change of the mode.
    pub lost_otherwise: u64,
    /// Longest time, in milliseconds, from the oldest write that a failover has lost to the newest one that the same
    /// primary had acknowledged.
    pub loss_longest_ms: u64,
    /// `durability-max-lag` in milliseconds, where the cluster has one.
    pub loss_bound_ms: Option<u64>,
    /// Lost writes whose age is not known any more.
    pub lost_before_history: u64,
    /// Increments that took effect more than once.
    pub doubled: u64,
    /// Refused writes that took effect.
    pub phantoms: u64,
    /// Keys that could not be read back.
    pub unread: u64,
    /// Shards with a load whose primary never answered which mode is in force.
    pub unobserved: u64,
    /// The longest time without an acknowledged write of one shard, in milliseconds.
    pub interruption_longest_ms: u64,
    /// The modes that were seen in force, in alphabetical order.
    pub modes: Vec<String>,
}

impl ChainVerdict {
    /// All acknowledged writes that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_in_sync + self.lost_otherwise
    }

    /// The promises that are broken, each as a sentence; empty if all are kept.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.acknowledged == 0 {
            broken.push("no write was acknowledged: nothing is proven".to_owned());
        }
        if self.unobserved > 0 {
            broken.push(format!("the durability mode of {} shards was never seen: nothing is proven", self.unobserved));
        }
        if self.lost_in_sync > 0 {
            broken.push(format!("{} acknowledged writes are lost that were made in sync", self.lost_in_sync));
        }
        // Those at the very beginning, before the mode was seen for the first time.
        if self.lost_otherwise > 0 && self.modes == ["sync"] {
            broken.push(format!(
                "{} acknowledged writes are lost, and no other mode than sync was seen",
                self.lost_otherwise
            ));
        }
        if self.doubled > 0 {
            broken.push(format!("{} increments took effect more than once", self.doubled));
        }
        if self.phantoms > 0 {
            broken.push(format!("{} values were found that were refused or never written", self.phantoms));
        }
        if self.unread > 0 {
            broken.push(format!("{} keys could not be read back: nothing is proven about them", self.unread));
        }
        let promised = !self.modes.is_empty() && self.modes.iter().all(|mode| mode == "sync" || mode == "async");
        if let Some(bound) = self.loss_bound_ms.filter(|_| promised) {
            if self.loss_longest_ms > bound {
                let longest = self.loss_longest_ms;
                broken.push(format!("a failover has lost writes of {longest} ms, more than the bound of {bound} ms"));
            }
            if self.lost_before_history > 0 {
                broken.push(format!(
                    "up to {} lost writes are older than what the load remembers",
                    self.lost_before_history
                ));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_promise_that_can_be_broken_is_named() {
        let kept = ChainVerdict {
            acknowledged: 100,
            unknown: 3,
            modes: vec!["sync".into(), "async".into()],
            loss_bound_ms: Some(10_000),
            lost_otherwise: 7,
            loss_longest_ms: 10_000,
            ..ChainVerdict::default()
        };
        assert_eq!(kept.broken(), Vec::<String>::new());
        for broken in [
            ChainVerdict { lost_in_sync: 1, ..kept.clone() },
            ChainVerdict { doubled: 1, ..kept.clone() },
            ChainVerdict { phantoms: 1, ..kept.clone() },
            ChainVerdict { unread: 1, ..kept.clone() },
            ChainVerdict { unobserved: 1, ..kept.clone() },
            ChainVerdict { acknowledged: 0, ..kept.clone() },
            ChainVerdict { modes: vec!["sync".into()], ..kept.clone() },
            ChainVerdict { loss_longest_ms: 10_001, ..kept.clone() },
            ChainVerdict { lost_before_history: 1, ..kept.clone() },
        ] {
            assert_eq!(broken.broken().len(), 1, "{broken:?}");
        }
        let none = ChainVerdict { modes: vec!["none".into()], loss_longest_ms: 60_000, ..kept };
        assert!(none.broken().is_empty(), "nothing was promised");
    }
}
