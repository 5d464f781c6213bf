//! What cannot be translated.

use crate::effect::DecodeError;

/// Why effects cannot be translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untranslated {
    /// They are not effects of this version.
    #[error("{0}")]
    Effects(#[from] DecodeError),
    /// An older version staged the effect of this command, without what the translation needs.
    #[error("an effect of {0} that was written before all nodes had this version")]
    Older(&'static str),
    /// The counters of a restored stream contradict its entries; no command sets such counters.
    #[error("the counters of a restored stream contradict its entries")]
    Counters,
    /// The effect is of a type that Valkey does not have.
    #[error("an effect of a type that no command changes")]
    Type,
}
