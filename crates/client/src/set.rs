//! Options of setting a string.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastness_wire::v1::{self, set_request};

use crate::error::ClientError;

/// How a string is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetOptions {
    /// When the key expires; never if absent.
    pub expiry: Option<SetExpiry>,
    /// When the value is set at all; in any case if absent.
    pub condition: Option<SetIf>,
    /// Whether the value before is returned.
    pub return_previous: bool,
}

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetExpiry {
    /// After this time, at least 1 ms; rounded up to milliseconds.
    After(Duration),
    /// At this time, in milliseconds.
    At(SystemTime),
    /// When it would have expired before.
    Keep,
}

/// When a value is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetIf {
    /// Only if there is no such key.
    Absent,
    /// Only if there is such a key.
    Present,
    /// Only if the key has this value.
    Equal(Bytes),
}

/// What setting a string has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOutcome {
    /// Whether the condition held and the value was set.
    pub applied: bool,
    /// The value before; absent if it was not requested or there was no such key.
    pub previous: Option<Bytes>,
}

impl SetOptions {
    /// A request, without the options of calls.
    ///
    /// # Errors
    /// The expiry cannot be represented.
    pub(crate) fn request(self, key: Bytes, value: Bytes) -> Result<v1::SetRequest, ClientError> {
        let expiry = match self.expiry {
            None => None,
            Some(SetExpiry::After(span)) => Some(set_request::Expiry::TtlMs(span_ms(span)?)),
            Some(SetExpiry::At(at)) => Some(set_request::Expiry::ExpireAtMs(time_ms(at)?)),
            Some(SetExpiry::Keep) => Some(set_request::Expiry::KeepTtl(true)),
        };
        let condition = self.condition.map(|condition| match condition {
            SetIf::Absent => set_request::Condition::IfAbsent(true),
            SetIf::Present => set_request::Condition::IfPresent(true),
            SetIf::Equal(value) => set_request::Condition::IfEqual(value),
        });
        Ok(v1::SetRequest { key, value, expiry, condition, return_previous: self.return_previous, options: None })
    }
}

/// A time to live in milliseconds, rounded up.
///
/// # Errors
/// It is zero, or too long.
pub(crate) fn span_ms(span: Duration) -> Result<u64, ClientError> {
    match u64::try_from(span.as_nanos().div_ceil(1_000_000)) {
        Ok(0) => Err(ClientError::invalid("a time to live is at least 1 ms")),
        Ok(ms) => Ok(ms),
        Err(_) => Err(ClientError::invalid("the time to live is too long")),
    }
}

/// Milliseconds since the Unix epoch.
///
/// # Errors
/// The time is before the epoch or too far in the future.
pub(crate) fn time_ms(at: SystemTime) -> Result<u64, ClientError> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_err(|_| ClientError::invalid("the expiry is before 1970"))?;
    u64::try_from(since.as_millis()).map_err(|_| ClientError::invalid("the expiry is too far in the future"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_are_whole_milliseconds() {
        assert_eq!(span_ms(Duration::from_micros(1)).unwrap(), 1);
        assert_eq!(span_ms(Duration::from_micros(2_001)).unwrap(), 3);
        assert_eq!(span_ms(Duration::from_secs(2)).unwrap(), 2_000);
        assert!(span_ms(Duration::ZERO).is_err());
        assert!(span_ms(Duration::MAX).is_err());
        assert_eq!(time_ms(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap(), 1_000);
        assert!(time_ms(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).is_err());
    }
}
