//! Encodings and notations that know nothing of the data: floating-point numbers, patterns, digests, RDB payloads.

pub mod digest;
pub mod glob;
pub(crate) mod listpack;
pub(crate) mod long_double;
pub(crate) mod rdb;
pub(crate) mod varint;
pub(crate) mod ziplist;
