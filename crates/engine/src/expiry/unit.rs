//! The unit of a time, and whether it counts from now.

use crate::command::parse::integer;
use crate::error::CommandError;
use fastness_types::WallMs;

/// How a command gives or reports a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// EX, EXPIRE, TTL: seconds from now.
    Seconds,
    /// PX, PEXPIRE, PTTL: milliseconds from now.
    Milliseconds,
    /// EXAT, EXPIREAT, EXPIRETIME: seconds since the Unix epoch.
    AtSeconds,
    /// PXAT, PEXPIREAT, PEXPIRETIME: milliseconds since the Unix epoch.
    AtMilliseconds,
}

/// The reply of TTL, HEXPIRE and their relatives for a key or field that does not exist.
pub(crate) const MISSING: i64 = -2;
/// The reply of TTL and HPERSIST for a key or field without a deadline.
pub(crate) const NO_DEADLINE: i64 = -1;

impl TimeUnit {
    /// The unit that an option's name stands for, in upper or lower case.
    pub(crate) fn of_option(name: &[u8]) -> Option<TimeUnit> {
        let units = [
            ("ex", TimeUnit::Seconds),
            ("px", TimeUnit::Milliseconds),
            ("exat", TimeUnit::AtSeconds),
            ("pxat", TimeUnit::AtMilliseconds),
        ];
        units.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes())).map(|&(_, unit)| unit)
    }

    fn ms(self) -> i64 {
        match self {
            TimeUnit::Seconds | TimeUnit::AtSeconds => 1_000,
            TimeUnit::Milliseconds | TimeUnit::AtMilliseconds => 1,
        }
    }

    fn is_from_now(self) -> bool {
        matches!(self, TimeUnit::Seconds | TimeUnit::Milliseconds)
    }

    /// The point in time that `text` gives, ms since the Unix epoch; it may lie before the epoch. `command` is the
    /// command's name, for the error.
    ///
    /// # Errors
    /// `text` is no number, or the point is out of range.
    pub fn point_ms(self, text: &[u8], now: WallMs, command: &'static str) -> Result<i64, CommandError> {
        self.point_of(integer(text)?, now).ok_or(CommandError::InvalidExpire(command))
    }

    fn point_of(self, number: i64, now: WallMs) -> Option<i64> {
        let base = if self.is_from_now() { i64::try_from(now.0).ok()? } else { 0 };
        number.checked_mul(self.ms())?.checked_add(base)
    }

    /// The deadline that `text` gives; it may have passed. `command` is the command's name, for the error; the command
    /// takes no number below `least`, which is not negative.
    ///
    /// # Errors
    /// `text` is no number, is below `least`, or the deadline is out of range.
    pub fn deadline(self, text: &[u8], least: i64, now: WallMs, command: &'static str) -> Result<WallMs, CommandError> {
        let number = Some(integer(text)?).filter(|number| *number >= least);
        let at = number.and_then(|number| self.point_of(number, now)).and_then(|at| u64::try_from(at).ok());
        at.map(WallMs).ok_or(CommandError::InvalidExpire(command))
    }

    /// What TTL and its relatives reply: the deadline in this unit, rounded to the nearest second; -1 without a
    /// deadline, -2 if there is no such key or field (`found` is `None`).
    #[must_use]
    pub fn report(self, found: Option<Option<WallMs>>, now: WallMs) -> i64 {
        let at = match found {
            None => return MISSING,
            Some(None) => return NO_DEADLINE,
            Some(Some(at)) => at,
        };
        let ms = if self.is_from_now() { at.0.saturating_sub(now.0) } else { at.0 };
        let number = if self.ms() == 1 { ms } else { ms.saturating_add(500) / 1_000 };
        i64::try_from(number).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(10_000);

    #[test]
    fn points_and_deadlines() {
        assert_eq!(TimeUnit::Seconds.point_ms(b"2", NOW, "expire"), Ok(12_000));
        assert_eq!(TimeUnit::AtMilliseconds.point_ms(b"-2", NOW, "expire"), Ok(-2));
        let invalid = Err(CommandError::InvalidExpire("expire"));
        assert_eq!(TimeUnit::Seconds.point_ms(b"9223372036854775807", NOW, "expire"), invalid);
        assert_eq!(TimeUnit::Milliseconds.deadline(b"0", 0, NOW, "hexpire"), Ok(NOW));
        assert_eq!(TimeUnit::AtSeconds.deadline(b"7", 1, NOW, "set"), Ok(WallMs(7_000)));
        for (text, least) in [(&b"0"[..], 1), (b"-1", 0), (b"9223372036854775807", 1)] {
            let refused = TimeUnit::Milliseconds.deadline(text, least, NOW, "set");
            assert_eq!(refused, Err(CommandError::InvalidExpire("set")), "{}", text.escape_ascii());
        }
        assert_eq!(TimeUnit::Seconds.deadline(b"x", 1, NOW, "set"), Err(CommandError::NotAnInteger));
    }

    #[test]
    fn reports() {
        let report = |unit: TimeUnit, at| unit.report(Some(Some(WallMs(at))), NOW);
        assert_eq!(report(TimeUnit::Seconds, 11_499), 1);
        assert_eq!(report(TimeUnit::Seconds, 11_500), 2);
        assert_eq!(report(TimeUnit::Milliseconds, 11_499), 1_499);
        assert_eq!(report(TimeUnit::Milliseconds, 9_000), 0);
        assert_eq!(report(TimeUnit::AtSeconds, 11_500), 12);
        assert_eq!(report(TimeUnit::AtMilliseconds, u64::MAX), i64::MAX);
        assert_eq!(TimeUnit::Seconds.report(Some(None), NOW), -1);
        assert_eq!(TimeUnit::Seconds.report(None, NOW), -2);
    }
}
