//! Limits of keys, values, commands, log entries, batches, messages and waits.
//!
//! The effect of reaching a limit is described where it is enforced, and for all of them in one table,
//! `crates/LIMITS.md`. A test compares that table with these constants.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest string value or request argument, bytes (Valkey's `proto-max-bulk-len` default).
pub const VALUE_BYTES_MAX: usize = 512 * MIB;
/// Longest key name, in bytes: half an entry, which is what the first version accepted (it counted a name twice). The
/// removal of a key with such a name always fits one entry, so every key can expire at every format level.
pub const KEY_BYTES_MAX: usize = 32 * MIB;
/// Largest unit (one command, one transaction), in bytes of encoded effects: a value of the largest size and two names.
/// A unit over the limit is undone completely, and the client gets an error.
pub const UNIT_BYTES_MAX: usize = 576 * MIB;
/// How often one unit may remove all keys. Each time takes two bytes of effects but leaves tables of about 400 KiB
/// behind.
pub const UNIT_FLUSHES_MAX: usize = 1024;
/// Arguments that one transaction may queue, in bytes; more could not be one unit. At the limit the command is refused,
/// and the transaction fails with it.
pub const TRANSACTION_BYTES_MAX: usize = UNIT_BYTES_MAX;
/// Size to which a payload of RESTORE may expand, in bytes; more could not be one unit. A larger payload is refused.
pub const RESTORED_BYTES_MAX: usize = UNIT_BYTES_MAX;
/// Key names that one unit of expired or evicted keys removes, in bytes; the last one may exceed the limit.
pub const EXPIRY_UNIT_BYTES_MAX: usize = 256 * KIB;
/// Keys and fields that one unit of expired or evicted keys removes.
pub const EXPIRY_UNIT_KEYS_MAX: usize = 200;
/// Largest log entry, in bytes of payload. Asserted where a batch is sealed.
pub const ENTRY_BYTES_MAX: usize = 64 * MIB;
/// Largest batch, in bytes of payload: one unit of the largest size and the head. A batch larger than a fragment is
/// split into several entries; a replica keeps the fragments in memory until it has the last one.
pub const BATCH_BYTES_MAX: usize = UNIT_BYTES_MAX + MIB;
/// Largest part of a batch in one log entry, in bytes. Larger entries would delay links, the log's writer and other
/// groups.
pub const FRAGMENT_BYTES_MAX: usize = 8 * MIB;
/// An open batch is closed once its effects reach this many bytes.
pub const BATCH_BYTES_SOFT: usize = 256 * KIB;
/// Log entries of one shard that are proposed and not committed.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// Effects staged and not committed, in bytes. At the limit the front ends stop reading from connections that write.
pub const OPEN_EFFECT_BYTES_MAX: usize = 64 * MIB;
/// Size of the undo records of these effects, in bytes. Over the limit the records are dropped, and an undo reads
/// snapshot and log instead. The records of the running unit do not count: it can always be undone.
pub const UNDO_BYTES_MAX: usize = 2 * OPEN_EFFECT_BYTES_MAX;
/// Largest record of an image, in bytes, without its small head. A value whose record would be longer is written as
/// several records, each with a part of it. Longer strings and field values are stored outside their entry.
pub const IMAGE_RECORD_BYTES_MAX: usize = 256 * KIB;
/// Chunks of a snapshot that wait to be written to its file, and parts that wait for the reader of a file, in bytes;
/// one more chunk may exceed the limit.
pub const SNAPSHOT_QUEUE_BYTES_MAX: usize = MIB;
/// Largest frame on a link between nodes, in bytes; larger messages are split.
pub const FRAME_BYTES_MAX: usize = MIB;
/// Largest message between nodes, in bytes: the largest entry and its envelope. A receiver closes the stream when the
/// limit is exceeded.
pub const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + FRAME_BYTES_MAX;
/// The newest entries of a group that are kept in memory, in bytes; older ones are read from disk.
pub const LOG_TAIL_BYTES_MAX: usize = 32 * MIB;
/// Entries that a learner may lack, in its log and in its memory, when it becomes a voter; entries in flight count.
/// With more it stays a learner.
pub const CAUGHT_UP_ENTRIES_MAX: u64 = 500;
/// The same limit in bytes.
pub const CAUGHT_UP_BYTES_MAX: u64 = 16 * MIB as u64;
/// TLS handshakes in progress on one port for nodes or administrators; a further connection is closed.
pub const PEER_HANDSHAKES_MAX: usize = 64;
/// Longest duration of such a handshake; then the connection is closed.
pub const PEER_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// Connections of nodes and administrators to one port, including handshakes; a further one is closed.
pub const PEER_CONNECTIONS_MAX: usize = 512;
/// How long a read waits for a quorum to confirm its primary (`CLIENT READS QUORUM`) before it is answered with
/// CLUSTERDOWN.
pub const READ_CONFIRM_MAX: Duration = Duration::from_millis(500);
/// If a node has not heard from group 0's leader for this long, it cannot know whether it has the newest settings of
/// the cluster. It accepts no password until it knows, so a change of a password waits at most this long for an
/// unreachable node.
pub const SETTINGS_SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long a node serves clients after it was told of newer settings (users and passwords among them) than it has.
/// Longer than group 0's leader takes to send them to a node that it can reach.
pub const SETTINGS_BEHIND_MAX: Duration = Duration::from_secs(2);
/// Default bound of the durability lag in `async` (`durability-max-lag`).
pub const DURABILITY_LAG_MAX: Duration = Duration::from_secs(10);
/// How long the loop of a leading replica may stall (`loop-stall-max`). Then the lease is closed for the term, and an
/// election follows.
pub const LOOP_STALL_MAX: Duration = Duration::from_secs(3);
/// How long a transaction may have run when its next command is due: half of `loop-stall-max`, by default this. A
/// longer one is undone and answered with an error before the stall costs the shard its primary.
pub const UNIT_TIME_MAX: Duration = Duration::from_millis(1_500);
/// How long commands wait after the lease has lapsed while no other primary is known (`lease-wait-max`). Then they are
/// refused, because some clients give up after 250 ms.
pub const LEASE_WAIT_MAX: Duration = Duration::from_millis(200);
/// How long one connection's commands run before other connections have their turn; a single command is never
/// interrupted.
pub const CONNECTION_SLICE: Duration = Duration::from_millis(5);
/// How long a client may read nothing while no more of its replies may be kept (it is not authenticated, or `maxmemory`
/// is reached). Then its connection is closed.
pub const UNREAD_MAX: Duration = Duration::from_secs(10);
/// How long a reply or a command may wait for the log. Then its connection is closed: the outcome is unknown to its
/// client.
pub const LOG_WAIT_MAX: Duration = Duration::from_secs(60);

/// Longest name of a client in an idempotency key, bytes.
pub const IDEMPOTENCY_CLIENT_BYTES_MAX: usize = 64;
/// Longest reply that an idempotency key keeps, bytes: a write with a longer one is refused.
pub const IDEMPOTENCY_REPLY_BYTES_MAX: usize = 64 * KIB;
/// Writes of one client that a shard recognises when they are sent again.
pub const IDEMPOTENCY_CLIENT_RECORDS_MAX: usize = 16_384;
/// Memory of everything by which a shard recognises writes, bytes; the oldest leave for new ones.
pub const IDEMPOTENCY_BYTES_MAX: usize = 64 * MIB;
/// For how long a write is recognised.
pub const IDEMPOTENCY_AGE_MAX: Duration = Duration::from_secs(600);
/// How far an idempotency key's sequence number, as a time, may lie in the future.
pub const IDEMPOTENCY_AHEAD_MAX: Duration = Duration::from_secs(60);

/// Longest message of the data API over gRPC, bytes: a request, and a reply before it is encoded.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls at a time on one gRPC connection; further ones wait at the client.
pub const GRPC_CALLS_MAX: u32 = 128;
/// Operations of one pipeline stream that were sent to shards and not answered; further ones are not read.
pub const GRPC_PIPELINE_MAX: usize = 1024;
/// Bytes of operations of one pipeline stream that were sent to shards and not answered, and of responses to it that
/// have not left; a single one may be longer.
pub const GRPC_PIPELINE_BYTES_MAX: usize = MIB;
/// What a client may send of one call before the node has taken it, bytes. A stream that waits for its operations keeps
/// so much back, and no more.
pub const GRPC_WINDOW_BYTES: u32 = 64 * 1024;
/// The same of one gRPC connection: its calls do not wait for each other, however many of them the node does not take.
pub const GRPC_CONNECTION_WINDOW_BYTES: u32 = GRPC_CALLS_MAX * GRPC_WINDOW_BYTES;

/// Streams of changes that a node serves at a time; a further one is refused.
pub const WATCHERS_MAX: usize = 256;
/// Keys and prefixes that one stream of changes watches.
pub const WATCH_FILTERS_MAX: usize = 1024;
/// The same, bytes.
pub const WATCH_FILTER_BYTES_MAX: usize = 64 * KIB;
/// Longest value and longest name of a key or field in a change, bytes. A longer value is omitted, a longer name cut.
pub const WATCH_VALUE_BYTES_MAX: usize = MIB;
/// Current values that a stream of changes sends between two of its positions, bytes; further ones are omitted.
pub const WATCH_VALUES_BYTES_MAX: usize = 16 * MIB;
/// A response of a stream of changes is sent once it has so many bytes; the last change in it may exceed that.
pub const WATCH_MESSAGE_BYTES: usize = 128 * KIB;
/// Responses of one stream that the client has not taken, bytes; a single one may be longer.
pub const WATCH_BUFFER_BYTES_MAX: usize = 256 * KIB;
/// Responses of all streams of a node that were not taken, bytes, beside `grpc-memory`. Further ones wait.
pub const WATCH_MEMORY_BYTES_MAX: usize = 128 * MIB;
/// How long the client of a stream may take nothing while no further response may wait. Then it is cut off.
pub const WATCH_STALL_MAX: Duration = Duration::from_secs(10);
/// Batches of several log entries that all streams of a node have in memory at a time; other streams that need one
/// wait.
pub const WATCH_LARGE_BATCHES_MAX: usize = 1;
/// How long a client may take to receive such a batch. Then it is cut off.
pub const WATCH_LARGE_TIME_MAX: Duration = Duration::from_secs(30);
/// Replicas outside of the cluster (PSYNC, SYNC) that a node serves at a time. Each has a thread.
pub const OUTBOUND_STREAMS_MAX: usize = 8;
/// What was made for one such replica and not sent, bytes; a single command or value may be longer.
pub const OUTBOUND_QUEUE_BYTES_MAX: usize = MIB;
/// How long such a replica may take nothing while something waits for it, or confirm nothing after it has confirmed an
/// offset. Then it is cut off.
pub const OUTBOUND_STALL_MAX: Duration = Duration::from_secs(60);
/// How long the snapshot with which its stream starts is awaited.
pub const OUTBOUND_SNAPSHOT_WAIT_MAX: Duration = Duration::from_secs(600);
/// Batches of several log entries that the streams of a node to such replicas have in memory at a time; others wait.
pub const OUTBOUND_LARGE_BATCHES_MAX: usize = 1;
/// How long such a replica may take to receive such a batch. Then it is cut off.
pub const OUTBOUND_LARGE_TIME_MAX: Duration = Duration::from_secs(120);
/// Streams of the topology that a node serves at a time.
pub const TOPOLOGY_STREAMS_MAX: usize = 10_000;

/// Longest code of a script or of a library of functions, bytes.
pub const SCRIPT_BYTES_MAX: usize = MIB;
/// Libraries of functions of one shard.
pub const LIBRARIES_MAX: usize = 1000;
/// Their names and code, bytes.
pub const LIBRARIES_BYTES_MAX: usize = 32 * MIB;
/// Scripts that a replica has cached by SCRIPT LOAD and EVAL, bytes of code; further ones of SCRIPT LOAD are refused.
pub const SCRIPT_CACHE_BYTES_MAX: usize = 64 * MIB;
/// How long a script runs before other connections and the shard's loop have their turn.
pub const SCRIPT_SLICE: Duration = Duration::from_millis(2);
/// How long a script may run (`script-time-max`). Then it is undone and answered with an error.
pub const SCRIPT_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest name of a channel, bytes.
pub const CHANNEL_BYTES_MAX: usize = 4 * KIB;
/// Longest pattern of channels, bytes. A match takes at most as many steps as the product of both lengths.
pub const CHANNEL_PATTERN_BYTES_MAX: usize = KIB;
/// Longest message of PUBLISH and SPUBLISH, bytes.
pub const CHANNEL_MESSAGE_BYTES_MAX: usize = 16 * MIB;
/// Channels and patterns that one connection subscribes to.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 100_000;
/// Subscriptions of all connections of one replica.
pub const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Different patterns that connections of one replica subscribe to: each message is compared with all of them.
pub const CHANNEL_PATTERNS_MAX: usize = 10_000;
/// How long a message is compared with patterns before its publisher is answered.
pub const CHANNEL_MATCH_TIME_MAX: Duration = Duration::from_millis(2);
/// Messages that wait to be delivered to the subscribers of one replica, bytes; also those of transactions that wait
/// for their commit. One more may exceed it.
pub const DELIVERY_BYTES_MAX: usize = 32 * MIB;
/// Keyspace notifications of one replica that wait for their commit or for their delivery, bytes, and those of one
/// unit. What exceeds it is dropped.
pub const NOTIFICATION_BYTES_MAX: usize = 16 * MIB;
/// Messages from other replicas and nodes that wait for one replica, bytes; one more may exceed it.
pub const CHANNEL_INBOX_BYTES_MAX: usize = 16 * MIB;
/// Messages of channels that wait to be sent to one other node, bytes; one more may exceed it.
pub const CHANNEL_LINK_BYTES_MAX: usize = 16 * MIB;

/// What a replica remembers of who has read which key (CLIENT TRACKING), bytes.
pub const TRACKING_BYTES_MAX: usize = 512 * MIB;
/// Changes of keys that clients have not been informed of, on one replica, bytes; also those that wait for a commit.
pub const TRACKING_PENDING_BYTES_MAX: usize = 64 * MIB;
/// Longest prefix of CLIENT TRACKING, bytes.
pub const TRACKING_PREFIX_BYTES_MAX: usize = KIB;
/// Prefixes of one connection.
pub const TRACKING_PREFIXES_PER_CLIENT_MAX: usize = 256;
/// Prefixes of all connections of one replica.
pub const TRACKING_PREFIXES_MAX: usize = 100_000;

/// Sources (an IPv4 address, or the first 64 bits of an IPv6 address) whose new connections a node remembers; those
/// that arrived least recently are forgotten.
pub const CONNECTION_SOURCES_MAX: usize = 20_000;

/// Keys that one SORT reads for the patterns of BY and GET, which takes about a second. One with a long name, and a
/// field of a packed hash, count as several.
pub const SORT_LOOK_UPS_MAX: usize = 4 * 1024 * 1024;

/// Users of a cluster.
pub const USERS_MAX: usize = 1000;
/// Longest name of a user, bytes.
pub const USER_NAME_BYTES_MAX: usize = 256;
/// Names and rules of all users together, bytes.
pub const USERS_BYTES_MAX: usize = MIB;
/// Entries of group 0's log after which a node makes a snapshot of group 0.
pub const CONTROL_LOG_ENTRIES_MAX: u64 = 1000;
/// Bytes of the commands in these entries, after which it makes one earlier.
pub const CONTROL_LOG_BYTES_MAX: u64 = 1024 * 1024;
/// A snapshot of group 0, bytes. All users in the longest form that they can be stored in take less than half.
pub const CONTROL_SNAPSHOT_BYTES_MAX: usize = 16 * MIB;
/// Failed attempts to authenticate that one source (an IPv4 address, or the first 64 bits of an IPv6 address) may make
/// at once.
pub const AUTH_FAILURES_MAX: u32 = 100;
/// After that, one more in this time. Until then no password of this source is checked.
pub const AUTH_FAILURE_EVERY: Duration = Duration::from_millis(100);
/// Sources whose failed attempts are remembered; the one that has failed least recently is forgotten for one more.
pub const AUTH_SOURCES_MAX: usize = 10_000;

/// Events that a node keeps in its journal.
pub const EVENTS_MAX: usize = 4096;
/// The same in bytes.
pub const EVENTS_BYTES_MAX: usize = 2 * MIB;
/// Longest text in an event, bytes.
pub const EVENT_TEXT_BYTES_MAX: usize = 512;
/// Events in one response of ListEvents.
pub const EVENTS_PAGE_MAX: usize = 500;
/// Slots of one shard in a response of ShowFigures.
pub const FIGURES_SLOTS_MAX: usize = 100;
/// Slow commands of one replica in a response of ShowFigures.
pub const FIGURES_SLOW_COMMANDS_MAX: usize = 100;
