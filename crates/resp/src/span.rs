//! Positions of arguments in a read buffer.

/// Longest command whose arguments [`Span`]s can describe, in bytes.
pub(crate) const COMMAND_BYTES_MAX: usize = u32::MAX as usize;

/// Position of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(crate) fn new(start: usize, len: usize) -> Span {
        debug_assert!(start + len <= COMMAND_BYTES_MAX);
        Span { start: start as u32, len: len as u32 }
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.start as usize + self.len as usize]
    }
}
