//! The data of one replica, and the few ways to read and change it.
//!
//! - [`execute`]: runs one command.
//! - `read`, `write`, `expire`: what commands do with the data, and what happens without a command.
//! - [`apply`]: repeats effects on replicas and from the log.
//! - [`undo`]: back to what is committed, or to before a unit.
//! - `watch`, `image`, `digest`: what else looks at the data as it changes, or at all of it.

pub mod apply;
mod digest;
pub mod execute;
mod expire;
mod image;
mod read;
pub mod undo;
mod watch;
mod write;

use crate::env::Env;
use crate::image::{Image, Loader};
use crate::keyspace::retired::Freeing;
use crate::keyspace::{Key, Keyspace};
use crate::watch::Watchers;
use fastness_resp::Args;
use fastness_types::{HashSeed, SLOTS, Slot, WallMs};
use std::ops::RangeInclusive;

/// What an engine is made with.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The cluster's, from group 0: SCAN's cursors then mean the same on every replica.
    pub seed: HashSeed,
    /// Bytes of memory above which commands that need more are refused; 0: no bound.
    pub maxmemory: u64,
}

/// What INFO tells about look-ups, counted since the start; differs between replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed since their deadline had passed.
    pub expired: u64,
    /// Fields of hashes removed since theirs had.
    pub expired_fields: u64,
}

/// What INFO's keyspace section tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyspaceStats {
    /// Keys, expired ones that are still there included.
    pub keys: u64,
    /// Of these, keys with a deadline.
    pub with_deadline: u64,
    /// Of these, hashes with a deadline of a field.
    pub with_field_deadlines: u64,
}

/// The data of one replica. One thread owns it.
///
/// # Rules
/// - Data changes through `Engine::perform` alone, whether a command runs or the log is replayed, so that a replica
///   that applies what this one staged ends with the same data.
/// - A key past its deadline is never shown. Where writing is allowed it is removed when it is met, with an effect;
///   elsewhere it stays, hidden, until that effect arrives.
/// - The time is given: the batch's timestamp on the primary, the newest applied timestamp on replicas.
#[derive(Debug)]
pub struct Engine {
    pub(crate) keyspace: Keyspace,
    pub(crate) watchers: Watchers,
    /// What is being written out, see [`crate::image`].
    pub(crate) image: Option<Box<Image>>,
    /// What an image that is being read has not completed.
    pub(crate) loader: Loader,
    pub(crate) stats: Stats,
    maxmemory: u64,
    /// See [`Engine::set_memory_beside`].
    memory_beside: u64,
    newest_timestamp: WallMs,
    /// Whether reads leave the times of access alone; see [`Engine::leave_access_times`].
    leaves_access_times: bool,
    /// The runs of slots that this replica's shard owns, in order; see [`Engine::set_slots`].
    slots: Vec<RangeInclusive<u16>>,
}

/// Steps of one slice of [`Engine::release_some`]: some tens of microseconds.
const RELEASE_STEPS: usize = 256;

impl Engine {
    /// With no keys.
    #[must_use]
    pub fn new(options: EngineOptions) -> Engine {
        Engine {
            keyspace: Keyspace::new(options.seed),
            watchers: Watchers::default(),
            image: None,
            loader: Loader::default(),
            stats: Stats::default(),
            maxmemory: options.maxmemory,
            memory_beside: 0,
            newest_timestamp: WallMs(0),
            leaves_access_times: false,
            slots: vec![0..=SLOTS as u16 - 1],
        }
    }

    /// The keys, to be read.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The key's seeded hash: places it in the table, and in the shard's array of dirty keys.
    #[inline]
    #[must_use]
    pub fn hash_key(&self, key: &[u8]) -> u64 {
        self.keyspace.hash(key)
    }

    /// A key with its slot and hash.
    #[inline]
    #[must_use]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.keyspace.key(bytes)
    }

    /// The first argument after the name as a key, if it has been worked out already for `env`, without hashing it
    /// again.
    #[inline]
    #[must_use]
    pub fn first_key<'k>(&self, args: Args<'k>, env: &Env<'_>) -> Key<'k> {
        let bytes = args.get(1);
        match env.first {
            Some(Key { bytes: known, slot, hash }) if std::ptr::eq(known, bytes) => Key { bytes, slot, hash },
            _ => self.key(bytes),
        }
    }

    /// Starts to load these keys' entries, so that the waits for memory overlap: first every table, then every bucket,
    /// then every entry.
    #[inline]
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k Key<'k>> + Clone) {
        keys.clone().for_each(|key| self.keyspace.prefetch_table(key.slot));
        keys.clone().for_each(|key| self.keyspace.prefetch_bucket(key.slot, key.hash));
        keys.for_each(|key| self.keyspace.prefetch_entry(key.slot, key.hash));
    }

    /// The newest timestamp applied or seen. Replicas hide what is past it; a new primary's first timestamp is not
    /// before it.
    #[must_use]
    pub fn newest_timestamp(&self) -> WallMs {
        self.newest_timestamp
    }

    /// Notes a timestamp; an older one changes nothing.
    pub fn advance_timestamp(&mut self, timestamp: WallMs) {
        self.newest_timestamp = self.newest_timestamp.max(timestamp);
    }

    /// What was seen since then has been undone.
    pub(crate) fn go_back_to(&mut self, timestamp: WallMs) {
        self.newest_timestamp = timestamp;
    }

    /// Bytes in use: by the data, by an image of it that is being written, by what may have to come back, and by what
    /// the owner has told of.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.memory_of_data() + self.image_bytes() + self.undo_bytes() + self.memory_beside
    }

    /// Bytes in use by keys and values, with their tables.
    #[must_use]
    pub fn memory_of_data(&self) -> u64 {
        self.keyspace.account().bytes
    }

    /// Bytes in use by an image of the data that is being written.
    #[must_use]
    pub fn memory_of_image(&self) -> u64 {
        self.image_bytes()
    }

    /// Tells how many bytes are in use beside the data that count against the bound as it does: clients' buffers and
    /// the like.
    #[inline]
    pub fn set_memory_beside(&mut self, bytes: u64) {
        self.memory_beside = bytes;
    }

    /// The bound of [`Engine::memory_used`]; 0: none.
    #[must_use]
    pub fn maxmemory(&self) -> u64 {
        self.maxmemory
    }

    /// Sets the bound; 0: none.
    pub fn set_maxmemory(&mut self, bytes: u64) {
        self.maxmemory = bytes;
    }

    /// Whether more memory is in use than allowed.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.maxmemory > 0 && self.memory_used() > self.maxmemory
    }

    /// Says which slots the shard owns, in runs as long as can be: CLUSTERSCAN goes on to another shard behind one.
    /// All, if nothing is said.
    pub fn set_slots(&mut self, runs: Vec<RangeInclusive<u16>>) {
        self.slots = runs;
    }

    /// The slots that the shard owns, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().cloned().flatten().map(Slot)
    }

    /// The last slot of the run that `slot` is in; itself if the shard does not own it.
    #[must_use]
    pub fn last_of_run(&self, slot: Slot) -> Slot {
        self.slots.iter().find(|run| run.contains(&slot.0)).map_or(slot, |run| Slot(*run.end()))
    }

    /// CLIENT NO-TOUCH: whether the commands that follow read without noting the access. TOUCH notes it anyway.
    #[inline]
    pub fn leave_access_times(&mut self, leave: bool) {
        self.leaves_access_times = leave;
    }

    /// Counters of look-ups.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sets the counters of look-ups to 0, as CONFIG RESETSTAT does.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// Numbers of keys.
    #[must_use]
    pub fn keyspace_stats(&self) -> KeyspaceStats {
        KeyspaceStats {
            keys: self.keyspace.len(),
            with_deadline: self.keyspace.len_with_deadline(),
            with_field_deadlines: self.keyspace.len_with_part_deadlines(),
        }
    }

    /// Number of keys in a slot.
    #[must_use]
    pub fn count_keys_in_slot(&self, slot: Slot) -> usize {
        self.keyspace.len_in_slot(slot)
    }

    /// Up to `count` keys of a slot.
    #[must_use]
    pub fn keys_in_slot(&self, slot: Slot, count: usize) -> Vec<Vec<u8>> {
        self.keyspace.iter_slot(slot).take(count).map(|entry| entry.key().to_vec()).collect()
    }

    /// Frees a slice of what was removed, flushed or replaced, bounded in entries and bytes (see
    /// [`crate::keyspace::retired`]); true if there is more. Whoever owns the engine calls it until there is not:
    /// nothing else frees what is large.
    pub fn release_some(&mut self) -> bool {
        self.keyspace.release(RELEASE_STEPS)
    }

    /// Whether [`Engine::release_some`] has something to free.
    #[inline]
    #[must_use]
    pub fn has_retired(&self) -> bool {
        self.keyspace.has_retired()
    }

    /// How much was freed in slices, and how much is still to be.
    #[must_use]
    pub fn freeing(&self) -> Freeing {
        self.keyspace.freeing()
    }

    /// Gives up all data, time and figures: an engine as it was made, with the bound of memory and the slots as they
    /// are. What the data took counts until [`Engine::release_some`] has freed it.
    pub fn restart(&mut self) {
        self.drop_image();
        self.keyspace.restart();
        self.loader = Loader::default();
        self.watchers = Watchers::default();
        self.stats = Stats::default();
        self.newest_timestamp = WallMs(0);
        self.leaves_access_times = false;
    }
}
