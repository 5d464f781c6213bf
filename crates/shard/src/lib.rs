//! The shard loop: engine and consensus; modes, dirty keys, rebuild.
