//! The front ends of one node: RESP, data and administration over gRPC, metrics over HTTP, with sessions, TLS and
//! configuration.
//!
//! - [`config`]: the options. [`node`]: a node from its options to its end.
//! - [`replica`]: one shard replica's thread; [`resp_server`]: its front end for Valkey's clients.
//! - [`api`]: data over gRPC, translated to commands.
//! - [`settings`]: what belongs to the cluster among the options. [`topology`], [`names`]: the cluster as clients see
//!   it.
//! - [`admin`]: creation, description, hand-over and replacement of nodes over gRPC; `members.rs` brings groups to what
//!   the map says of their members. [`metrics`]: `/metrics`, `/healthz`, `/readyz`; `console.rs`: the web console on
//!   the same port.
//! - [`tls`]: certificates and identities. [`master_key`]: its rotation. [`lab`]: faults on command, in labs alone.
//!   [`space`]: a full disk. [`descriptors`]: their budget. [`process`], [`allocator`]: what the system and the
//!   allocator report.
//!   [`sources`]: how many connections one address may open. [`publications`]: messages of channels between replicas
//!   and nodes.
//!
//! Does not know RocksDB's or openraft's types, nor how a command changes data.

mod access;
mod accounts;
pub mod admin;
mod admin_guard;
pub mod allocator;
pub mod api;
mod attempts;
mod auth;
mod ballast;
mod beside;
pub mod certificates;
pub mod config;
mod consensus_thread;
mod console;
pub mod descriptors;
pub mod disk_budget;
pub mod disk_monitor;
mod disks;
pub mod group_view;
pub mod grpc_accept;
mod journal;
pub mod lab;
mod leaders;
pub mod log_counts;
pub mod mailbox;
pub mod master_key;
mod members;
pub mod metrics;
pub mod names;
pub mod node;
mod node_channels;
pub mod node_disk;
pub mod pause;
pub mod peer_server;
pub mod process;
mod promise;
pub mod publications;
mod replace;
pub mod replica;
pub mod replicas;
pub mod replication_out;
pub mod resp_server;
pub mod settings;
pub mod shared;
pub mod snapshots;
pub mod sources;
pub mod space;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod tls;
pub mod topology;
pub mod traces;

pub use config::{Config, ConfigError};
