//! What an allocation costs, and the running account of memory.

/// Bytes that an allocator takes for a request of `size` bytes: the size classes of jemalloc (multiples of 16 up to
/// 128, then four classes to each doubling). The engine requests whole classes, so that it counts what is really in
/// use.
#[must_use]
pub const fn size_class(size: usize) -> usize {
    if size <= 128 {
        return if size <= 16 { 16 } else { (size + 15) & !15 };
    }
    // Between 2^k (exclusive) and 2^(k+1) the classes lie 2^(k-2) apart.
    let spacing = 1 << ((size - 1).ilog2() - 2);
    (size + spacing - 1) & !(spacing - 1)
}

/// The running account of a keyspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Bytes in use: entries, values, buckets and directories.
    pub bytes: u64,
    /// Those among them of removed data that is not freed yet: it is retired, or a FLUSHALL that may be undone has
    /// removed it.
    pub removed: u64,
    /// Entries moved between buckets since the start: the cost of growing tables.
    pub moved: u64,
}

impl Account {
    /// Counts a new allocation.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Counts removed data that was not counted any more.
    pub fn add_removed(&mut self, bytes: usize) {
        self.add(bytes);
        self.removed += bytes as u64;
    }

    /// Counts everything as removed data.
    pub fn remove_all(&mut self) {
        self.removed = self.bytes;
    }

    /// Records that only removed data was freed since `before`.
    pub fn freed_since(&mut self, before: Account) {
        self.removed = (before.removed + self.bytes).saturating_sub(before.bytes);
    }

    /// Bytes of the data that exists.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.bytes.saturating_sub(self.removed)
    }

    /// Counts a freed allocation.
    pub fn sub(&mut self, bytes: usize) {
        debug_assert!(self.bytes >= bytes as u64, "more freed than allocated");
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_are_jemallocs() {
        let classes = [
            (1, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1025, 1280),
        ];
        for (size, class) in classes {
            assert_eq!(size_class(size), class, "{size}");
        }
    }
}
