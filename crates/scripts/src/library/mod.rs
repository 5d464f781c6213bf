//! The libraries that Valkey bundles with Lua, and those of Lua that had to be written anew.

pub(crate) mod bit;
pub(crate) mod json;
pub(crate) mod msgpack;
pub(crate) mod pattern;
pub(crate) mod random;
pub(crate) mod strings;
pub(crate) mod structs;

/// Largest string that a function of a library makes, in bytes; Lua's own memory limit is checked when it becomes
/// Lua's.
pub(crate) const STRING_BYTES_MAX: usize = 128 * 1024 * 1024;
