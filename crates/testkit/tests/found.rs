//! Findings of an attack from outside on the first release that was attacked, repeated on real processes. Every test
//! repeats what was done then, and fails with that release's binary (`FASTNESS_BIN` chooses it); all commands and
//! metrics that it uses existed then.
//!
//! Others are elsewhere: descriptors in `descriptors.rs`, nodes that are stopped together in `stopped_together.rs`,
//! full disks in `small_disk.rs`, settings in `settings.rs`, dead replicas in `observed.rs`, payloads against a real
//! Valkey in `restore.rs`.

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
