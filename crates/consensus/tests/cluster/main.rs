//! Nodes in one process on a network in memory, each with a toy owner, on tokio's paused clock: time is simulated, so
//! nothing here depends on how fast the machine is.

#![allow(clippy::unwrap_used)]

mod harness;
mod leadership;
mod lease;
mod membership;
mod old_copy;
mod replication;
mod snapshot;
