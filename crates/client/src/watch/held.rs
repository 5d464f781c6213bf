//! The events that a watch holds until its caller takes them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::change::{ChangedValue, CurrentContent, CurrentValue, WatchChange, WatchEvent};
use crate::sorted_set::ScoredMember;

/// What an event, and each change, field or value within it, takes beside its bytes.
const ITEM_BYTES: usize = 64;

/// Room for events that were received and not taken. All tasks of a watch share it.
#[derive(Debug, Clone)]
pub(super) struct EventRoom {
    bytes_max: u32,
    /// In bytes.
    free: Arc<Semaphore>,
}

impl EventRoom {
    pub(super) fn new(bytes_max: usize) -> EventRoom {
        // So many fit into a semaphore, on systems of 32 bits as well.
        let permits = bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        let bytes_max = u32::try_from(permits).unwrap_or(u32::MAX);
        EventRoom { bytes_max, free: Arc::new(Semaphore::new(permits)) }
    }

    /// Waits until there is room for an event, and takes it. An event that is longer than all the room waits until no
    /// other one is held. Absent: the watch has ended.
    pub(super) async fn take(&self, event: &WatchEvent) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(event_bytes(event)).unwrap_or(u32::MAX).min(self.bytes_max);
        self.free.clone().acquire_many_owned(bytes).await.ok()
    }
}

/// About how many bytes an event takes.
fn event_bytes(event: &WatchEvent) -> usize {
    let changes: usize = event.changes.iter().map(change_bytes).sum();
    let values: usize = event.values.iter().map(value_bytes).sum();
    ITEM_BYTES + changes + values
}

fn changed_bytes(value: &ChangedValue) -> usize {
    value.value().map_or(0, Bytes::len)
}

fn names_bytes(names: &[Bytes]) -> usize {
    names.iter().map(|name| ITEM_BYTES + name.len()).sum()
}

fn members_bytes(members: &[ScoredMember]) -> usize {
    members.iter().map(|member| ITEM_BYTES + member.name.len()).sum()
}

fn change_bytes(change: &WatchChange) -> usize {
    let keys: usize = change.keys().map(Bytes::len).sum();
    let beside = match change {
        WatchChange::StringSet { value, .. } => changed_bytes(value),
        WatchChange::StringAppend { bytes, .. } | WatchChange::StringSetRange { bytes, .. } => changed_bytes(bytes),
        WatchChange::HashSet { fields, .. } => {
            fields.iter().map(|(name, value)| ITEM_BYTES + name.len() + changed_bytes(value)).sum()
        }
        WatchChange::HashDelete { fields, .. }
        | WatchChange::HashExpire { fields, .. }
        | WatchChange::HashPersist { fields, .. } => names_bytes(fields),
        WatchChange::SetAdd { members, .. }
        | WatchChange::SetRemove { members, .. }
        | WatchChange::SortedSetRemove { members, .. } => names_bytes(members),
        WatchChange::ListPush { elements, .. } => {
            elements.iter().map(|element| ITEM_BYTES + changed_bytes(element)).sum()
        }
        WatchChange::ListSet { element, .. } | WatchChange::ListInsert { element, .. } => changed_bytes(element),
        WatchChange::ListRemove { positions, .. } => size_of_val(&positions[..]),
        WatchChange::SortedSetAdd { members, .. } => members_bytes(members),
        WatchChange::Copy { from, .. } => from.as_ref().map_or(0, Bytes::len),
        WatchChange::Delete { .. }
        | WatchChange::Expire { .. }
        | WatchChange::Persist { .. }
        | WatchChange::Flush
        | WatchChange::Rename { .. }
        | WatchChange::ListTrim { .. }
        | WatchChange::ListRotate { .. }
        | WatchChange::Other { .. } => 0,
    };
    ITEM_BYTES + keys + beside
}

fn value_bytes(value: &CurrentValue) -> usize {
    let content = match &value.content {
        CurrentContent::String(text) => text.len(),
        CurrentContent::Hash(fields) => {
            fields.iter().map(|(name, value, _)| ITEM_BYTES + name.len() + value.len()).sum()
        }
        CurrentContent::Set(members) => names_bytes(members),
        CurrentContent::List(elements) => names_bytes(elements),
        CurrentContent::SortedSet(members) => members_bytes(members),
        CurrentContent::Missing | CurrentContent::Omitted(_) | CurrentContent::Unread => 0,
    };
    ITEM_BYTES + value.key.len() + content
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, SystemTime};

    use super::super::change::{ChangeCause, ChangedExpiry};
    use super::super::position::WatchPosition;
    use super::*;

    fn event(value: usize) -> WatchEvent {
        let value = ChangedValue::Value(vec![b'x'; value].into());
        let change = WatchChange::StringSet { key: "key".into(), value, expiry: ChangedExpiry::None };
        let position = WatchPosition::default();
        let (time, cause) = (SystemTime::UNIX_EPOCH, ChangeCause::Command);
        WatchEvent { shard: 1, position, time, cause, changes: vec![change], values: Vec::new() }
    }

    #[tokio::test]
    async fn events_wait_for_room_and_a_long_one_for_all_of_it() {
        let room = EventRoom::new(10_000);
        let first = room.take(&event(4_000)).await.unwrap();
        let second = room.take(&event(4_000)).await.unwrap();
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, room.take(&event(4_000))).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(wait, room.take(&event(50_000))).await.is_err());
        drop(second);
        let long = room.take(&event(50_000)).await.unwrap();
        assert!(tokio::time::timeout(wait, room.take(&event(0))).await.is_err());
        drop(long);
        for room in [room, EventRoom::new(0), EventRoom::new(usize::MAX)] {
            assert!(room.take(&event(0)).await.is_some());
        }
    }

    #[test]
    fn the_size_of_an_event_is_that_of_its_names_and_values() {
        let long = |count| Bytes::from(vec![b'x'; count]);
        let fields = vec![(long(10), ChangedValue::Value(long(2_000))), (long(20), ChangedValue::Omitted(1 << 30))];
        let set = WatchChange::HashSet { key: long(5), fields, expiry: ChangedExpiry::None };
        let removed = WatchChange::HashDelete { key: long(5), fields: vec![long(3_000)] };
        let copied = WatchChange::Copy { from: Some(long(4_000)), to: long(1_000) };
        let content = CurrentContent::Hash(vec![(long(100), long(5_000), None)]);
        let value = CurrentValue { key: long(5), position: WatchPosition::default(), content, expires: None };
        let whole =
            WatchEvent { changes: vec![set, removed, copied, WatchChange::Flush], values: vec![value], ..event(0) };
        let bytes = event_bytes(&whole);
        assert!((15_145..15_145 + 12 * ITEM_BYTES).contains(&bytes), "{bytes}");
        let members = || vec![long(700), long(300)];
        let (added, gone) = (
            WatchChange::SetAdd { key: long(5), members: members() },
            WatchChange::SetRemove { key: long(5), members: members() },
        );
        let content = CurrentContent::Set(members());
        let value = CurrentValue { key: long(5), position: WatchPosition::default(), content, expires: None };
        let bytes = event_bytes(&WatchEvent { changes: vec![added, gone], values: vec![value], ..event(0) });
        assert!((3_015..3_015 + 12 * ITEM_BYTES).contains(&bytes), "{bytes}");
    }
}
