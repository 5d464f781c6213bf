//! Ids, slots, AZs, sequence numbers, times, limits and durability modes as newtypes, shared by all other crates.
//!
//! Nothing here does I/O except [`SystemClock`], the only code that reads the machine's clocks. All other code receives
//! a [`Clock`].

mod clock;
mod durability;
mod format;
mod histogram;
mod ids;
pub mod limits;
pub mod plant;
mod slot;
mod time;

pub use clock::{Clock, SystemClock};
pub use durability::{Durability, UnknownDurability};
pub use format::FormatLevel;
pub use histogram::{SPAN_BUCKETS, SpanCounts, SpanHistogram, SpanPeaks};
pub use ids::{Az, ClusterId, DiskId, Epoch, GroupId, HashSeed, LogIndex, NodeId, Seq, ShardId};
pub use plant::Plant;
pub use slot::{SLOTS, Slot, key_hash_tag, slot_of};
pub use time::{BootNs, WallMs};
