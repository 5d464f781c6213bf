//! Cluster commands that need the data of this shard and no map of the cluster.

pub mod keys_in_slot;
pub mod keyslot;
pub mod scan;
pub mod slot_stats;
