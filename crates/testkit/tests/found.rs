//! What an attack from outside found in the first release that was attacked, again on real processes: every test does
//! what was done then, and fails with that release's binary (`FASTNESS_BIN` chooses it). Whatever is asked of a node
//! was there already.
//!
//! Beside these: descriptors in `descriptors.rs`, nodes that stand still together in `stopped_together.rs`, full disks
//! in `small_disk.rs`, settings in `settings.rs`, dead replicas in `observed.rs`, payloads against a real Valkey in
//! `restore.rs`.

#[path = "found/carried.rs"]
mod carried;
#[path = "found/connections.rs"]
mod connections;
#[path = "found/deadlines.rs"]
mod deadlines;
#[path = "found/memory.rs"]
mod memory;
#[path = "found/operated.rs"]
mod operated;
#[path = "found/served.rs"]
mod served;
#[path = "found/wire.rs"]
mod wire;
