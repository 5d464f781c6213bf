//! The bounds of one slice of freeing; see [`super::retired`].

/// Bytes that one slice frees, approximately.
pub const SLICE_BYTES: usize = 1024 * 1024;

/// The steps and bytes that a slice has left.
#[derive(Debug, Clone, Copy)]
pub struct FreeBudget {
    steps: usize,
    bytes: usize,
}

impl FreeBudget {
    pub(super) fn new(steps: usize) -> FreeBudget {
        FreeBudget { steps, bytes: SLICE_BYTES }
    }

    /// Counts one step that freed this many bytes.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.steps = self.steps.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn is_spent(self) -> bool {
        self.steps == 0 || self.bytes == 0
    }
}
