//! The doors of one node: RESP, administration over gRPC, metrics over HTTP, with sessions, TLS and configuration.

pub mod config;

pub use config::{Config, ConfigError};
