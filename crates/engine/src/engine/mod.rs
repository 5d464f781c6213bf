//! The data of one replica, and the operations that read and change it.
//!
//! - [`execute`]: executes one command.
//! - `read`, `write`: what commands do with the data; `expire`: removal of what has expired.
//! - [`memory`]: what counts against `maxmemory`; [`evict`]: removal of keys when it is reached.
//! - [`apply`]: applies effects on replicas and from the log.
//! - [`undo`]: undoes uncommitted effects, and rolls back one unit. `notify`: what a unit has done, for subscribers.
//! - `watch`, `changed`, `image`, `digest`: what observes changes, or reads all data; `rebuild`: all data from an image
//!   of itself.

pub mod apply;
mod changed;
mod digest;
pub mod evict;
pub mod execute;
mod expire;
mod image;
pub mod memory;
mod notify;
mod read;
pub mod rebuild;
pub mod undo;
mod watch;
mod write;

use crate::changed::ChangedKeys;
use crate::env::Env;
use crate::eviction::choice::Choice;
use crate::eviction::policy::EvictionOptions;
use crate::image::{Image, Loader};
use crate::keyspace::retired::Freeing;
use crate::keyspace::{Key, Keyspace, PackedLimits, TypeNumber, ValueRef};
use crate::notify::Notifier;
use crate::room::MemoryBeside;
use crate::watch::Watchers;
use fastness_resp::Args;
use fastness_types::{FormatLevel, HashSeed, SLOTS, Slot, WallMs};
use std::ops::RangeInclusive;

/// The configuration of an engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The cluster's hash seed, from group 0, so that SCAN's cursors are valid on every replica.
    pub seed: HashSeed,
    /// Bytes of memory above which keys are evicted, or commands that need more are refused; 0: no bound.
    pub maxmemory: u64,
}

/// Counters of look-ups, expired and evicted keys since the start, for INFO; they differ between replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not find it.
    pub misses: u64,
    /// Keys removed because their deadline had passed.
    pub expired: u64,
    /// Parts of values (fields of hashes) removed because their deadline had passed.
    pub expired_fields: u64,
    /// Keys removed because memory was full.
    pub evicted: u64,
}

/// Numbers of keys, for INFO's keyspace section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyspaceStats {
    /// Keys, including expired ones that have not been removed yet.
    pub keys: u64,
    /// Of these, keys with a deadline.
    pub with_deadline: u64,
    /// Of these, keys with a deadline of a part (a field of a hash).
    pub with_field_deadlines: u64,
}

/// The data of one replica. One thread owns it.
///
/// # Rules
/// - Data changes only through `Engine::perform`, whether a command is executed or the log is applied, so that a
///   replica that applies the effects that this one staged has the same data.
/// - No reply shows a key past its deadline. On a primary, a command that meets such a key removes it, with an effect;
///   on a replica it stays hidden until that effect arrives.
/// - The time is passed in: the batch's timestamp on the primary, the newest applied timestamp on replicas.
#[derive(Debug)]
pub struct Engine {
    pub(crate) keyspace: Keyspace,
    pub(crate) watchers: Watchers,
    /// Names of changed keys, for the owner; see [`changed`].
    changed: ChangedKeys,
    /// The image in progress; see [`crate::image`].
    pub(crate) image: Option<Box<Image>>,
    /// Values of an image being loaded that are not complete yet.
    pub(crate) loader: Loader,
    pub(crate) stats: Stats,
    notifier: Notifier,
    maxmemory: u64,
    /// See [`Engine::set_memory_beside`].
    memory_beside: MemoryBeside,
    eviction: EvictionOptions,
    choice: Choice,
    newest_timestamp: WallMs,
    /// Whether reads keep access times unchanged; see [`Engine::leave_access_times`].
    leaves_access_times: bool,
    /// The ranges of slots that this replica's shard owns, in order; see [`Engine::set_slots`].
    slots: Vec<RangeInclusive<u16>>,
    /// See [`Engine::set_format`].
    format: FormatLevel,
}

/// Steps of one slice of [`Engine::release_some`], which take some tens of microseconds.
const RELEASE_STEPS: usize = 256;

impl Engine {
    /// An engine without keys.
    #[must_use]
    pub fn new(options: EngineOptions) -> Engine {
        Engine {
            keyspace: Keyspace::new(options.seed),
            watchers: Watchers::default(),
            changed: ChangedKeys::default(),
            image: None,
            loader: Loader::default(),
            stats: Stats::default(),
            notifier: Notifier::default(),
            maxmemory: options.maxmemory,
            memory_beside: MemoryBeside::default(),
            eviction: EvictionOptions::default(),
            choice: Choice::default(),
            newest_timestamp: WallMs(0),
            leaves_access_times: false,
            slots: vec![0..=SLOTS as u16 - 1],
            format: FormatLevel::CURRENT,
        }
    }

    /// The keyspace, for reading.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The key's seeded hash, which determines its place in the table and in the shard's array of dirty keys.
    #[inline]
    #[must_use]
    pub fn hash_key(&self, key: &[u8]) -> u64 {
        self.keyspace.hash(key)
    }

    /// The type of a key's value, whether or not it has expired; `None`: the key is missing.
    #[must_use]
    pub fn type_of(&self, key: &[u8]) -> Option<TypeNumber> {
        self.keyspace.find(&self.key(key)).map(|entry| entry.value().of())
    }

    /// What tells the changes of a key after which a client that waits for it may find something from others, which
    /// leave this as it was; `None`: after every change.
    #[must_use]
    pub fn arrivals(&self, key: &[u8]) -> Option<u64> {
        match self.keyspace.find(&self.key(key))?.value() {
            ValueRef::Object(object) => object.arrivals(),
            _ => None,
        }
    }

    /// A key with its slot and hash.
    #[inline]
    #[must_use]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.keyspace.key(bytes)
    }

    /// The first argument after the name as a key; not hashed again if the caller has put it into `env`.
    #[inline]
    #[must_use]
    pub fn first_key<'k>(&self, args: Args<'k>, env: &Env<'_>) -> Key<'k> {
        let bytes = args.get(1);
        match env.first {
            Some(Key { bytes: known, slot, hash }) if std::ptr::eq(known, bytes) => Key { bytes, slot, hash },
            _ => self.key(bytes),
        }
    }

    /// Prefetches these keys' entries, so that the waits for memory overlap: first all tables, then all buckets, then
    /// all entries.
    #[inline]
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k Key<'k>> + Clone) {
        keys.clone().for_each(|key| self.keyspace.prefetch_table(key.slot));
        keys.clone().for_each(|key| self.keyspace.prefetch_bucket(key.slot, key.hash));
        keys.for_each(|key| self.keyspace.prefetch_entry(key.slot, key.hash));
    }

    /// The newest timestamp applied or noted. Replicas hide keys whose deadline is before it; a new primary's first
    /// timestamp is not before it.
    #[must_use]
    pub fn newest_timestamp(&self) -> WallMs {
        self.newest_timestamp
    }

    /// Notes a timestamp; an older one has no effect.
    pub fn advance_timestamp(&mut self, timestamp: WallMs) {
        self.newest_timestamp = self.newest_timestamp.max(timestamp);
    }

    /// Returns to an older timestamp, after everything newer was undone.
    pub(crate) fn go_back_to(&mut self, timestamp: WallMs) {
        self.newest_timestamp = timestamp;
    }

    /// The bound of [`Engine::memory_used`]; 0: no bound.
    #[must_use]
    pub fn maxmemory(&self) -> u64 {
        self.maxmemory
    }

    /// Sets the bound of [`Engine::memory_used`]; 0: no bound.
    pub fn set_maxmemory(&mut self, bytes: u64) {
        self.maxmemory = bytes;
    }

    /// Sets up to which size values are packed from now on, within the upper bounds of [`PackedLimits`].
    pub fn set_packed_limits(&mut self, limits: PackedLimits) {
        self.keyspace.set_packed_limits(limits);
    }

    /// Sets which slots the shard owns, in maximal ranges: CLUSTERSCAN continues on another shard after each range.
    /// Initially all slots.
    pub fn set_slots(&mut self, runs: Vec<RangeInclusive<u16>>) {
        self.slots = runs;
    }

    /// Sets the format level that all members of the group support: of two forms of an effect, commands stage the one
    /// that every member can read. Initially that of this version.
    pub fn set_format(&mut self, level: FormatLevel) {
        self.format = level;
    }

    /// See [`Engine::set_format`].
    pub(crate) fn format(&self) -> FormatLevel {
        self.format
    }

    /// The slots that the shard owns, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().cloned().flatten().map(Slot)
    }

    /// The last slot of the range that has `slot`; `slot` itself if the shard does not own it.
    #[must_use]
    pub fn last_of_run(&self, slot: Slot) -> Slot {
        self.slots.iter().find(|run| run.contains(&slot.0)).map_or(slot, |run| Slot(*run.end()))
    }

    /// CLIENT NO-TOUCH: whether the next commands read without setting access times. TOUCH sets them anyway.
    #[inline]
    pub fn leave_access_times(&mut self, leave: bool) {
        self.leaves_access_times = leave;
    }

    /// Counters of look-ups and expired keys.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Resets these counters, for CONFIG RESETSTAT.
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

    /// Frees a slice of removed, flushed and replaced data, bounded in entries and bytes (see
    /// [`crate::keyspace::retired`]); returns whether there is more. The owner of the engine calls it until nothing is
    /// left, because nothing else frees large values.
    pub fn release_some(&mut self) -> bool {
        self.keyspace.release(RELEASE_STEPS)
    }

    /// Whether [`Engine::release_some`] has data to free.
    #[inline]
    #[must_use]
    pub fn has_retired(&self) -> bool {
        self.keyspace.has_retired()
    }

    /// How much was freed in slices, and how much is pending.
    #[must_use]
    pub fn freeing(&self) -> Freeing {
        self.keyspace.freeing()
    }

    /// Discards all data, timestamps and counters, and keeps the bound of memory, the options of eviction, the slots
    /// and the classes of notifications. The old data counts as memory in use until [`Engine::release_some`] has freed
    /// it.
    pub fn restart(&mut self) {
        self.drop_image();
        self.keyspace.restart();
        self.loader = Loader::default();
        self.watchers = Watchers::default();
        self.clear_changed();
        self.stats = Stats::default();
        self.forget_notifications(0);
        self.choice.reset();
        self.newest_timestamp = WallMs(0);
        self.leaves_access_times = false;
    }
}
