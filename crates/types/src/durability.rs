//! The three durability modes.

use std::fmt;
use std::str::FromStr;

/// When a write is acknowledged. The numbers are frozen, because they are stored in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Durability {
    /// After its log entry is on stable storage in at least 2 AZs.
    Sync = 1,
    /// As soon as the primary has applied it in memory; the lag is bounded.
    Async = 2,
    /// As soon as the primary has applied it in memory; nothing is promised about lost writes.
    Disabled = 3,
}

impl Durability {
    /// The mode with this frozen number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Durability> {
        match number {
            1 => Some(Durability::Sync),
            2 => Some(Durability::Async),
            3 => Some(Durability::Disabled),
            _ => None,
        }
    }

    /// The name as in the config: `sync`, `async` or `disabled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::Disabled => "disabled",
        }
    }

    /// The stricter of two modes.
    #[must_use]
    pub fn stricter(self, other: Durability) -> Durability {
        // The frozen numbers increase from strict to loose.
        if (self as u8) < (other as u8) { self } else { other }
    }

    /// Whether the mode promises anything about lost writes.
    #[must_use]
    pub fn is_durable(self) -> bool {
        self != Durability::Disabled
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDurability;

impl fmt::Display for UnknownDurability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected sync, async or disabled")
    }
}

impl std::error::Error for UnknownDurability {}

impl FromStr for Durability {
    type Err = UnknownDurability;
    fn from_str(s: &str) -> Result<Self, UnknownDurability> {
        match s {
            "sync" => Ok(Durability::Sync),
            "async" => Ok(Durability::Async),
            "disabled" => Ok(Durability::Disabled),
            _ => Err(UnknownDurability),
        }
    }
}
