//! What is said of memory beside the data, and of the memory that a command may use.

/// Bytes outside of the engine that count against `maxmemory`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryBeside {
    /// Effects that have not committed.
    pub uncommitted: u64,
    /// What was written of an image and waits for the disk.
    pub image: u64,
    /// Everything else: clients' buffers and the like.
    pub rest: u64,
}

/// Whether a command may use more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It may.
    Enough,
    /// Not yet: enough memory will be free when what is staged has committed and was freed, or more can be evicted
    /// then.
    AfterCommit,
    /// No.
    Lacking,
}
