//! Cluster commands that need only the data of this shard, and not the cluster's map.

pub mod keys_in_slot;
pub mod keyslot;
pub mod scan;
pub mod slot_stats;
