//! What benchmarks measure beside the load itself.

pub mod machine;
pub mod processes;
pub mod valkey;
