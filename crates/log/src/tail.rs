//! The newest entries of one group, decrypted, in memory.
//!
//! Invariants:
//! - The tail is a contiguous run of indexes that ends with the log's last entry: `start..start + len`. Entries before
//!   `start` are on disk.
//! - An entry that the writer has not written yet is never dropped. So the byte bound can be exceeded by entries that
//!   wait for the disk, which the proposer's own windows bound.
//! - Whether an entry is written is decided by the number of its append, not by its index: after a truncation
//!   the same index can be appended again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::entry::LogEntry;

#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<(u64, Arc<LogEntry>)>,
    start: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    /// An empty tail before index `start`.
    pub(crate) fn new(start: u64, bytes_max: usize) -> Tail {
        Tail { entries: VecDeque::new(), start, bytes: 0, bytes_max }
    }

    /// Index of the first entry in the tail; if it is empty, of the entry that would be appended next.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    /// Adds the next entry, which belongs to append number `append`.
    pub(crate) fn push(&mut self, append: u64, entry: Arc<LogEntry>) {
        debug_assert!(self.entries.is_empty() || entry.index == self.end());
        if self.entries.is_empty() {
            self.start = entry.index;
        }
        self.bytes += entry.memory_bytes();
        self.entries.push_back((append, entry));
    }

    /// Drops the oldest entries until the bound is kept, of those that belong to appends up to `written`.
    pub(crate) fn evict(&mut self, written: u64) {
        while self.bytes > self.bytes_max && self.entries.front().is_some_and(|(append, _)| *append <= written) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= entry.memory_bytes();
            self.start += 1;
        }
    }

    /// Drops entries from `index` on.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        while self.end() > index
            && let Some((_, entry)) = self.entries.pop_back()
        {
            self.bytes -= entry.memory_bytes();
        }
        if self.entries.is_empty() {
            self.start = self.start.min(index);
        }
    }

    /// Drops entries before `index`.
    pub(crate) fn drop_before(&mut self, index: u64) {
        while self.start < index && !self.entries.is_empty() {
            self.drop_first();
        }
        if self.entries.is_empty() {
            self.start = self.start.max(index);
        }
    }

    /// Payload bytes of the entries from `index` on; `None` if one of them is not in the tail.
    pub(crate) fn bytes_from(&self, index: u64) -> Option<u64> {
        if index < self.start {
            return None;
        }
        let from = ((index - self.start) as usize).min(self.entries.len());
        Some(self.entries.range(from..).map(|(_, entry)| entry.payload.len() as u64).sum())
    }

    /// Entries of the range from its first index on: at least one, about `bytes_max`; `None` if the first is not in the
    /// tail.
    pub(crate) fn get(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<Arc<LogEntry>>> {
        if range.start < self.start {
            return None;
        }
        let end = range.end.min(self.end());
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in range.start..end {
            let entry = &self.entries[(index - self.start) as usize].1;
            bytes += entry.payload.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryKind;
    use bytes::Bytes;

    fn entry(index: u64) -> Arc<LogEntry> {
        Arc::new(LogEntry { index, term: 1, node: 1, kind: EntryKind::Batch, payload: Bytes::from(vec![0; 100]) })
    }

    fn indexes(found: Option<Vec<Arc<LogEntry>>>) -> Option<Vec<u64>> {
        found.map(|entries| entries.iter().map(|e| e.index).collect())
    }

    #[test]
    fn unwritten_entries_stay_over_the_bound() {
        let mut tail = Tail::new(1, entry(1).memory_bytes() * 2);
        for index in 1..=5 {
            tail.push(index, entry(index));
            tail.evict(0);
        }
        assert_eq!(indexes(tail.get(1..9, usize::MAX)), Some(vec![1, 2, 3, 4, 5]));
        tail.evict(2);
        assert_eq!(tail.start(), 3);
        tail.evict(9);
        assert_eq!(tail.start(), 4);
        assert_eq!(indexes(tail.get(3..9, usize::MAX)), None);
        assert_eq!(indexes(tail.get(5..9, usize::MAX)), Some(vec![5]));
        assert_eq!(tail.bytes(), entry(1).memory_bytes() * 2);
    }

    #[test]
    fn a_late_notice_of_truncated_entries_evicts_no_new_ones() {
        let mut tail = Tail::new(1, 0);
        tail.push(1, entry(1));
        tail.push(1, entry(2));
        tail.truncate_from(1);
        tail.push(3, entry(1));
        tail.evict(1);
        assert_eq!(tail.start(), 1);
        tail.evict(3);
        assert_eq!(tail.start(), 2);
        assert_eq!(tail.bytes(), 0);
    }

    #[test]
    fn truncating_below_the_start_and_purging_beyond_the_end() {
        let mut tail = Tail::new(5, 1000);
        tail.push(1, entry(5));
        tail.truncate_from(3);
        assert_eq!(tail.start(), 3);
        tail.push(2, entry(3));
        tail.drop_before(10);
        assert_eq!((tail.start(), tail.bytes()), (10, 0));
        assert_eq!(indexes(tail.get(10..20, 100)), Some(vec![]));
        assert_eq!(indexes(tail.get(9..20, 100)), None);
    }

    #[test]
    fn bytes_are_counted_from_an_entry_in_the_tail() {
        let mut tail = Tail::new(1, entry(1).memory_bytes() * 2);
        for index in 1..=4 {
            tail.push(index, entry(index));
        }
        tail.evict(4);
        assert_eq!(tail.start(), 3);
        assert_eq!(tail.bytes_from(2), None);
        assert_eq!(tail.bytes_from(3), Some(200));
        assert_eq!(tail.bytes_from(4), Some(100));
        assert_eq!((tail.bytes_from(5), tail.bytes_from(9)), (Some(0), Some(0)));
    }

    #[test]
    fn a_read_returns_at_least_one_entry_and_stops_at_its_bound() {
        let mut tail = Tail::new(1, 10_000);
        for index in 1..=5 {
            tail.push(1, entry(index));
        }
        assert_eq!(indexes(tail.get(2..6, 1)), Some(vec![2]));
        assert_eq!(indexes(tail.get(2..6, 250)), Some(vec![2, 3]));
        assert_eq!(indexes(tail.get(2..4, 1000)), Some(vec![2, 3]));
    }
}
