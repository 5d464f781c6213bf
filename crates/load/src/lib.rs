//! The load generator of tests, benchmarks and the lab. It speaks RESP like any client (or lets its caller bring other
//! clients, [`Caller`]), follows the cluster's topology, and keeps a ledger of which writes were **acknowledged** (must
//! survive), **refused** (must not have happened) or left **unknown** (may or may not have happened).
//!
//! There are four kinds of load:
//! - [`chains`] finds out about every acknowledged write, in bounded memory, in any mode, for the lab;
//! - [`ledger`] writes values that can be checked afterwards, during faults;
//! - [`losses`] measures what failovers lose in modes where they may;
//! - [`closed_loop`] costs as little as a client can, to measure throughput and latency.
//!
//! Does not know how the server works.

pub mod chains;
pub mod client;
pub mod closed_loop;
pub mod connection;
pub mod ledger;
pub mod losses;
pub mod outcome;
pub mod topology;

pub use client::{Access, Caller, Client, SharedTopology};
pub use connection::{Connection, Endpoint, IoError, Login, Tls};
pub use outcome::Outcome;
pub use topology::Topology;
