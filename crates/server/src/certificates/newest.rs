//! A value that is replaced while others use it: each use takes the newest one.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A handle on the newest value; cheap to clone, and all clones see the same value.
pub struct Newest<T>(Arc<ArcSwap<T>>);

impl<T> Newest<T> {
    /// The newest value. A connection that has been opened with it keeps it.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value for all that load it from now on.
    pub fn replace(&self, value: Arc<T>) {
        self.0.store(value);
    }
}

impl<T> Clone for Newest<T> {
    fn clone(&self) -> Self {
        Newest(self.0.clone())
    }
}

impl<T> From<Arc<T>> for Newest<T> {
    fn from(value: Arc<T>) -> Self {
        Newest(Arc::new(ArcSwap::new(value)))
    }
}
