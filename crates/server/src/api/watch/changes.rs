//! From effects in the log to changes in responses.
//!
//! Names and values are cut at [`WATCH_VALUE_BYTES_MAX`], and changes of many fields are split, so that a response
//! stays below what gRPC clients accept by default (4 MiB).

use bytes::Bytes;
use fastness_engine::ExpiryChange;
use fastness_engine::effect::{Effect, Items, KeyEffect, TypeEffect as _};
use fastness_engine::hash::effect::HashEffect;
use fastness_engine::string::effect::StringEffect;
use fastness_engine::zset::effect::{ZsetEffect, scored};
use fastness_shard::changes::{ChangeFilter, ChangePosition};
use fastness_types::LogIndex;
use fastness_types::limits::WATCH_VALUE_BYTES_MAX;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::{self, WatchChange, WatchPosition, watch_expiry};

/// What a change takes beside its bytes, in a response and in memory.
const CHANGE_COST: usize = 64;
/// A change of fields is split once it has so many bytes.
const FIELDS_BYTES: usize = 256 * 1024;

/// A position as messages have it.
pub(super) fn write_position(position: ChangePosition) -> WatchPosition {
    WatchPosition { index: position.index.0, unit: position.unit }
}

/// A position from a message.
pub(super) fn read_position(position: &WatchPosition) -> ChangePosition {
    ChangePosition { index: LogIndex(position.index), unit: position.unit }
}

/// Makes changes, and notes how long they are.
#[derive(Default)]
struct Writer {
    bytes: usize,
    name_cut: bool,
}

impl Writer {
    fn name(&mut self, name: &[u8]) -> Bytes {
        let cut = &name[..name.len().min(WATCH_VALUE_BYTES_MAX)];
        self.name_cut |= cut.len() < name.len();
        self.bytes += cut.len();
        Bytes::copy_from_slice(cut)
    }

    /// The value, whether it is omitted, and its length.
    fn value(&mut self, value: &[u8]) -> (Bytes, bool, u64) {
        let omitted = value.len() > WATCH_VALUE_BYTES_MAX;
        let kept = if omitted { &[] } else { value };
        self.bytes += kept.len();
        (Bytes::copy_from_slice(kept), omitted, value.len() as u64)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> v1::HashFieldChange {
        let name = self.name(name);
        let (value, value_omitted, value_bytes) = self.value(value);
        self.bytes += CHANGE_COST;
        v1::HashFieldChange { name, value, value_omitted, value_bytes }
    }

    /// The change, with its size in memory.
    fn finish(self, change: Change) -> (WatchChange, usize) {
        (WatchChange { change: Some(change), name_cut: self.name_cut }, self.bytes + CHANGE_COST)
    }
}

fn expiry(change: ExpiryChange) -> Option<v1::WatchExpiry> {
    let expiry = match change {
        ExpiryChange::Drop => return None,
        ExpiryChange::Keep => watch_expiry::Expiry::KeepTtl(true),
        ExpiryChange::At(at) => watch_expiry::Expiry::ExpireAtMs(at.0),
    };
    Some(v1::WatchExpiry { expiry: Some(expiry) })
}

/// The changes that an effect makes to what is watched, each with its size in memory.
pub(super) fn changes_of<'a>(
    effect: &Effect<'a>,
    filter: &ChangeFilter,
) -> Box<dyn Iterator<Item = (WatchChange, usize)> + Send + 'a> {
    match *effect {
        Effect::String(effect) => Box::new(of_string(effect, filter).into_iter()),
        Effect::Key(effect) => Box::new(of_key(effect, filter).into_iter()),
        Effect::Hash(effect) => match effect {
            HashEffect::Set { key, .. }
            | HashEffect::Remove { key, .. }
            | HashEffect::ExpireAt { key, .. }
            | HashEffect::Persist { key, .. }
                if !filter.matches(key.bytes) =>
            {
                Box::new(std::iter::empty())
            }
            HashEffect::Set { key, pairs, expiry } => Box::new(set_fields(key.bytes, pairs, expiry)),
            HashEffect::Remove { key, fields } => Box::new(named_fields(key.bytes, fields, |key, fields| {
                Change::HashDelete(v1::HashDeleteChange { key, fields })
            })),
            HashEffect::ExpireAt { key, at, fields } => {
                Box::new(named_fields(key.bytes, fields, move |key, fields| {
                    Change::HashExpire(v1::HashExpireChange { key, fields, expire_at_ms: at.0 })
                }))
            }
            HashEffect::Persist { key, fields } => Box::new(named_fields(key.bytes, fields, |key, fields| {
                Change::HashPersist(v1::HashPersistChange { key, fields })
            })),
        },
        Effect::Zset(ZsetEffect::Add { key, .. } | ZsetEffect::Remove { key, .. }) if !filter.matches(key.bytes) => {
            Box::new(std::iter::empty())
        }
        Effect::Zset(ZsetEffect::Add { key, members, .. }) => Box::new(add_members(key.bytes, members)),
        Effect::Zset(ZsetEffect::Remove { key, members }) => {
            Box::new(named_fields(key.bytes, members, |key, members| {
                Change::SortedSetRemove(v1::SortedSetRemoveChange { key, members })
            }))
        }
        #[allow(unreachable_patterns, reason = "types that exist in tests only")]
        _ => {
            let watched: Vec<_> = effect.keys().changed().filter(|key| filter.matches(key.bytes)).collect();
            Box::new(watched.into_iter().map(|key| {
                let mut writer = Writer::default();
                let key = writer.name(key.bytes);
                writer.finish(Change::Other(v1::OtherChange { key }))
            }))
        }
    }
}

fn of_string(effect: StringEffect<'_>, filter: &ChangeFilter) -> Option<(WatchChange, usize)> {
    let (StringEffect::Set { key, .. } | StringEffect::Append { key, .. } | StringEffect::SetRange { key, .. }) =
        effect;
    if !filter.matches(key.bytes) {
        return None;
    }
    let mut writer = Writer::default();
    let key = writer.name(key.bytes);
    let change = match effect {
        StringEffect::Set { value, expiry: change, .. } => {
            let (value, value_omitted, value_bytes) = writer.value(value);
            let expiry = expiry(change);
            Change::StringSet(v1::StringSetChange { key, value, value_omitted, value_bytes, expiry })
        }
        StringEffect::Append { bytes, .. } => {
            let (value, value_omitted, value_bytes) = writer.value(bytes);
            Change::StringAppend(v1::StringAppendChange { key, value, value_omitted, value_bytes })
        }
        StringEffect::SetRange { offset, bytes, .. } => {
            let (value, value_omitted, value_bytes) = writer.value(bytes);
            Change::StringSetRange(v1::StringSetRangeChange { key, offset, value, value_omitted, value_bytes })
        }
    };
    Some(writer.finish(change))
}

fn of_key(effect: KeyEffect<'_>, filter: &ChangeFilter) -> Option<(WatchChange, usize)> {
    let mut writer = Writer::default();
    // The name of a key that is not watched is not shown: its user may not read it.
    let mut watched = |key: &[u8]| filter.matches(key).then(|| writer.name(key));
    let change = match effect {
        KeyEffect::Unlink { key } => Change::KeyDelete(v1::KeyDeleteChange { key: watched(key.bytes)? }),
        KeyEffect::ExpireAt { key, at } => {
            Change::KeyExpire(v1::KeyExpireChange { key: watched(key.bytes)?, expire_at_ms: at.0 })
        }
        KeyEffect::Persist { key } => Change::KeyPersist(v1::KeyPersistChange { key: watched(key.bytes)? }),
        KeyEffect::FlushAll => Change::Flush(v1::FlushChange {}),
        KeyEffect::Rename { from, to } => {
            let (from, to) = (watched(from.bytes), watched(to.bytes));
            if from.is_none() && to.is_none() {
                return None;
            }
            Change::KeyRename(v1::KeyRenameChange { from, to })
        }
        KeyEffect::Copy { from, to } => {
            let to = watched(to.bytes)?;
            Change::KeyCopy(v1::KeyCopyChange { from: watched(from.bytes), to })
        }
    };
    Some(writer.finish(change))
}

fn set_fields<'a>(
    key: &'a [u8],
    pairs: Items<'a>,
    change: ExpiryChange,
) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut pairs = pairs.pairs().peekable();
    std::iter::from_fn(move || {
        pairs.peek()?;
        let mut writer = Writer::default();
        let (key, mut fields) = (writer.name(key), Vec::new());
        // The key does not count: a long one must not leave out all fields.
        let bytes_max = writer.bytes + FIELDS_BYTES;
        while writer.bytes < bytes_max
            && let Some((name, value)) = pairs.next()
        {
            fields.push(writer.field(name, value));
        }
        Some(writer.finish(Change::HashSet(v1::HashSetChange { key, fields, expiry: expiry(change) })))
    })
}

/// At least one change: a sorted set may change without any of its members.
fn add_members<'a>(key: &'a [u8], members: Items<'a>) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut rest = scored(members).peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        if !std::mem::take(&mut is_first) {
            rest.peek()?;
        }
        let mut writer = Writer::default();
        let (key, mut members) = (writer.name(key), Vec::new());
        // The key does not count: a long one must not leave out all members.
        let bytes_max = writer.bytes + FIELDS_BYTES;
        while writer.bytes < bytes_max
            && let Some((name, score)) = rest.next()
        {
            members.push(v1::SortedSetMember { name: writer.name(name), score });
            writer.bytes += CHANGE_COST;
        }
        Some(writer.finish(Change::SortedSetAdd(v1::SortedSetAddChange { key, members })))
    })
}

fn named_fields<'a>(
    key: &'a [u8],
    fields: Items<'a>,
    change: impl Fn(Bytes, Vec<Bytes>) -> Change + Send + 'a,
) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut rest = fields.iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut writer = Writer::default();
        let (key, mut fields) = (writer.name(key), Vec::new());
        // The key does not count: a long one must not leave out all fields.
        let bytes_max = writer.bytes + FIELDS_BYTES;
        while writer.bytes < bytes_max
            && let Some(name) = rest.next()
        {
            fields.push(writer.name(name));
            writer.bytes += CHANGE_COST;
        }
        Some(writer.finish(change(key, fields)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_engine::{EffectBuf, Engine, EngineOptions};
    use fastness_resp::Args;
    use fastness_shard::changes::effects;
    use fastness_types::HashSeed;
    use prost::Message as _;

    use super::*;

    /// What a gRPC client accepts by default.
    const CLIENT_MAX: usize = 4 << 20;

    fn engine() -> Engine {
        Engine::new(EngineOptions { seed: HashSeed([1; 16]), maxmemory: 0 })
    }

    fn changes<'a>(effect: impl Into<Effect<'a>>, filter: &ChangeFilter) -> Vec<WatchChange> {
        let mut buf = EffectBuf::new();
        buf.push(&effect.into());
        let bytes = buf.take().to_vec();
        let mut all = Vec::new();
        for effect in effects(&bytes) {
            for (change, size) in changes_of(&effect.unwrap(), filter) {
                let encoded = change.encoded_len();
                assert!(encoded <= size + 64 && encoded < CLIENT_MAX - (1 << 17), "{encoded} bytes, counted as {size}");
                all.push(change);
            }
        }
        all
    }

    #[test]
    fn many_fields_come_as_several_changes_that_are_the_same_together() {
        let engine = engine();
        let key = engine.key(b"h");
        let words: Vec<Vec<u8>> = (0..40_000).map(|i| format!("word{i}").into_bytes()).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let items = Items::from(Args::slices(&words));
        let all = ChangeFilter::new([], []);
        let set = changes(HashEffect::Set { key, pairs: items, expiry: ExpiryChange::Keep }, &all);
        let fields = set.iter().flat_map(|change| match change.change.as_ref().unwrap() {
            Change::HashSet(set) => set.fields.iter().flat_map(|field| [&*field.name, &*field.value]),
            other => panic!("{other:?}"),
        });
        assert!(set.len() > 5 && fields.eq(words.iter().copied()));
        let removed = changes(HashEffect::Remove { key, fields: items }, &all);
        let fields = removed.iter().flat_map(|change| match change.change.as_ref().unwrap() {
            Change::HashDelete(delete) => delete.fields.iter().map(|name| &**name),
            other => panic!("{other:?}"),
        });
        assert!(removed.len() > 5 && fields.eq(words.iter().copied()));
        let other = ChangeFilter::new([&b"x"[..]], []);
        assert!(changes(HashEffect::Remove { key, fields: items }, &other).is_empty());
    }

    #[test]
    fn members_come_with_their_scores() {
        let engine = engine();
        let key = engine.key(b"z");
        let names: Vec<String> = (0..40_000).map(|i| format!("member{i}")).collect();
        let scores: Vec<[u8; 8]> = (0..40_000).map(|i| f64::from(i).to_le_bytes()).collect();
        let words: Vec<&[u8]> =
            names.iter().zip(&scores).flat_map(|(name, score)| [name.as_bytes(), &score[..]]).collect();
        let (members, all) = (Items::from(Args::slices(&words)), ChangeFilter::new([], []));
        let added = changes(ZsetEffect::Add { key, members, to_table: false }, &all);
        let found = added.iter().flat_map(|change| match change.change.as_ref().unwrap() {
            Change::SortedSetAdd(add) => add.members.iter().map(|member| (&*member.name, member.score)),
            other => panic!("{other:?}"),
        });
        let expected = names.iter().zip(0..).map(|(name, i)| (name.as_bytes(), f64::from(i)));
        assert!(added.len() > 5 && found.eq(expected));
        let members = Items::from(Args::slices(&[]));
        let none = changes(ZsetEffect::Add { key, members, to_table: true }, &all);
        let Some(Change::SortedSetAdd(add)) = &none[0].change else { panic!("{none:?}") };
        assert!(none.len() == 1 && add.members.is_empty());
        let members = Items::from(Args::slices(&[b"a", b"b"]));
        let removed = changes(ZsetEffect::Remove { key, members }, &all);
        let Some(Change::SortedSetRemove(remove)) = &removed[0].change else { panic!("{removed:?}") };
        assert_eq!(remove.members, ["a", "b"]);
        let other = ChangeFilter::new([&b"x"[..]], []);
        assert!(changes(ZsetEffect::Remove { key, members }, &other).is_empty());
    }

    #[test]
    fn the_largest_names_and_values_fit_a_message() {
        let engine = engine();
        let (long, longer) = (vec![b'a'; WATCH_VALUE_BYTES_MAX], vec![b'b'; 8 * WATCH_VALUE_BYTES_MAX]);
        let all = ChangeFilter::new([], []);
        for (name, value) in [(&long, &long), (&longer, &long), (&long, &longer), (&longer, &longer)] {
            let key = engine.key(name);
            let cut = name.len() > WATCH_VALUE_BYTES_MAX;
            let set = changes(StringEffect::Set { key, value, expiry: ExpiryChange::Drop }, &all);
            let Some(Change::StringSet(set)) = &set[0].change else { panic!("{set:?}") };
            assert_eq!(set.value_bytes, value.len() as u64);
            assert_eq!(set.value_omitted, value.len() > WATCH_VALUE_BYTES_MAX);
            assert_eq!(set.value.is_empty(), set.value_omitted);
            let rename = changes(KeyEffect::Rename { from: key, to: key }, &all);
            assert_eq!((rename.len(), rename[0].name_cut), (1, cut));
            let words = [&name[..], &value[..], &name[..], &value[..]];
            let pairs = Items::from(Args::slices(&words));
            let set = changes(HashEffect::Set { key, pairs, expiry: ExpiryChange::Drop }, &all);
            assert_eq!((set.len(), set[0].name_cut), (2, cut), "each field alone");
        }
    }

    #[test]
    fn names_that_are_not_watched_are_not_shown() {
        let engine = engine();
        let (a, b) = (engine.key(b"a"), engine.key(b"b"));
        let filter = ChangeFilter::new([&b"a"[..]], []);
        let names = |effect: KeyEffect<'_>| match changes(effect, &filter).pop().and_then(|change| change.change) {
            Some(Change::KeyRename(v1::KeyRenameChange { from, to })) => Some((from, to)),
            Some(Change::KeyCopy(v1::KeyCopyChange { from, to })) => Some((from, Some(to))),
            None => None,
            other => panic!("{other:?}"),
        };
        let name = || Some(Bytes::from("a"));
        assert_eq!(names(KeyEffect::Rename { from: a, to: b }), Some((name(), None)));
        assert_eq!(names(KeyEffect::Rename { from: b, to: a }), Some((None, name())));
        assert_eq!(names(KeyEffect::Rename { from: b, to: b }), None);
        assert_eq!(names(KeyEffect::Copy { from: b, to: a }), Some((None, name())));
        assert_eq!(names(KeyEffect::Copy { from: a, to: b }), None, "what is copied does not change");
    }
}
