//! The front end's commands: those that need the connection or the node.
//!
//! Each family is a file with its commands' rows and functions; `registry.rs` lists them, one line each.

mod acl;
mod call;
mod client;
mod client_filter;
mod client_pause;
mod client_tracking;
mod cluster;
mod cluster_change;
mod config;
mod debug;
mod front_end;
mod hello;
mod info;
mod latency;
mod log;
mod memory;
mod monitor;
mod psync;
mod pubsub;
mod registry;
mod role;

pub(crate) use front_end::ConnectionFrontEnd;
pub use registry::table;
