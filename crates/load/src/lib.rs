//! The load generator of tests, benchmarks and the lab. It speaks RESP like any client, follows the cluster's topology,
//! and keeps a ledger: what was **acknowledged** (must survive), **refused** (must not have happened) and left
//! **unknown** (may or may not have happened).
//!
//! Three ways of loading: [`ledger`] writes values that can be checked afterwards, through faults; [`losses`] measures
//! what failovers lose where they may; [`closed_loop`] is as cheap as a client can be, for throughput and latency. None
//! knows how the server works.

pub mod client;
pub mod closed_loop;
pub mod connection;
pub mod ledger;
pub mod losses;
pub mod outcome;
pub mod topology;

pub use client::{Access, Client, SharedTopology};
pub use connection::{Connection, Endpoint, IoError, Tls};
pub use outcome::Outcome;
pub use topology::Topology;
