//! Encodings that know nothing of the data.

pub mod digest;
pub mod number;
pub(crate) mod rdb;
pub(crate) mod varint;
