//! The data of one replica, and the few ways to read and change it.

use crate::effect::{Effect, EffectBuf, Items};
use crate::execute::Env;
use crate::image::{Image, Loader};
use crate::keyspace::retired::Freeing;
use crate::keyspace::{Entry, ExpiryChange, Key, Keyspace};
use crate::value::ValueRef;
use crate::value::hash::FieldTable;
use crate::watch::Watchers;
use fastness_resp::Args;
use fastness_types::limits::EXPIRY_UNIT_BYTES_MAX;
use fastness_types::{HashSeed, Plant, SLOTS, Slot, WallMs};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

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
/// - The time is given: the batch's stamp on the primary, the newest applied stamp on replicas.
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
    newest_stamp: WallMs,
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
            newest_stamp: WallMs(0),
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

    /// Starts to load these keys' entries, so that the waits for memory overlap: first every table, then every bucket,
    /// then every entry.
    #[inline]
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k Key<'k>> + Clone) {
        keys.clone().for_each(|key| self.keyspace.prefetch_table(key.slot));
        keys.clone().for_each(|key| self.keyspace.prefetch_bucket(key.slot, key.hash));
        keys.for_each(|key| self.keyspace.prefetch_entry(key.slot, key.hash));
    }

    /// The newest stamp applied or seen. Replicas hide what is past it; a new primary's first stamp is not before it.
    #[must_use]
    pub fn newest_stamp(&self) -> WallMs {
        self.newest_stamp
    }

    /// Notes a stamp; an older one changes nothing.
    pub fn advance_stamp(&mut self, stamp: WallMs) {
        self.newest_stamp = self.newest_stamp.max(stamp);
    }

    /// What was seen since then has been undone.
    pub(crate) fn go_back_to(&mut self, stamp: WallMs) {
        self.newest_stamp = stamp;
    }

    /// Bytes in use: by the data, by an image of it that is being written, by what may have to come back, and by what the owner
    /// has told of.
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

    /// Tells how many bytes are in use beside the data that count against the bound as it does: clients' buffers and the like.
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

    /// Says which slots the shard owns, in runs as long as can be: CLUSTERSCAN goes on to another shard behind one. All,
    /// if nothing is said.
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
            with_field_deadlines: self.keyspace.len_with_field_deadlines(),
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

    /// Frees a slice of what was removed, flushed or replaced, bounded in entries and bytes (see [`crate::keyspace::retired`]);
    /// true if there is more. Whoever owns the engine calls it until there is not: nothing else frees what is large.
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

    /// Gives up all data, time and figures: an engine as it was made, with the bound of memory and the slots as they are. What the data
    /// took counts until [`Engine::release_some`] has freed it.
    pub fn restart(&mut self) {
        self.drop_image();
        self.keyspace.restart();
        self.loader = Loader::default();
        self.watchers = Watchers::default();
        self.stats = Stats::default();
        self.newest_stamp = WallMs(0);
        self.leaves_access_times = false;
    }
}

/// Reads. What they return is what the command may see.
impl Engine {
    #[inline]
    fn find(&mut self, key: &Key<'_>, now: WallMs) -> Option<&Entry> {
        if self.leaves_access_times { self.keyspace.find(key) } else { self.keyspace.find_touched(key, now) }
    }

    /// The key's entry, if it is there and not expired; notes the access and counts hit or miss. For reading commands.
    pub fn read(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        if self.is_alive(key, env) {
            self.stats.hits += 1;
            self.find(key, env.now)
        } else {
            self.stats.misses += 1;
            None
        }
    }

    /// The key's entry, if it is there and not expired; notes the access. For writing commands, and for those that
    /// Valkey does not count.
    pub fn look_up(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        self.is_alive(key, env).then(|| self.find(key, env.now)).flatten()
    }

    /// As [`Engine::look_up`], without noting the access: for TTL, TYPE, OBJECT and the like.
    pub fn peek(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        self.is_alive(key, env).then(|| self.keyspace.find(key)).flatten()
    }

    /// As [`Engine::read`], without noting the access.
    pub fn peek_counted(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<&Entry> {
        if self.is_alive(key, env) {
            self.stats.hits += 1;
            self.keyspace.find(key)
        } else {
            self.stats.misses += 1;
            None
        }
    }

    /// Whether the key is there and not expired. Removes it if it is expired and may be removed.
    pub fn is_alive(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> bool {
        let Some(entry) = self.keyspace.find(key) else { return false };
        if !is_expired(entry, env.now) {
            return true;
        }
        if env.may_write {
            let of_fields = entry.fields().filter(|_| !is_past(entry.deadline(), env.now)).map_or(0, FieldTable::len);
            self.stats.expired_fields += of_fields as u64;
            self.stats.expired += u64::from(of_fields == 0);
            self.stage(Effect::Unlink { key: *key }, env.effects, env.now);
        }
        false
    }

    /// The value of a string, as [`Engine::look_up`] finds it.
    pub fn value(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> Option<ValueRef<'_>> {
        self.look_up(key, env).map(Entry::value)
    }
}

/// Whether a key's deadline has passed, or that of every field in a hash: the deadline itself still belongs to its life, as
/// in Valkey.
#[must_use]
pub fn is_expired(entry: &Entry, now: WallMs) -> bool {
    is_past(entry.deadline(), now) || entry.fields().is_some_and(|fields| fields.is_past(now))
}

fn is_past(deadline: Option<WallMs>, now: WallMs) -> bool {
    deadline.is_some_and(|at| now > at)
}

/// Writes. Each stages one effect and performs it, unless the unit would be too long with it: then it will be taken back whole.
/// The caller has looked at the key before, so an expired one is gone.
impl Engine {
    #[inline]
    fn stage(&mut self, effect: Effect<'_>, effects: &mut EffectBuf, now: WallMs) {
        if effects.admits(&effect) {
            effects.push(&effect);
            self.perform(&effect, now);
        }
    }

    /// Sets a string.
    #[inline]
    pub fn set(&mut self, key: &Key<'_>, value: &[u8], expiry: ExpiryChange, env: &mut Env<'_>) {
        if self.keyspace.is_long(value) {
            return self.set_long(key, value.into(), expiry, env);
        }
        self.stage(Effect::Set { key: *key, value, expiry }, env.effects, env.now);
    }

    /// The same with a text that nobody else needs: a long one is kept as it is, without a copy of it.
    pub fn set_owned(&mut self, key: &Key<'_>, value: Vec<u8>, expiry: ExpiryChange, env: &mut Env<'_>) {
        if self.keyspace.is_long(&value) {
            return self.set_long(key, value.into(), expiry, env);
        }
        self.set(key, &value, expiry, env);
    }

    /// Memory and the effects share the text.
    #[cold]
    fn set_long(&mut self, key: &Key<'_>, value: Cow<'_, [u8]>, expiry: ExpiryChange, env: &mut Env<'_>) {
        let effect = Effect::Set { key: *key, value: &value, expiry };
        if !env.effects.admits(&effect) {
            return;
        }
        self.announce(&effect, env.now);
        let mut value = value.into_owned();
        value.shrink_to_fit();
        let value = Arc::new(value);
        env.effects.push_set(*key, &value, expiry);
        self.keyspace.set_shared(key, value, expiry, env.now);
    }

    /// Sets a string to an integer's decimal form, with the deadline as before.
    pub fn set_int(&mut self, key: &Key<'_>, value: i64, env: &mut Env<'_>) {
        let mut buffer = itoa::Buffer::new();
        self.set(key, buffer.format(value).as_bytes(), ExpiryChange::Keep, env);
    }

    /// Appends to a string.
    pub fn append(&mut self, key: &Key<'_>, bytes: &[u8], env: &mut Env<'_>) {
        self.stage(Effect::Append { key: *key, bytes }, env.effects, env.now);
    }

    /// Overwrites a part of a string.
    pub fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8], env: &mut Env<'_>) {
        self.stage(Effect::SetRange { key: *key, offset, bytes }, env.effects, env.now);
    }

    /// Sets fields of a hash, `pairs` of field and value, with a deadline of theirs; if there are none, nothing happens.
    pub fn set_fields(&mut self, key: &Key<'_>, pairs: Args<'_>, expiry: ExpiryChange, env: &mut Env<'_>) {
        if !pairs.is_empty() {
            self.stage(Effect::SetFields { key: *key, pairs: pairs.into(), expiry }, env.effects, env.now);
        }
    }

    /// Sets one field of a hash.
    pub fn set_field(&mut self, key: &Key<'_>, field: &[u8], value: &[u8], expiry: ExpiryChange, env: &mut Env<'_>) {
        self.set_fields(key, Args::slices(&[field, value]), expiry, env);
    }

    /// Removes fields of a hash, and the key with the last of them. They are there; if there are none, nothing happens.
    pub fn remove_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(Effect::RemoveFields { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Sets the deadline of fields that are there; if there are none, nothing happens.
    pub fn expire_fields_at(&mut self, key: &Key<'_>, at: WallMs, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(Effect::ExpireFieldsAt { key: *key, at, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Drops the deadline of fields that have one; if there are none, nothing happens.
    pub fn persist_fields(&mut self, key: &Key<'_>, fields: Args<'_>, env: &mut Env<'_>) {
        if !fields.is_empty() {
            self.stage(Effect::PersistFields { key: *key, fields: fields.into() }, env.effects, env.now);
        }
    }

    /// Removes a key, if it is there and not expired.
    pub fn unlink(&mut self, key: &Key<'_>, env: &mut Env<'_>) -> bool {
        let alive = self.is_alive(key, env);
        if alive {
            self.stage(Effect::Unlink { key: *key }, env.effects, env.now);
        }
        alive
    }

    /// Sets the deadline of a key that is there.
    pub fn expire_at(&mut self, key: &Key<'_>, at: WallMs, env: &mut Env<'_>) {
        self.stage(Effect::ExpireAt { key: *key, at }, env.effects, env.now);
    }

    /// Drops the deadline of a key that has one.
    pub fn persist(&mut self, key: &Key<'_>, env: &mut Env<'_>) {
        self.stage(Effect::Persist { key: *key }, env.effects, env.now);
    }

    /// Moves a key that is there, with its deadline; what `to` held goes.
    pub fn rename(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(Effect::Rename { from: *from, to: *to }, env.effects, env.now);
    }

    /// Copies a key that is there, with its deadline; what `to` held goes.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, env: &mut Env<'_>) {
        self.stage(Effect::Copy { from: *from, to: *to }, env.effects, env.now);
    }

    /// Removes every key. Staged even if there is none: other replicas may still hold some.
    pub fn flush_all(&mut self, env: &mut Env<'_>) {
        self.stage(Effect::FlushAll, env.effects, env.now);
    }

    /// Removes up to `budget` keys and fields whose deadline has passed, earliest first, and returns how many it removed:
    /// the primary calls it between commands, with the open batch's stamp. Names have no bound that a turn could rest on, so
    /// it ends as well once they take [`EXPIRY_UNIT_BYTES_MAX`]: with the one that reaches it.
    pub fn expire_due(&mut self, now: WallMs, budget: usize, effects: &mut EffectBuf) -> usize {
        let bytes_end = if Plant::ExpiryUnbounded.is_on() { usize::MAX } else { effects.len() + EXPIRY_UNIT_BYTES_MAX };
        let removed = self.expire_keys(now, budget, bytes_end, effects);
        removed + self.expire_fields(now, budget - removed, bytes_end, effects)
    }

    fn expire_keys(&mut self, now: WallMs, budget: usize, bytes_end: usize, effects: &mut EffectBuf) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_due(now) else { break };
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            self.stage(Effect::Unlink { key }, effects, now);
            removed += 1;
        }
        self.stats.expired += removed as u64;
        removed
    }

    /// One effect for each hash.
    fn expire_fields(&mut self, now: WallMs, budget: usize, bytes_end: usize, effects: &mut EffectBuf) -> usize {
        let mut removed = 0;
        while removed < budget && effects.len() < bytes_end && !effects.has_overflowed() {
            let Some(entry) = self.keyspace.next_with_field_due(now) else { break };
            let mut bytes_left = bytes_end - effects.len();
            let has_room = |field: &&[u8]| {
                let has_room = bytes_left > 0;
                bytes_left = bytes_left.saturating_sub(field.len());
                has_room
            };
            let past = entry.fields().into_iter().flat_map(|fields| fields.past(now)).take(budget - removed);
            let fields: Vec<Vec<u8>> = past.take_while(has_room).map(<[u8]>::to_vec).collect();
            if fields.is_empty() {
                debug_assert!(false, "the index of deadlines names a field that is not there");
                break;
            }
            let bytes = entry.key().to_vec();
            let key = self.keyspace.key(&bytes);
            removed += fields.len();
            self.stage(Effect::RemoveFields { key, fields: Items::from(Args::owned(&fields)) }, effects, now);
        }
        self.stats.expired_fields += removed as u64;
        removed
    }

    /// Whether the key, or a field of it, is alive at `from` and past its deadline at `to`.
    #[must_use]
    pub fn expires_between(&self, key: &Key<'_>, from: WallMs, to: WallMs) -> bool {
        let of_fields = |entry: &Entry| entry.fields().is_some_and(|fields| fields.has_expired_between(from, to));
        let found = self.keyspace.find(key).filter(|entry| !is_expired(entry, from));
        found.is_some_and(|entry| is_expired(entry, to) || of_fields(entry))
    }

    /// Whether any key may be such a one.
    #[must_use]
    pub fn any_expires_between(&self, from: WallMs, to: WallMs) -> bool {
        self.keyspace.any_ends_between(from, to)
    }

    /// The earliest deadline, to know when [`Engine::expire_due`] has something to do.
    #[must_use]
    pub fn first_deadline(&self) -> Option<WallMs> {
        self.keyspace.first_deadline()
    }
}
