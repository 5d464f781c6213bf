//! Cluster commands that need only the data of this shard, and not the cluster's map.

pub mod flush_slot;
pub mod keys_in_slot;
pub mod keyslot;
pub mod scan;
mod slot;
pub mod slot_stats;
