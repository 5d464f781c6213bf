//! From effects in the log to changes in responses.
//!
//! Names and values are cut at [`WATCH_VALUE_BYTES_MAX`], and changes of many fields or members are split, so that a
//! response stays below what gRPC clients accept by default (4 MiB).

use bytes::Bytes;
use fastness_engine::ExpiryChange;
use fastness_engine::effect::{Effect, Items, KeyEffect, TypeEffect as _};
use fastness_engine::hash::effect::HashEffect;
use fastness_engine::list::change::{ListChange, ListEnd, read_positions};
use fastness_engine::list::effect::ListEffect;
use fastness_engine::set::effect::SetEffect;
use fastness_engine::string::effect::StringEffect;
use fastness_engine::zset::effect::{ZsetEffect, scored};
use fastness_shard::changes::{ChangeFilter, ChangePosition};
use fastness_types::LogIndex;
use fastness_types::limits::WATCH_VALUE_BYTES_MAX;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::{self, WatchChange, WatchPosition, watch_expiry};

/// What a change takes beside its bytes, in a response and in memory.
const CHANGE_COST: usize = 64;
/// A change of fields, elements or members is split once it has so many bytes.
const FIELDS_BYTES: usize = 256 * 1024;
/// What a position takes in a change.
const POSITION_COST: usize = 10;

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

    fn element(&mut self, element: &[u8]) -> v1::ListElementChange {
        let (value, value_omitted, value_bytes) = self.value(element);
        self.bytes += CHANGE_COST;
        v1::ListElementChange { value, value_omitted, value_bytes }
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
        // Libraries of functions are not among what is watched.
        Effect::Function(_) => Box::new(std::iter::empty()),
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
            HashEffect::Remove { key, fields } => Box::new(named_parts(key.bytes, fields, |key, fields| {
                Change::HashDelete(v1::HashDeleteChange { key, fields })
            })),
            HashEffect::ExpireAt { key, at, fields } => Box::new(named_parts(key.bytes, fields, move |key, fields| {
                Change::HashExpire(v1::HashExpireChange { key, fields, expire_at_ms: at.0 })
            })),
            HashEffect::Persist { key, fields } => Box::new(named_parts(key.bytes, fields, |key, fields| {
                Change::HashPersist(v1::HashPersistChange { key, fields })
            })),
        },
        Effect::Set(effect) => match effect {
            SetEffect::Add { key, .. } | SetEffect::Remove { key, .. } if !filter.matches(key.bytes) => {
                Box::new(std::iter::empty())
            }
            SetEffect::Add { key, members, .. } => Box::new(named_parts(key.bytes, members, |key, members| {
                Change::SetAdd(v1::SetAddChange { key, members })
            })),
            SetEffect::Remove { key, members, .. } => Box::new(named_parts(key.bytes, members, |key, members| {
                Change::SetRemove(v1::SetRemoveChange { key, members })
            })),
        },
        Effect::List(ListEffect { key, .. }) if !filter.matches(key.bytes) => Box::new(std::iter::empty()),
        Effect::List(effect) => of_list(effect),
        Effect::Zset(ZsetEffect::Add { key, .. } | ZsetEffect::Remove { key, .. }) if !filter.matches(key.bytes) => {
            Box::new(std::iter::empty())
        }
        Effect::Zset(ZsetEffect::Add { key, members, .. }) => Box::new(add_members(key.bytes, members)),
        Effect::Zset(ZsetEffect::Remove { key, members }) => {
            Box::new(named_parts(key.bytes, members, |key, members| {
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

/// Changes that name fields of a hash, or members of a set or a sorted set.
fn named_parts<'a>(
    key: &'a [u8],
    named: Items<'a>,
    change: impl Fn(Bytes, Vec<Bytes>) -> Change + Send + 'a,
) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut rest = named.iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut writer = Writer::default();
        let (key, mut names) = (writer.name(key), Vec::new());
        // The key does not count: a long one must not leave out all names.
        let bytes_max = writer.bytes + FIELDS_BYTES;
        while writer.bytes < bytes_max
            && let Some(name) = rest.next()
        {
            names.push(writer.name(name));
            writer.bytes += CHANGE_COST;
        }
        Some(writer.finish(change(key, names)))
    })
}

fn of_list(effect: ListEffect<'_>) -> Box<dyn Iterator<Item = (WatchChange, usize)> + Send + '_> {
    let mut writer = Writer::default();
    let name = effect.key.bytes;
    let change = match effect.change {
        ListChange::Push { end, elements } => {
            return Box::new(pushed_elements(name, end == ListEnd::Tail, elements));
        }
        // A node of a restored list.
        ListChange::AddNode { elements, .. } => return Box::new(pushed_elements(name, true, elements)),
        ListChange::Remove { positions } => return Box::new(removed_elements(name, positions)),
        ListChange::Trim { head, tail } => Change::ListTrim(v1::ListTrimChange { key: writer.name(name), head, tail }),
        ListChange::Set { index, element } => {
            let (key, element) = (writer.name(name), Some(writer.element(element)));
            Change::ListSet(v1::ListSetChange { key, position: index, element })
        }
        ListChange::Insert { pivot, after, element, .. } => {
            let (key, element) = (writer.name(name), Some(writer.element(element)));
            Change::ListInsert(v1::ListInsertChange { key, position: pivot.saturating_add(u64::from(after)), element })
        }
        ListChange::Rotate { from, to } => {
            let (key, from_tail, to_tail) = (writer.name(name), from == ListEnd::Tail, to == ListEnd::Tail);
            Change::ListRotate(v1::ListRotateChange { key, from_tail, to_tail })
        }
    };
    Box::new(std::iter::once(writer.finish(change)))
}

fn pushed_elements<'a>(
    key: &'a [u8],
    at_tail: bool,
    elements: Items<'a>,
) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut rest = elements.iter().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut writer = Writer::default();
        let (key, mut elements) = (writer.name(key), Vec::new());
        // The key does not count: a long one must not leave out all elements.
        let bytes_max = writer.bytes + FIELDS_BYTES;
        while writer.bytes < bytes_max
            && let Some(element) = rest.next()
        {
            elements.push(writer.element(element));
        }
        Some(writer.finish(Change::ListPush(v1::ListPushChange { key, at_tail, elements })))
    })
}

/// Removed elements. The positions in a change are those after the changes before it.
fn removed_elements<'a>(key: &'a [u8], positions: &'a [u8]) -> impl Iterator<Item = (WatchChange, usize)> + Send + 'a {
    let mut rest = read_positions(positions).peekable();
    let mut removed = 0;
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut writer = Writer::default();
        let key = writer.name(key);
        let positions: Vec<u64> =
            rest.by_ref().take(FIELDS_BYTES / POSITION_COST).map(|at| at as u64 - removed).collect();
        removed += positions.len() as u64;
        writer.bytes += positions.len() * POSITION_COST;
        Some(writer.finish(Change::ListRemove(v1::ListRemoveChange { key, positions })))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_engine::set::SetForm;
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
    fn many_members_come_as_several_changes_that_are_the_same_together() {
        let engine = engine();
        let key = engine.key(b"s");
        let words: Vec<Vec<u8>> = (0..40_000).map(|i| format!("word{i}").into_bytes()).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let members = Items::from(Args::slices(&words));
        let all = ChangeFilter::new([], []);
        let added = changes(SetEffect::Add { key, members, least: SetForm::Table }, &all);
        let names = added.iter().flat_map(|change| match change.change.as_ref().unwrap() {
            Change::SetAdd(added) => added.members.iter().map(|name| &**name),
            other => panic!("{other:?}"),
        });
        assert!(added.len() > 5 && names.eq(words.iter().copied()));
        let removed = changes(SetEffect::Remove { key, members, pack: true }, &all);
        let names = removed.iter().flat_map(|change| match change.change.as_ref().unwrap() {
            Change::SetRemove(removed) => removed.members.iter().map(|name| &**name),
            other => panic!("{other:?}"),
        });
        assert!(removed.len() > 5 && names.eq(words.iter().copied()));
        let other = ChangeFilter::new([&b"x"[..]], []);
        assert!(changes(SetEffect::Remove { key, members, pack: false }, &other).is_empty());
        let long = vec![b'm'; 2 * WATCH_VALUE_BYTES_MAX];
        let cut = [&long[..]];
        let members = Items::from(Args::slices(&cut));
        let added = changes(SetEffect::Add { key, members, least: SetForm::Ints }, &all);
        assert_eq!((added.len(), added[0].name_cut), (1, true));
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
    fn changes_of_lists_are_the_same_together() {
        let engine = engine();
        let key = engine.key(b"l");
        let (all, other) = (ChangeFilter::new([], []), ChangeFilter::new([&b"x"[..]], []));
        let of = |change| changes(ListEffect { key, change }, &all).into_iter().map(|change| change.change.unwrap());
        let words: Vec<Vec<u8>> = (0..40_000).map(|i| format!("word{i}").into_bytes()).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let elements = Items::from(Args::slices(&words));
        for change in [
            ListChange::Push { end: ListEnd::Tail, elements },
            ListChange::AddNode { plain: false, elements },
            ListChange::Push { end: ListEnd::Head, elements },
        ] {
            let at_tail = !matches!(change, ListChange::Push { end: ListEnd::Head, .. });
            let pushed: Vec<v1::ListPushChange> = of(change)
                .map(|change| match change {
                    Change::ListPush(push) => push,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(pushed.len() > 5 && pushed.iter().all(|push| push.at_tail == at_tail));
            let texts = pushed.iter().flat_map(|push| push.elements.iter().map(|element| &*element.value));
            assert!(texts.eq(words.iter().copied()));
        }
        // Every second of many elements: removed one change after the other, what is left is the same.
        let at: Vec<usize> = (0..60_000).map(|n| 2 * n).collect();
        let positions = fastness_engine::list::change::write_positions(&at);
        let removed: Vec<v1::ListRemoveChange> = of(ListChange::Remove { positions: &positions })
            .map(|change| match change {
                Change::ListRemove(remove) => remove,
                other => panic!("{other:?}"),
            })
            .collect();
        let mut before = 0;
        let absolute = removed.iter().flat_map(|remove| {
            let shift = before;
            before += remove.positions.len() as u64;
            remove.positions.iter().map(move |position| (position + shift) as usize)
        });
        assert!(removed.len() > 2 && absolute.eq(at));
        let element = |text: &'static str| {
            let (value, value_bytes) = (Bytes::from(text), text.len() as u64);
            Some(v1::ListElementChange { value, value_omitted: false, value_bytes })
        };
        let name = Bytes::from("l");
        for (change, expected) in [
            (
                ListChange::Trim { head: 1, tail: 2 },
                Change::ListTrim(v1::ListTrimChange { key: name.clone(), head: 1, tail: 2 }),
            ),
            (
                ListChange::Set { index: 3, element: b"new" },
                Change::ListSet(v1::ListSetChange { key: name.clone(), position: 3, element: element("new") }),
            ),
            (
                ListChange::Insert { pivot: 3, value: None, after: true, element: b"new" },
                Change::ListInsert(v1::ListInsertChange { key: name.clone(), position: 4, element: element("new") }),
            ),
            (
                ListChange::Rotate { from: ListEnd::Tail, to: ListEnd::Head },
                Change::ListRotate(v1::ListRotateChange { key: name.clone(), from_tail: true, to_tail: false }),
            ),
        ] {
            assert_eq!(of(change).collect::<Vec<_>>(), [expected]);
            assert!(changes(ListEffect { key, change }, &other).is_empty());
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
