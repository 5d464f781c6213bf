//! A load that finds out about every acknowledged write, in bounded memory, on any cluster that speaks the protocol.
//!
//! Every key has one writer, which writes increasing numbers with `SET key number GET`. The reply contains the number
//! that was replaced, so that each write is checked by the next one, and the last one by a read at the end: a chain.
//! Counters are chains whose number is their value: every INCR returns the count of all before it.
//!
//! - **Lost**: a number that is older than an acknowledged one is found. All acknowledged writes after it are lost.
//! - **Doubled**: a counter is higher than the increments that were acknowledged or left unknown.
//! - **Phantom**: a number is found that was refused, or was never written.
//!
//! A write with an unknown outcome may take effect later, once: its bytes may still be in a socket. If its number is
//! found, it is not a loss of those acknowledged since.
//!
//! Promises are judged by the mode that was in force on the shard while a write was in flight ([`modes`]): in `sync`
//! nothing may be lost. In `async` a failover may lose what a primary acknowledged last: from the oldest lost write to
//! the newest one that the same primary has acknowledged in the same reign ([`reigns`]), at most `durability-max-lag`
//! may have passed. Without either mode nothing is promised.
//!
//! Every worker writes to one slot, so that a shard in trouble does not slow the others' workers.

pub mod chain;
pub mod meter;
pub mod modes;
pub mod reigns;
mod route;
mod run;
mod verdict;
mod worker;

pub use meter::Phase;
pub use run::{ChainOptions, ChainRun, start};
pub use verdict::ChainVerdict;
