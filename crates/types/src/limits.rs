//! Named bounds. What happens at a bound is said where it is enforced.

use std::time::Duration;

/// Largest string value or request argument, bytes (Valkey's `proto-max-bulk-len` default).
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Largest log entry, bytes: a unit of effects over it is refused before it is staged.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// An open batch is closed once its effects reach this many bytes.
pub const BATCH_BYTES_SOFT: usize = 256 * 1024;
/// Batches of one shard that are proposed and not yet committed.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// Effects staged and not yet committed, bytes: at it the doors stop reading from connections that write.
pub const OPEN_EFFECT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What undo records of these effects may hold, bytes: over it they are dropped, and an undo reads snapshot and log instead.
pub const UNDO_BYTES_MAX: usize = 2 * OPEN_EFFECT_BYTES_MAX;
/// One frame on a link between nodes, bytes; larger entries are cut.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Entries kept in memory per group behind the newest, bytes; older ones are read from disk.
pub const LOG_TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Default bound of the durability lag in `async` (`durability-max-lag`).
pub const DURABILITY_LAG_MAX: Duration = Duration::from_secs(10);
