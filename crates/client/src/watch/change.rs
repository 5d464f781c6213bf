//! What an event of a watch says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::watched_value::Value;
use fastness_wire::v1::{self, watch_expiry};

use super::position::WatchPosition;
use crate::sorted_set::ScoredMember;

/// The changes of one command, one transaction, or one round of expiry: they have happened at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// The shard.
    pub shard: u32,
    /// After this event.
    pub position: WatchPosition,
    /// When it was executed, by the clock of its primary; never decreases within a shard.
    pub time: SystemTime,
    /// Why data has changed.
    pub cause: ChangeCause,
    /// The changes of watched keys, in their order. At least one.
    pub changes: Vec<WatchChange>,
    /// With [`Watch::with_values`](super::Watch::with_values): current values of keys that the event has changed, at
    /// positions of their own, which are not before this event's. A key that a later event has changed as well may have
    /// its value there alone.
    pub values: Vec<CurrentValue>,
}

/// What is stored at a key at one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentValue {
    /// The key.
    pub key: Bytes,
    /// The value is exactly what all changes up to here have made of it.
    pub position: WatchPosition,
    /// The value.
    pub content: CurrentContent,
    /// When the key expires; absent: it does not. A key that is past this time is stored until an event removes it.
    pub expires: Option<SystemTime>,
}

/// A current value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CurrentContent {
    /// There is no such key.
    Missing,
    /// A string.
    String(Bytes),
    /// A hash: names, values, and when a field expires.
    Hash(Vec<(Bytes, Bytes, Option<SystemTime>)>),
    /// A set: its members, in no particular order.
    Set(Vec<Bytes>),
    /// A list.
    List(Vec<Bytes>),
    /// A sorted set, in order.
    SortedSet(Vec<ScoredMember>),
    /// The value has about so many bytes, which is too long for an event: read it.
    Omitted(u64),
    /// The value could not be read at one position, because changes that had not committed kept covering it, or it is
    /// of a type that is not known.
    Unread,
}

impl From<v1::WatchedValue> for CurrentValue {
    fn from(value: v1::WatchedValue) -> CurrentValue {
        let content = match value.value {
            Some(Value::String(text)) => CurrentContent::String(text),
            Some(Value::Hash(hash)) => {
                let field = |field: v1::WatchedField| (field.name, field.value, field.expire_at_ms.map(time));
                CurrentContent::Hash(hash.fields.into_iter().map(field).collect())
            }
            Some(Value::Set(set)) => CurrentContent::Set(set.members),
            Some(Value::List(list)) => CurrentContent::List(list.elements),
            Some(Value::SortedSet(set)) => {
                CurrentContent::SortedSet(set.members.into_iter().map(ScoredMember::from).collect())
            }
            Some(Value::Missing(_)) => CurrentContent::Missing,
            Some(Value::OmittedBytes(bytes)) => CurrentContent::Omitted(bytes),
            Some(Value::Unread(_)) | None => CurrentContent::Unread,
        };
        let position = value.position.map(WatchPosition::from).unwrap_or_default();
        CurrentValue { key: value.key, position, content, expires: value.expire_at_ms.map(time) }
    }
}

/// Why data has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeCause {
    /// A client's command or transaction.
    Command,
    /// The shard itself has removed keys or fields: they have expired, or were evicted because memory was full.
    Expiry,
    /// A newer server has another cause.
    Other,
}

/// A value in a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedValue {
    /// The value.
    Value(Bytes),
    /// The value has so many bytes, which is too long for an event: read it.
    Omitted(u64),
}

impl ChangedValue {
    fn new(value: Bytes, omitted: bool, bytes: u64) -> ChangedValue {
        if omitted { ChangedValue::Omitted(bytes) } else { ChangedValue::Value(value) }
    }

    /// The value, if it is in the event.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            ChangedValue::Value(value) => Some(value),
            ChangedValue::Omitted(_) => None,
        }
    }
}

/// What happens to the time to live of what is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedExpiry {
    /// It does not expire.
    None,
    /// It expires at this time.
    At(SystemTime),
    /// It keeps the time to live that it had.
    Keep,
}

/// One change. It says what was done, not what the value is afterwards.
///
/// Names of keys, fields and members that are longer than 1 MiB are cut to their first 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum WatchChange {
    /// A string is set, whatever the key was before.
    StringSet { key: Bytes, value: ChangedValue, expiry: ChangedExpiry },
    /// Bytes are appended to a string.
    StringAppend { key: Bytes, bytes: ChangedValue },
    /// A part of a string is overwritten, after zero bytes where it was too short.
    StringSetRange { key: Bytes, offset: u64, bytes: ChangedValue },
    /// A key is removed.
    Delete { key: Bytes },
    /// A key gets a time to live.
    Expire { key: Bytes, at: SystemTime },
    /// A key loses its time to live.
    Persist { key: Bytes },
    /// Every key of the shard is removed.
    Flush,
    /// A value moves to another key and replaces what is there. A name that is not watched is absent.
    Rename { from: Option<Bytes>, to: Option<Bytes> },
    /// A value is copied to another key and replaces what is there. A source that is not watched is absent.
    Copy { from: Option<Bytes>, to: Bytes },
    /// Fields of a hash are set. One command may come as several of these.
    HashSet { key: Bytes, fields: Vec<(Bytes, ChangedValue)>, expiry: ChangedExpiry },
    /// Fields of a hash are removed, and the hash with its last field.
    HashDelete { key: Bytes, fields: Vec<Bytes> },
    /// Fields of a hash get a time to live.
    HashExpire { key: Bytes, fields: Vec<Bytes>, at: SystemTime },
    /// Fields of a hash lose their time to live.
    HashPersist { key: Bytes, fields: Vec<Bytes> },
    /// Members are added to a set, which did not have them. One command may come as several of these.
    SetAdd { key: Bytes, members: Vec<Bytes> },
    /// Members of a set are removed, and the set with its last member.
    SetRemove { key: Bytes, members: Vec<Bytes> },
    /// Elements are added at an end of a list, one after the other. One command may come as several of these.
    ListPush { key: Bytes, at_tail: bool, elements: Vec<ChangedValue> },
    /// So many elements are removed from the head and from the tail of a list, and the list with its last element.
    ListTrim { key: Bytes, head: u64, tail: u64 },
    /// The element at a position of a list is replaced.
    ListSet { key: Bytes, position: u64, element: ChangedValue },
    /// An element is added within a list and has this position then.
    ListInsert { key: Bytes, position: u64, element: ChangedValue },
    /// The elements at these positions of a list are removed, and the list with its last element. One command may come
    /// as several of these; each has the positions before itself.
    ListRemove { key: Bytes, positions: Vec<u64> },
    /// The element at an end of a list moves to an end of the list: to the other one, or it stays where it is.
    ListRotate { key: Bytes, from_tail: bool, to_tail: bool },
    /// Members of a sorted set get these scores. One command may come as several of these.
    SortedSetAdd { key: Bytes, members: Vec<ScoredMember> },
    /// Members of a sorted set are removed, and the sorted set with its last member.
    SortedSetRemove { key: Bytes, members: Vec<Bytes> },
    /// A change that this version of the SDK does not know. The key is absent if it is not known either.
    Other { key: Option<Bytes> },
}

impl WatchChange {
    /// The keys that change, as far as they are watched. None: every key of the shard may have changed.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let (first, second) = match self {
            WatchChange::StringSet { key, .. }
            | WatchChange::StringAppend { key, .. }
            | WatchChange::StringSetRange { key, .. }
            | WatchChange::Delete { key }
            | WatchChange::Expire { key, .. }
            | WatchChange::Persist { key }
            | WatchChange::Copy { to: key, .. }
            | WatchChange::HashSet { key, .. }
            | WatchChange::HashDelete { key, .. }
            | WatchChange::HashExpire { key, .. }
            | WatchChange::HashPersist { key, .. }
            | WatchChange::SetAdd { key, .. }
            | WatchChange::SetRemove { key, .. }
            | WatchChange::ListPush { key, .. }
            | WatchChange::ListTrim { key, .. }
            | WatchChange::ListSet { key, .. }
            | WatchChange::ListInsert { key, .. }
            | WatchChange::ListRemove { key, .. }
            | WatchChange::ListRotate { key, .. }
            | WatchChange::SortedSetAdd { key, .. }
            | WatchChange::SortedSetRemove { key, .. } => (Some(key), None),
            WatchChange::Rename { from, to } => (from.as_ref(), to.as_ref()),
            WatchChange::Other { key } => (key.as_ref(), None),
            WatchChange::Flush => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// A time that messages have as milliseconds; the latest that the system knows if it is later.
pub(super) fn time(ms: u64) -> SystemTime {
    let latest = || SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or_else(latest)
}

fn expiry(expiry: Option<v1::WatchExpiry>) -> ChangedExpiry {
    match expiry.and_then(|expiry| expiry.expiry) {
        None => ChangedExpiry::None,
        Some(watch_expiry::Expiry::ExpireAtMs(ms)) => ChangedExpiry::At(time(ms)),
        Some(watch_expiry::Expiry::KeepTtl(_)) => ChangedExpiry::Keep,
    }
}

fn element(element: v1::ListElementChange) -> ChangedValue {
    ChangedValue::new(element.value, element.value_omitted, element.value_bytes)
}

impl From<v1::WatchChange> for WatchChange {
    fn from(change: v1::WatchChange) -> WatchChange {
        let Some(change) = change.change else { return WatchChange::Other { key: None } };
        match change {
            Change::StringSet(v1::StringSetChange { key, value, value_omitted, value_bytes, expiry: set }) => {
                let value = ChangedValue::new(value, value_omitted, value_bytes);
                WatchChange::StringSet { key, value, expiry: expiry(set) }
            }
            Change::StringAppend(v1::StringAppendChange { key, value, value_omitted, value_bytes }) => {
                WatchChange::StringAppend { key, bytes: ChangedValue::new(value, value_omitted, value_bytes) }
            }
            Change::StringSetRange(v1::StringSetRangeChange { key, offset, value, value_omitted, value_bytes }) => {
                let bytes = ChangedValue::new(value, value_omitted, value_bytes);
                WatchChange::StringSetRange { key, offset, bytes }
            }
            Change::KeyDelete(v1::KeyDeleteChange { key }) => WatchChange::Delete { key },
            Change::KeyExpire(v1::KeyExpireChange { key, expire_at_ms }) => {
                WatchChange::Expire { key, at: time(expire_at_ms) }
            }
            Change::KeyPersist(v1::KeyPersistChange { key }) => WatchChange::Persist { key },
            Change::Flush(v1::FlushChange {}) => WatchChange::Flush,
            Change::KeyRename(v1::KeyRenameChange { from, to }) => WatchChange::Rename { from, to },
            Change::KeyCopy(v1::KeyCopyChange { from, to }) => WatchChange::Copy { from, to },
            Change::HashSet(v1::HashSetChange { key, fields, expiry: set }) => {
                let field = |field: v1::HashFieldChange| {
                    (field.name, ChangedValue::new(field.value, field.value_omitted, field.value_bytes))
                };
                let fields = fields.into_iter().map(field).collect();
                WatchChange::HashSet { key, fields, expiry: expiry(set) }
            }
            Change::HashDelete(v1::HashDeleteChange { key, fields }) => WatchChange::HashDelete { key, fields },
            Change::HashExpire(v1::HashExpireChange { key, fields, expire_at_ms }) => {
                WatchChange::HashExpire { key, fields, at: time(expire_at_ms) }
            }
            Change::HashPersist(v1::HashPersistChange { key, fields }) => WatchChange::HashPersist { key, fields },
            Change::SetAdd(v1::SetAddChange { key, members }) => WatchChange::SetAdd { key, members },
            Change::SetRemove(v1::SetRemoveChange { key, members }) => WatchChange::SetRemove { key, members },
            Change::ListPush(v1::ListPushChange { key, at_tail, elements }) => {
                WatchChange::ListPush { key, at_tail, elements: elements.into_iter().map(element).collect() }
            }
            Change::ListTrim(v1::ListTrimChange { key, head, tail }) => WatchChange::ListTrim { key, head, tail },
            Change::ListSet(v1::ListSetChange { key, position, element: new }) => {
                WatchChange::ListSet { key, position, element: element(new.unwrap_or_default()) }
            }
            Change::ListInsert(v1::ListInsertChange { key, position, element: new }) => {
                WatchChange::ListInsert { key, position, element: element(new.unwrap_or_default()) }
            }
            Change::ListRemove(v1::ListRemoveChange { key, positions }) => WatchChange::ListRemove { key, positions },
            Change::ListRotate(v1::ListRotateChange { key, from_tail, to_tail }) => {
                WatchChange::ListRotate { key, from_tail, to_tail }
            }
            Change::SortedSetAdd(v1::SortedSetAddChange { key, members }) => {
                WatchChange::SortedSetAdd { key, members: members.into_iter().map(ScoredMember::from).collect() }
            }
            Change::SortedSetRemove(v1::SortedSetRemoveChange { key, members }) => {
                WatchChange::SortedSetRemove { key, members }
            }
            Change::Other(v1::OtherChange { key }) => WatchChange::Other { key: Some(key) },
        }
    }
}

impl From<v1::WatchCause> for ChangeCause {
    fn from(cause: v1::WatchCause) -> ChangeCause {
        match cause {
            v1::WatchCause::Command => ChangeCause::Command,
            v1::WatchCause::Expiry => ChangeCause::Expiry,
            v1::WatchCause::Unspecified => ChangeCause::Other,
        }
    }
}
