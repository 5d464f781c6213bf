//! How many bytes of a group's log are after an index, approximately.
//!
//! Every [`SizeMarks::step`] bytes a mark notes an index and the bytes of the log up to there. Their number is bounded:
//! if there are too many, every second one is dropped.

use std::collections::VecDeque;

/// Bytes between two marks, at first.
const STEP_BYTES: u64 = 16 * 1024;
/// Marks that are kept.
const MARKS_MAX: usize = 4096;
/// What an entry counts beside its payload, bytes.
const ENTRY_BYTES: u64 = 96;

/// See the module.
#[derive(Debug)]
pub(crate) struct SizeMarks {
    /// Bytes of all entries that were added.
    total: u64,
    step: u64,
    /// An index, and the bytes up to it; both rise.
    marks: VecDeque<(u64, u64)>,
}

impl Default for SizeMarks {
    fn default() -> SizeMarks {
        SizeMarks { total: 0, step: STEP_BYTES, marks: VecDeque::new() }
    }
}

impl SizeMarks {
    /// Adds the next entry.
    pub(crate) fn push(&mut self, index: u64, payload_bytes: usize) {
        self.total += payload_bytes as u64 + ENTRY_BYTES;
        if self.marks.back().is_some_and(|(_, upto)| self.total - upto < self.step) {
            return;
        }
        self.marks.push_back((index, self.total));
        if self.marks.len() > MARKS_MAX {
            let mut number = 0_usize;
            self.marks.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
            self.step *= 2;
        }
    }

    /// Removes the entries from `index` on. Those between the last mark and `index` are not counted any more.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        let kept = self.marks.partition_point(|(at, _)| *at < index);
        self.marks.truncate(kept);
        self.total = self.marks.back().map_or(0, |(_, upto)| *upto);
    }

    /// Removes the entries up to `index`.
    pub(crate) fn purge(&mut self, index: u64) {
        let removed = self.marks.partition_point(|(at, _)| *at <= index);
        self.marks.drain(..removed);
    }

    /// The newest marked index after which the log has at least `bytes`; `None`: the log has no such index.
    pub(crate) fn index_before(&self, bytes: u64) -> Option<u64> {
        let upto_max = self.total.checked_sub(bytes)?;
        let after = self.marks.partition_point(|(_, upto)| *upto <= upto_max);
        Some(self.marks.get(after.checked_sub(1)?)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: usize = 4096 - ENTRY_BYTES as usize;

    fn filled(entries: u64) -> SizeMarks {
        let mut marks = SizeMarks::default();
        (1..=entries).for_each(|index| marks.push(index, PAYLOAD));
        marks
    }

    #[test]
    fn at_least_so_many_bytes_are_after_the_index_and_not_many_more() {
        let marks = filled(100);
        assert_eq!(marks.index_before(0), Some(97), "marks are at 1, 5, 9, …");
        for bytes in [1, 4096, 40_960, 300_000] {
            let index = marks.index_before(bytes).unwrap_or_default();
            let after = (100 - index) * 4096;
            assert!(after >= bytes && after < bytes + STEP_BYTES + 4096, "{index} for {bytes}");
        }
        assert_eq!((marks.index_before(99 * 4096), marks.index_before(99 * 4096 + 1)), (Some(1), None));
        assert_eq!(SizeMarks::default().index_before(0), None);
    }

    #[test]
    fn what_is_removed_does_not_count() {
        let mut marks = filled(100);
        marks.purge(50);
        assert_eq!((marks.index_before(40 * 4096), marks.index_before(60 * 4096)), (Some(57), None));
        marks.truncate_from(90);
        assert!(marks.index_before(4096).is_some_and(|index| index <= 88), "{marks:?}");
        marks.truncate_from(1);
        assert_eq!(marks.index_before(0), None);
        marks.push(1, PAYLOAD);
        marks.push(2, PAYLOAD);
        assert_eq!(marks.index_before(4096), Some(1));
    }

    #[test]
    fn the_number_of_marks_is_bounded() {
        let marks = filled(100_000);
        assert!(marks.marks.len() <= MARKS_MAX && marks.step > STEP_BYTES, "{}", marks.marks.len());
        let index = marks.index_before(1_000_000).unwrap_or_default();
        let after = (100_000 - index) * 4096;
        assert!((1_000_000..1_000_000 + 3 * marks.step).contains(&after), "{after}");
    }
}
