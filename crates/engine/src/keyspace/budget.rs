//! How much of what was removed is freed at a time.

/// Bytes that one slice frees, about.
pub const SLICE_BYTES: usize = 1024 * 1024;

/// What one slice may still do.
#[derive(Debug, Clone, Copy)]
pub struct FreeBudget {
    steps: usize,
    bytes: usize,
}

impl FreeBudget {
    pub(super) fn new(steps: usize) -> FreeBudget {
        FreeBudget { steps, bytes: SLICE_BYTES }
    }

    /// Counts one step that freed so many bytes.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.steps = self.steps.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_spent(self) -> bool {
        self.steps == 0 || self.bytes == 0
    }
}
