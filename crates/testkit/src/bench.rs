//! Measurements of benchmarks besides the load itself.

pub mod machine;
pub mod processes;
pub mod valkey;
