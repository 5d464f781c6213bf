//! Names of keys that lie in a given shard.

use fastness_types::{SLOTS, slot_of};

/// A key of the shard, with this prefix: slots are divided evenly, in order.
#[must_use]
pub fn key_in_shard(shard: u32, shards: u32, prefix: &str) -> String {
    let (slots, shard, shards) = (SLOTS as u32, shard - 1, shards.max(1));
    let range = slots * shard / shards..slots * (shard + 1) / shards;
    // The edges of a range are left out, because they depend on rounding.
    let inner = range.start + 1..range.end.saturating_sub(1).max(range.start + 2);
    let keys = (0u32..).map(|n| format!("{prefix}{n}"));
    keys.into_iter().find(|key| inner.contains(&u32::from(slot_of(key.as_bytes()).0))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_in_their_shard() {
        for (shard, range) in [(1, 0..5462), (2, 5460..10_924), (3, 10_922..16_384)] {
            let slot = slot_of(key_in_shard(shard, 3, "p:").as_bytes()).0;
            assert!(range.contains(&slot), "shard {shard}: slot {slot}");
        }
    }
}
