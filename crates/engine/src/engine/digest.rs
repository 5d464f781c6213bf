//! The digest of all data; see [`crate::digest`].

use super::Engine;
use crate::digest::{self, Digest};

impl Engine {
    /// The digest of all data, computed by reading every key; meant for tests and checks, not for every batch.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let of_libraries = self.keyspace.libraries().digest();
        Digest(self.keyspace.iter().fold(of_libraries, |sum, entry| sum.wrapping_add(digest::of_entry(entry))))
    }
}
