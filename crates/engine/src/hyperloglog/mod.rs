//! HyperLogLogs: how many different elements were added, estimated from 16,384 registers. A HyperLogLog is a string
//! in Valkey's format, byte for byte: GET, DUMP and SETRANGE work on it, and a value may come from Valkey or from a
//! client.
//!
//! ```text
//! 0    "HYLL"
//! 4    u8     encoding: 0 dense, 1 sparse
//! 5    [3]    0; not checked
//! 8    u64    cached cardinality, little-endian; its highest bit is set if the cache is stale
//! 16          the registers
//! ```
//!
//! The hash of an element (`hash`) selects a register and gives a count; a register keeps the largest count. A new
//! value is sparse, which means runs of equal registers (`sparse`), and becomes dense, 6 bits for each register
//! (`dense`), when a count or its length is too large for runs. It is never made sparse again.
//!
//! # Invariants
//! - Only the header of a value is known to be valid (`view::Hll`): its runs are checked wherever they are read, and a
//!   command that reports them as corrupted changes nothing.
//! - A value and its encoding depend on the calls alone, as in Valkey, whose rules for splitting, joining and giving up
//!   runs are therefore a part of the format.
//!
//! # Effects
//! A command logs the bytes that it changes (`change`): of a dense value a few for each register. PFCOUNT stores the
//! cardinality that it has computed in the value, as Valkey's does, although it is a reading command. That is sound:
//! on a primary any read may stage effects, as one does that removes an expired key, and its reply is then released as
//! that of a write. The lag gate does not stop it, but there is at most one such effect for each write that has made a
//! cache stale. Where PFCOUNT may not write (on replicas, and while clients are paused), it computes the same reply and
//! leaves the cache stale.
//!
//! # Differences from Valkey
//! - PFADD with several elements changes nothing if the value proves corrupted at a later one. Valkey adds the first
//!   ones.
//! - A sparse value that is longer than any runs of all registers is refused as corrupted by every command that would
//!   change or decode it.
//! - A value that SET has stored as `embstr` becomes `raw` (OBJECT ENCODING) by a change alone, not by every command.
//! - PFSELFTEST is shorter, because it runs on the thread that serves the shard.

pub mod add;
mod change;
pub mod count;
pub mod debug;
mod dense;
mod estimate;
mod hash;
mod layout;
mod look_up;
pub mod merge;
mod registers;
pub mod self_test;
mod sparse;
mod value;
mod view;

#[cfg(test)]
mod tests;
