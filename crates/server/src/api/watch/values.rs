//! Current values of keys that have changed, read by the replica's thread.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use fastness_engine::stored::{Stored, StoredValue};
use fastness_shard::CommittedValue;
use fastness_shard::changes::ChangePosition;
use fastness_types::LogIndex;
use fastness_types::limits::{WATCH_VALUE_BYTES_MAX, WATCH_VALUES_BYTES_MAX};
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::watched_value::Value;
use fastness_wire::v1::{
    SortedSetMember, WatchChange, WatchedField, WatchedHash, WatchedList, WatchedSet, WatchedSortedSet, WatchedValue,
};
use tokio::time::Instant;

use super::changes::write_position;
use crate::replicas::Running;

/// Keys that the replica's thread reads at once.
const KEYS_AT_ONCE: usize = 16;
/// How long a value is tried to read that uncommitted effects cover, and how often.
const COVERED_MAX: Duration = Duration::from_millis(250);
const COVERED_EVERY: Duration = Duration::from_millis(5);
/// What a value takes beside its bytes.
const VALUE_COST: usize = 64;

/// Keys whose values are to be sent.
#[derive(Default)]
pub(super) struct ChangedKeys {
    /// In the order of their first change.
    keys: Vec<Bytes>,
    known: HashSet<Bytes>,
    /// Bytes of values since the last position.
    bytes: usize,
}

impl ChangedKeys {
    /// Adds the keys of a change. Names that are cut cannot be read.
    pub(super) fn add(&mut self, change: &WatchChange) {
        if change.name_cut {
            return;
        }
        for key in changed(change).into_iter().flatten() {
            if self.known.insert(key.clone()) {
                self.keys.push(key);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Removes some of the keys, which are then read.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        let rest = self.keys.split_off(self.keys.len().min(KEYS_AT_ONCE));
        let taken = std::mem::replace(&mut self.keys, rest);
        taken.iter().for_each(|key| _ = self.known.remove(key));
        taken
    }

    /// A position was sent: what comes next has room again.
    pub(super) fn reset(&mut self) {
        self.bytes = 0;
    }

    /// Reads values that are not older than `index`, each with its size in memory.
    pub(super) async fn read(
        &mut self,
        replica: &Running,
        keys: Vec<Bytes>,
        index: LogIndex,
    ) -> Vec<(WatchedValue, usize)> {
        let (mut left, mut values) = (keys, Vec::new());
        let until = Instant::now() + COVERED_MAX;
        while !left.is_empty() {
            let bytes_max = if self.bytes < WATCH_VALUES_BYTES_MAX { WATCH_VALUE_BYTES_MAX } else { 0 };
            // Memory that is being restored may be older.
            let read = replica.values(left.clone(), bytes_max).await.filter(|(position, _)| *position >= index);
            let is_last = Instant::now() >= until;
            let (position, found) = read.unwrap_or_else(|| (index, vec![CommittedValue::Covered; left.len()]));
            // The others are read next.
            let others = left.split_off(found.len().min(left.len()));
            let mut covered = Vec::new();
            for (key, found) in left.into_iter().zip(found) {
                if found == CommittedValue::Covered && !is_last {
                    covered.push(key);
                    continue;
                }
                let (value, length) = write(key, position, found);
                self.bytes += length;
                values.push((value, length + VALUE_COST));
            }
            let pauses = others.is_empty() && !covered.is_empty();
            left = [others, covered].concat();
            if pauses {
                tokio::time::sleep(COVERED_EVERY).await;
            }
        }
        values
    }
}

/// The keys that a change gives another value.
fn changed(change: &WatchChange) -> [Option<Bytes>; 2] {
    let key = match &change.change {
        Some(Change::StringSet(set)) => &set.key,
        Some(Change::StringAppend(append)) => &append.key,
        Some(Change::StringSetRange(set)) => &set.key,
        Some(Change::KeyDelete(delete)) => &delete.key,
        Some(Change::KeyExpire(expire)) => &expire.key,
        Some(Change::KeyPersist(persist)) => &persist.key,
        Some(Change::KeyCopy(copy)) => &copy.to,
        Some(Change::HashSet(set)) => &set.key,
        Some(Change::HashDelete(delete)) => &delete.key,
        Some(Change::HashExpire(expire)) => &expire.key,
        Some(Change::HashPersist(persist)) => &persist.key,
        Some(Change::SetAdd(add)) => &add.key,
        Some(Change::SetRemove(remove)) => &remove.key,
        Some(Change::ListPush(push)) => &push.key,
        Some(Change::ListTrim(trim)) => &trim.key,
        Some(Change::ListSet(set)) => &set.key,
        Some(Change::ListInsert(insert)) => &insert.key,
        Some(Change::ListRemove(remove)) => &remove.key,
        Some(Change::ListRotate(rotate)) => &rotate.key,
        Some(Change::SortedSetAdd(add)) => &add.key,
        Some(Change::SortedSetRemove(remove)) => &remove.key,
        Some(Change::Other(other)) => &other.key,
        Some(Change::KeyRename(rename)) => return [rename.from.clone(), rename.to.clone()],
        Some(Change::Flush(_)) | None => return [None, None],
    };
    [Some(key.clone()), None]
}

/// A value as responses have it, with its length.
fn write(key: Bytes, position: LogIndex, found: CommittedValue) -> (WatchedValue, usize) {
    let mut length = key.len();
    let (value, deadline) = match found {
        CommittedValue::Covered => (Value::Unread(true), None),
        CommittedValue::Missing => (Value::Missing(true), None),
        CommittedValue::Stored(Stored { value, deadline }) => {
            let value = match value {
                StoredValue::String(text) => {
                    length += text.len();
                    Value::String(text.into())
                }
                StoredValue::Hash(fields) => {
                    let field = |field: fastness_engine::stored::StoredField| {
                        length += field.name.len() + field.value.len() + VALUE_COST;
                        WatchedField {
                            name: field.name.into(),
                            value: field.value.into(),
                            expire_at_ms: field.deadline.map(|at| at.0),
                        }
                    };
                    Value::Hash(WatchedHash { fields: fields.into_iter().map(field).collect() })
                }
                StoredValue::Set(members) => {
                    length += members.iter().map(|member| member.len() + VALUE_COST).sum::<usize>();
                    Value::Set(WatchedSet { members: members.into_iter().map(Bytes::from).collect() })
                }
                StoredValue::List(elements) => {
                    length += elements.iter().map(|element| element.len() + VALUE_COST).sum::<usize>();
                    Value::List(WatchedList { elements: elements.into_iter().map(Bytes::from).collect() })
                }
                StoredValue::SortedSet(members) => {
                    let member = |member: fastness_engine::stored::StoredMember| {
                        length += member.name.len() + VALUE_COST;
                        SortedSetMember { name: member.name.into(), score: member.score }
                    };
                    Value::SortedSet(WatchedSortedSet { members: members.into_iter().map(member).collect() })
                }
                StoredValue::Long(bytes) => Value::OmittedBytes(bytes),
                StoredValue::OtherType => Value::Unread(true),
            };
            (value, deadline)
        }
    };
    let position = Some(write_position(ChangePosition::end_of(position)));
    (WatchedValue { key, position, value: Some(value), expire_at_ms: deadline.map(|at| at.0) }, length)
}
