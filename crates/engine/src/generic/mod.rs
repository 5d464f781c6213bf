//! The generic commands.

pub mod glob;
