//! Raft groups on openraft: transport, leases, membership. The only crate that names openraft.

pub mod handle;
