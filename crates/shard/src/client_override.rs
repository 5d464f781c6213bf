//! What a client asks for beyond the mode in force: for its connection (CLIENT DURABILITY) or for one command (an
//! attribute before it).
//!
//! - The stricter of the mode in force and the override decides when a reply is released. A command's override replaces
//!   that of its connection. On an `async` cluster a reply with a `sync` override waits, is released, or is answered
//!   UNKNOWN exactly as in `sync`; this includes a read that saw uncommitted effects. Replies of other clients are not
//!   affected.
//! - A transaction is one unit: the override of EXEC, or else that of the connection, applies to all of it.
//! - In `disabled` the override is refused, because no write is ever durable in that mode.

use fastness_types::Durability;

/// What a connection or a command asks for beyond the mode in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DurabilityOverride {
    /// Nothing: the mode in force decides.
    #[default]
    Default,
    /// Replies wait for the commit of what they depend on.
    Sync,
}

impl DurabilityOverride {
    /// The name in commands and attributes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DurabilityOverride::Default => "default",
            DurabilityOverride::Sync => "sync",
        }
    }

    /// Parses a name, case-insensitively.
    #[must_use]
    pub fn named(word: &[u8]) -> Option<DurabilityOverride> {
        [DurabilityOverride::Default, DurabilityOverride::Sync]
            .into_iter()
            .find(|durability_override| word.eq_ignore_ascii_case(durability_override.name().as_bytes()))
    }

    /// The mode that decides when a reply is released, while `mode` is in force.
    #[inline]
    #[must_use]
    pub(crate) fn within(self, mode: Durability) -> Durability {
        match self {
            DurabilityOverride::Default => mode,
            DurabilityOverride::Sync => mode.stricter(Durability::Sync),
        }
    }
}

/// How a primary makes sure, before it answers a read, that no other primary has taken over. Set for a connection
/// (CLIENT READS) or for one command (an attribute).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadConfirmation {
    /// By its lease, which requires that clocks run at nearly the same rate on all machines, and continue while a
    /// machine is suspended.
    #[default]
    Default,
    /// By a quorum that answers heartbeats sent after the command arrived, independent of clocks. The reply also waits
    /// for the commit of what it depends on, in every mode. See `confirm.rs`.
    Quorum,
}

impl ReadConfirmation {
    /// The name in commands and attributes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadConfirmation::Default => "default",
            ReadConfirmation::Quorum => "quorum",
        }
    }

    /// Parses a name, case-insensitively.
    #[must_use]
    pub fn named(word: &[u8]) -> Option<ReadConfirmation> {
        [ReadConfirmation::Default, ReadConfirmation::Quorum]
            .into_iter()
            .find(|reads| word.eq_ignore_ascii_case(reads.name().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Async, Disabled, Sync};

    #[test]
    fn the_stricter_counts() {
        for mode in [Sync, Async, Disabled] {
            assert_eq!(DurabilityOverride::Default.within(mode), mode);
            assert_eq!(DurabilityOverride::Sync.within(mode), Sync);
        }
    }

    #[test]
    fn names() {
        assert_eq!(DurabilityOverride::named(b"SYNC"), Some(DurabilityOverride::Sync));
        assert_eq!(DurabilityOverride::named(b"default"), Some(DurabilityOverride::Default));
        assert_eq!(DurabilityOverride::named(b"async"), None);
        assert_eq!(ReadConfirmation::named(b"Quorum"), Some(ReadConfirmation::Quorum));
        assert_eq!(ReadConfirmation::named(b"default"), Some(ReadConfirmation::Default));
        assert_eq!(ReadConfirmation::named(b"lease"), None);
    }
}
