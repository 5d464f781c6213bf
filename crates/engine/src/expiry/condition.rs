//! NX, XX, GT and LT of EXPIRE and HEXPIRE.

use crate::error::CommandError;
use fastness_resp::Args;
use fastness_types::WallMs;

/// When EXPIRE changes a deadline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiryCondition {
    /// NX: there is no deadline yet.
    has_none: bool,
    /// XX: there is one.
    has_one: bool,
    /// GT: the new deadline is later.
    later: bool,
    /// LT: the new deadline is earlier.
    earlier: bool,
}

impl ExpiryCondition {
    /// Reads all of `options`.
    ///
    /// # Errors
    /// One is unknown, or two exclude each other.
    pub fn parse(options: Args<'_>) -> Result<ExpiryCondition, CommandError> {
        let mut condition = ExpiryCondition::default();
        for option in options.iter() {
            let flag = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut condition.has_none,
                b"xx" => &mut condition.has_one,
                b"gt" => &mut condition.later,
                b"lt" => &mut condition.earlier,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", option, "")),
            };
            *flag = true;
        }
        if condition.has_none && (condition.has_one || condition.later || condition.earlier) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::Fixed(text));
        }
        if condition.later && condition.earlier {
            return Err(CommandError::Fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// Whether a deadline may be changed to `at_ms`. A missing deadline counts as later than any other.
    fn holds(self, current: Option<WallMs>, at_ms: i64) -> bool {
        let current_ms = current.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
        !(self.has_none && current.is_some()
            || self.has_one && current.is_none()
            || self.later && current_ms.is_none_or(|current| at_ms <= current)
            || self.earlier && current_ms.is_some_and(|current| at_ms >= current))
    }
}

/// What EXPIRE, HEXPIRE and their relatives ask for.
#[derive(Debug, Clone, Copy)]
pub struct ExpiryRequest {
    /// The new deadline, ms since the Unix epoch; negative: before the epoch.
    pub at_ms: i64,
    /// When to set it.
    pub condition: ExpiryCondition,
    /// The command's time.
    pub now: WallMs,
}

/// What an [`ExpiryRequest`] does to one key or field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it does not exist.
    Missing,
    /// Nothing: the condition does not hold.
    Unchanged,
    /// It gets this deadline.
    Expires(WallMs),
    /// It is removed, because the new deadline has passed.
    Removed,
}

impl ExpiryRequest {
    /// The new deadline; `None` if it has passed, so that what gets it is removed.
    #[must_use]
    pub fn deadline(&self) -> Option<WallMs> {
        u64::try_from(self.at_ms).ok().map(WallMs).filter(|at| *at > self.now)
    }

    /// What it does to a key or field with this deadline; `None`: it does not exist.
    #[must_use]
    pub fn decide(&self, current: Option<Option<WallMs>>) -> Decision {
        match (current, self.deadline()) {
            (None, _) => Decision::Missing,
            (Some(current), _) if !self.condition.holds(current, self.at_ms) => Decision::Unchanged,
            (Some(_), Some(at)) => Decision::Expires(at),
            (Some(_), None) => Decision::Removed,
        }
    }
}
