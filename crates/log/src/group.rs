//! The state of one group's log in memory: its positions, its tail, its membership entries.
//!
//! Invariants:
//! - Memory is ahead of the disk by the operations in the queue.
//! - Changes of memory and entries in the queue have the same order: the group's lock is held while an operation
//!   changes memory **and** enters the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fastness_types::GroupId;
use parking_lot::Mutex;

use crate::entry::{EntryId, EntryKind, LogEntry, PurgeRecord};
use crate::error::WriteError;
use crate::sizes::SizeMarks;
use crate::tail::Tail;

/// Positions of a group's log. They include operations that are not on stable storage yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The last vote saved.
    pub vote: Option<Bytes>,
    /// The last committed position saved. After a restart it may be an earlier one.
    pub committed: Option<Bytes>,
    /// Id of the last purged entry.
    pub purged: Option<EntryId>,
    /// Index of the first entry; `None` if the log is empty.
    pub first: Option<u64>,
    /// Id of the last entry; of the last purged one if the log is empty.
    pub last: Option<EntryId>,
    /// The newest purged membership entry, followed by every membership entry in the log, oldest first. The effective
    /// membership at an index is the last of these at or below it.
    pub memberships: Vec<Arc<LogEntry>>,
}

pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) memory: Mutex<GroupMemory>,
}

#[derive(Debug)]
pub(crate) struct GroupMemory {
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) purged_membership: Option<Arc<LogEntry>>,
    /// Index of the first entry, if the log is not empty.
    pub(crate) first: u64,
    /// The last entry; the last purged one if the log is empty.
    pub(crate) last: Option<EntryId>,
    pub(crate) memberships: BTreeMap<u64, Arc<LogEntry>>,
    pub(crate) tail: Tail,
    /// How many bytes are after which index.
    pub(crate) sizes: SizeMarks,
}

impl GroupMemory {
    pub(crate) fn new(tail_bytes_max: usize) -> GroupMemory {
        GroupMemory {
            vote: None,
            committed: None,
            purged: None,
            purged_membership: None,
            first: 0,
            last: None,
            memberships: BTreeMap::new(),
            tail: Tail::new(0, tail_bytes_max),
            sizes: SizeMarks::default(),
        }
    }

    /// Applies the purge record found when the log is opened.
    pub(crate) fn set_purged(&mut self, record: PurgeRecord) {
        self.purged = Some(record.upto);
        self.purged_membership = record.membership.map(Arc::new);
        self.last = Some(record.upto);
        self.first = record.upto.index + 1;
        self.tail.drop_before(self.first);
        self.sizes.purge(record.upto.index);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last == self.purged
    }

    /// Index after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    pub(crate) fn state(&self) -> GroupState {
        GroupState {
            vote: self.vote.clone(),
            committed: self.committed.clone(),
            purged: self.purged,
            first: (!self.is_empty()).then_some(self.first),
            last: self.last,
            memberships: self.purged_membership.iter().chain(self.memberships.values()).cloned().collect(),
        }
    }

    /// Checks that these entries may be appended: they follow the last entry and each other without a gap. An empty log
    /// that was never purged accepts any first index.
    pub(crate) fn check_append(&self, group: GroupId, entries: &[LogEntry]) -> Result<(), WriteError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let last = self.last.map(|id| id.index);
        let expected = last.map_or(first.index, |index| index + 1)..;
        match entries.iter().zip(expected).find(|(entry, expected)| entry.index != *expected) {
            Some((entry, expected)) => {
                let last = expected.checked_sub(1);
                Err(WriteError::NotContiguous { group, last, found: entry.index })
            }
            None => Ok(()),
        }
    }

    /// Adds one entry, which belongs to append number `append`.
    pub(crate) fn push(&mut self, append: u64, entry: Arc<LogEntry>) {
        if self.is_empty() {
            self.first = entry.index;
        }
        self.last = Some(entry.id());
        if entry.kind == EntryKind::Membership {
            self.memberships.insert(entry.index, entry.clone());
        }
        self.sizes.push(entry.index, entry.payload.len());
        self.tail.push(append, entry);
    }

    /// Truncates the log after `after`, and returns the range of indexes that this removes.
    pub(crate) fn truncate(&mut self, group: GroupId, after: Option<EntryId>) -> Result<(u64, u64), WriteError> {
        let purged = self.purged.map(|id| id.index);
        if after.map(|id| id.index) < purged {
            return Err(WriteError::BelowPurged { group, after: after.map(|id| id.index), purged });
        }
        let end = self.end();
        let from = after.map_or(self.first, |id| id.index + 1).max(self.first);
        if self.is_empty() || from >= end {
            return Ok((end, end));
        }
        self.last = if from == self.first { self.purged } else { after };
        self.memberships.split_off(&from);
        self.tail.truncate_from(from);
        self.sizes.truncate_from(from);
        Ok((from, end))
    }

    /// Purges entries up to `upto`, which may be beyond the last one after a snapshot was installed (`membership` is
    /// then the one at `upto`). Returns the first index that this removes and the record to store; `None` if `upto` is
    /// purged already.
    pub(crate) fn purge(&mut self, upto: EntryId, membership: Option<LogEntry>) -> Option<(u64, PurgeRecord)> {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return None;
        }
        let from = self.first;
        let kept = self.memberships.split_off(&(upto.index + 1));
        if let Some((_, newest)) = std::mem::replace(&mut self.memberships, kept).pop_last() {
            self.purged_membership = Some(newest);
        }
        if let Some(membership) = membership {
            // The log's own membership entries may include uncommitted ones of another leader.
            self.purged_membership = Some(Arc::new(membership));
        }
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
        self.purged = Some(upto);
        self.first = upto.index + 1;
        self.tail.drop_before(self.first);
        self.sizes.purge(upto.index);
        Some((from, PurgeRecord { upto, membership: self.purged_membership.as_deref().cloned() }))
    }
}
