//! Commands that wait for keys: what they find nothing in, and until when.
//!
//! A command never waits by itself. It runs to its end, and if it has found nothing it returns a [`KeyWait`] in the
//! place of a reply (`Env::wait_or`). Who runs the command keeps the client waiting, and runs the same command again
//! once a key of it may have what it waits for.
//!
//! Whether a command may wait is up to who runs it (`Env::blocking`): inside of EXEC and on a replica it may not, and
//! then replies at once as if its time were over.

use crate::error::CommandError;
use crate::keyspace::{Key, TypeNumber};
use fastness_types::WallMs;
use std::ops::Range;
use std::time::Duration;

/// What a command waits for that has found nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWait {
    /// Only a value of this type ends the wait.
    pub of: TypeNumber,
    /// Which of its arguments are the keys; a change of any of them may end the wait.
    pub keys: Range<usize>,
    /// `None`: without limit. Counted from the first run of the command.
    pub timeout: Option<Duration>,
    /// Whether every change of a key ends the wait, its deletion too: for commands that need more than the key, such as
    /// a consumer group.
    pub on_any_change: bool,
    /// What the command gets back in [`Blocking::note`] when it runs again, such as the position from which it reads.
    /// That of the first run is kept.
    pub note: Box<[u8]>,
}

/// Who runs a command that may wait.
pub trait Blocking {
    /// Whether other clients wait for a value of this type at this key since before this command. Then the command does
    /// not remove anything from it.
    fn is_behind(&self, key: &Key<'_>, of: TypeNumber) -> bool;

    /// [`KeyWait::note`] of the first run; `None`: this is the first run.
    fn note(&self) -> Option<&[u8]>;

    /// The command has found nothing, and has not replied.
    fn wait(&mut self, wait: KeyWait);
}

/// A time-out in seconds, with fractions; `None`: 0, which is without limit.
///
/// # Errors
/// Valkey's texts. The end of the time-out must be a time that can be represented in milliseconds.
pub fn timeout_seconds(text: &[u8], now: WallMs) -> Result<Option<Duration>, CommandError> {
    let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let Some(seconds) = seconds.filter(|seconds| !seconds.is_nan()) else {
        return Err(CommandError::Fixed("ERR timeout is not a float or out of range"));
    };
    let ms = (seconds * 1000.0).ceil();
    if ms < 0.0 {
        return Err(CommandError::Fixed("ERR timeout is negative"));
    }
    if ms >= i64::MAX as f64 || ms as u64 > (i64::MAX as u64).saturating_sub(now.0) {
        return Err(CommandError::Fixed("ERR timeout is out of range"));
    }
    Ok((ms > 0.0).then(|| Duration::from_millis(ms as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let now = WallMs(1_700_000_000_000);
        let of = |text: &str| timeout_seconds(text.as_bytes(), now).map_err(|error| error.to_string());
        assert_eq!(of("0"), Ok(None));
        assert_eq!(of("-0.0001"), Ok(None), "the ceiling is 0 ms");
        assert_eq!(of("0.0001"), Ok(Some(Duration::from_millis(1))));
        assert_eq!(of("1.5"), Ok(Some(Duration::from_millis(1500))));
        for text in ["-1", "-inf", "-1e300"] {
            assert_eq!(of(text), Err("ERR timeout is negative".into()), "{text}");
        }
        for text in ["", "x", " 1", "1 ", "nan"] {
            assert_eq!(of(text), Err("ERR timeout is not a float or out of range".into()), "{text}");
        }
        for text in ["inf", "9223372036854775", "1e300"] {
            assert_eq!(of(text), Err("ERR timeout is out of range".into()), "{text}");
        }
    }
}
