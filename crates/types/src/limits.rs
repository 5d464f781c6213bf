//! Named bounds. What happens at a bound is said where it is enforced, and for all of them in one table:
//! `crates/LIMITS.md`. A test compares the two.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest string value or request argument, bytes (Valkey's `proto-max-bulk-len` default).
pub const VALUE_BYTES_MAX: usize = 512 * MIB;
/// Longest name of a key, bytes: half an entry, which is what the first version admitted (it counted a name twice). The
/// removal of a key with such a name always fits one entry, so every key can expire at every format level.
pub const KEY_BYTES_MAX: usize = 32 * MIB;
/// Largest unit (one command, one transaction), bytes of encoded effects: a value of the largest size, and twice a
/// name. Over it everything that the unit has changed is taken back and the client is answered with an error.
pub const UNIT_BYTES_MAX: usize = 576 * MIB;
/// How often one unit may remove every key: each time it leaves tables of some 400 KiB behind, for two bytes of
/// effects.
pub const UNIT_FLUSHES_MAX: usize = 1024;
/// Arguments that one transaction queues, bytes: more could not be a unit. At the bound the command is refused and the
/// transaction with it.
pub const TRANSACTION_BYTES_MAX: usize = UNIT_BYTES_MAX;
/// What a payload of RESTORE may expand to, bytes: more could not be a unit. One that holds more is refused.
pub const RESTORED_BYTES_MAX: usize = UNIT_BYTES_MAX;
/// Names that one unit of expired keys removes, bytes; the last one may be longer.
pub const EXPIRY_UNIT_BYTES_MAX: usize = 256 * KIB;
/// Keys and fields that one unit of expired keys removes.
pub const EXPIRY_UNIT_KEYS_MAX: usize = 200;
/// Largest log entry, bytes of payload. Whoever seals a batch asserts it.
pub const ENTRY_BYTES_MAX: usize = 64 * MIB;
/// Largest batch, bytes of payload: one unit of the largest size and its head. A batch that is larger than a fragment
/// is cut into several entries; a replica keeps the fragments in memory until it has the last.
pub const BATCH_BYTES_MAX: usize = UNIT_BYTES_MAX + MIB;
/// Part of a batch in one log entry, bytes: so that no entry holds up links, the log's writer or other groups for long.
pub const FRAGMENT_BYTES_MAX: usize = 8 * MIB;
/// An open batch is closed once its effects reach this many bytes.
pub const BATCH_BYTES_SOFT: usize = 256 * KIB;
/// Log entries of one shard that are proposed and not yet committed.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// Effects staged and not yet committed, bytes: at it the front ends stop reading from connections that write.
pub const OPEN_EFFECT_BYTES_MAX: usize = 64 * MIB;
/// What undo records of these effects may hold, bytes: over it they are dropped, and an undo reads snapshot and log
/// instead. The records of the unit that runs do not count: it can always be taken back.
pub const UNDO_BYTES_MAX: usize = 2 * OPEN_EFFECT_BYTES_MAX;
/// One record of an image, bytes, without some for its head: a value whose record would be longer is written as several
/// records, each with a part of it. Strings and values of fields that are longer are kept beside their entry.
pub const IMAGE_RECORD_BYTES_MAX: usize = 256 * KIB;
/// Chunks of a snapshot that wait for its file when it is written, and parts of one that wait for whoever reads it,
/// bytes; one more may pass it.
pub const SNAPSHOT_QUEUE_BYTES_MAX: usize = MIB;
/// One frame on a link between nodes, bytes; larger messages are cut.
pub const FRAME_BYTES_MAX: usize = MIB;
/// One message between nodes, bytes: the largest entry and what stands around it. A receiver closes the stream over it.
pub const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + FRAME_BYTES_MAX;
/// Entries kept in memory per group behind the newest, bytes; older ones are read from disk.
pub const LOG_TAIL_BYTES_MAX: usize = 32 * MIB;
/// Entries that a learner may lack, in its log and in its memory, when it becomes a voter; with more it stays a
/// learner. Those under way are among them.
pub const CAUGHT_UP_ENTRIES_MAX: u64 = 500;
/// Their bytes.
pub const CAUGHT_UP_BYTES_MAX: u64 = 16 * MIB as u64;
/// TLS handshakes that one port for nodes or administrators has under way; a further connection is closed.
pub const PEER_HANDSHAKES_MAX: usize = 64;
/// Longest time of such a handshake; after it the connection is closed.
pub const PEER_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// Connections of nodes and administrators to one port, handshakes included; a further one is closed.
pub const PEER_CONNECTIONS_MAX: usize = 512;
/// How long a read waits for a quorum to confirm its primary (`CLIENT READS QUORUM`): then it is answered CLUSTERDOWN.
pub const READ_CONFIRM_MAX: Duration = Duration::from_millis(500);
/// A node that has not heard from group 0's leader for so long that it has the newest settings of the cluster lets
/// nobody in by a password until it has. A change of a password therefore waits for nobody longer than this.
pub const SETTINGS_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Default bound of the durability lag in `async` (`durability-max-lag`).
pub const DURABILITY_LAG_MAX: Duration = Duration::from_secs(10);
/// How long the loop of a replica that leads may not turn (`loop-stall-max`): at it the lease is closed for the term
/// and an election follows.
pub const LOOP_STALL_MAX: Duration = Duration::from_secs(3);
/// How long a transaction may have run when its next command is due: half of `loop-stall-max`, by default this. It is
/// taken back, and answered with an error, before it costs the shard its primary.
pub const UNIT_TIME_MAX: Duration = Duration::from_millis(1_500);
/// How long commands wait while the lease has lapsed and no other primary is known (`lease-wait-max`), before they are
/// refused: some clients give up after 250 ms.
pub const LEASE_WAIT_MAX: Duration = Duration::from_millis(200);
/// How long one connection's commands run before others have their turn; one command is never interrupted.
pub const CONNECTION_SLICE: Duration = Duration::from_millis(5);
/// A client that reads nothing although no more of its replies may be kept (it is a stranger, or `maxmemory` is
/// reached) is closed after so long.
pub const UNREAD_MAX: Duration = Duration::from_secs(10);
/// A connection whose reply or command has waited for the log for so long is closed: the outcome is unknown to its
/// client.
pub const LOG_WAIT_MAX: Duration = Duration::from_secs(60);
