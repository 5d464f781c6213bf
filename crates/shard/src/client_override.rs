//! What a client asks for beyond the mode in force: for its connection (CLIENT DURABILITY) or for one command (an
//! attribute before it).
//!
//! - A reply goes by the stricter of the mode in force and the override. A command's override replaces its
//!   connection's. On a cluster in `async` a reply with a `sync` override is held, released and put in doubt exactly as
//!   in `sync`, and so is that of a read that saw uncommitted effects. Everybody else's replies leave as before.
//! - A transaction is one unit: the override of EXEC, or else of the connection, counts for all of it.
//! - In `disabled` the override is refused: nobody may build a promise on a mode that makes none.

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
    /// As clients write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DurabilityOverride::Default => "default",
            DurabilityOverride::Sync => "sync",
        }
    }

    /// The one of this name, in upper or lower case.
    #[must_use]
    pub fn named(word: &[u8]) -> Option<DurabilityOverride> {
        [DurabilityOverride::Default, DurabilityOverride::Sync]
            .into_iter()
            .find(|durability_override| word.eq_ignore_ascii_case(durability_override.name().as_bytes()))
    }

    /// What a reply goes by while `mode` is in force.
    #[inline]
    #[must_use]
    pub(crate) fn within(self, mode: Durability) -> Durability {
        match self {
            DurabilityOverride::Default => mode,
            DurabilityOverride::Sync => mode.stricter(Durability::Sync),
        }
    }
}

/// How a primary knows, when it answers a read, that no other one has taken over: for a connection (CLIENT READS) or
/// for one command (an attribute).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadConfirmation {
    /// By its lease, which rests on clocks: they run at nearly the same rate on all machines, and continue while one
    /// is suspended.
    #[default]
    Default,
    /// By a quorum that has answered heartbeats sent after the command arrived, which rests on no clock; the reply also
    /// waits for the commit of what it depends on, in every mode. `confirm.rs` says how.
    Quorum,
}

impl ReadConfirmation {
    /// As clients write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadConfirmation::Default => "default",
            ReadConfirmation::Quorum => "quorum",
        }
    }

    /// The one of this name, in upper or lower case.
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
