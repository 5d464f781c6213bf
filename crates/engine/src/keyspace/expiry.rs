//! When a key expires: at its own deadline, or when all of its parts have expired.

use super::entry::Entry;
use fastness_types::WallMs;

impl Entry {
    /// Whether the key's own deadline has passed. At the deadline itself the key still exists, as in Valkey.
    #[inline]
    #[must_use]
    pub fn is_past_deadline(&self, now: WallMs) -> bool {
        self.deadline().is_some_and(|at| now > at)
    }

    /// Whether the key has expired: by its own deadline, or because every part of its value is past its deadline.
    #[inline]
    #[must_use]
    pub fn is_expired(&self, now: WallMs) -> bool {
        self.is_past_deadline(now) || self.parts().is_some_and(|parts| parts.is_past(now))
    }

    /// The earliest deadline of a part.
    #[inline]
    #[must_use]
    pub fn first_part_deadline(&self) -> Option<WallMs> {
        self.parts()?.first_deadline()
    }

    /// Whether the deadline of a part has passed between two moments.
    #[must_use]
    pub fn has_lost_parts_between(&self, from: WallMs, to: WallMs) -> bool {
        self.parts().is_some_and(|parts| parts.has_expired_between(from, to))
    }
}
