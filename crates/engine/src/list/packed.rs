//! A small list as one run of bytes in its key's entry: the elements of its listpack, without the frame
//! (`crate::codec::listpack`).
//!
//! A list of up to [`INLINE_MAX`] bytes is one allocation with its key, and a change copies it. A longer one is a
//! [`NodeList`](super::NodeList), which is changed in place; OBJECT ENCODING reports `listpack` of both as long as
//! Valkey has a listpack. A list outside of its entry stays there when it shrinks.

use crate::keyspace::TypeNumber;

/// The number of the type in digests and in the headers of entries. Frozen.
pub const NUMBER: TypeNumber = TypeNumber(4);
/// The longest list in an entry, bytes of its elements. Far below the limit of a node in bytes; where the number of
/// elements is limited, a list with more is outside of its entry.
pub const INLINE_MAX: usize = 512;
