//! What a client's byte stream gives: bytes, or its end.

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes were appended; 0: none there now.
    Bytes(usize),
    /// The client has closed its side.
    End,
}

/// How a client has closed its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It sends nothing more, and may still read.
    Half,
    /// The connection is broken: nothing reaches it any more.
    Broken,
}
