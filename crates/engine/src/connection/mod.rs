//! Connection commands that need neither a connection nor data.

pub mod echo;
pub mod ping;
pub mod select;
