//! Idempotency keys: by them a cluster recognises a write that is sent again.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fastness_wire::v1;

/// Whether writes have an idempotency key. With one, a write whose outcome is unknown is sent again, takes effect
/// once, and returns its first result.
///
/// Nodes of a version before idempotency keys ignore them: with such nodes a client must use [`Idempotency::Off`].
/// While a cluster is upgraded, nodes that know keys refuse writes with them until all nodes of the shard do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idempotency {
    /// Each write has a new key. Commands ([`Client::execute`](crate::Client::execute)) have one if they are known to
    /// write data.
    #[default]
    Automatic,
    /// No write has one: it is never sent again if it may have happened.
    Off,
    /// The next write has this one: to send a write again that another process, or this one before, has sent. For calls
    /// of one write only: a batch or a pipeline refuses it.
    Key(IdempotencyKey),
}

/// Identifies a write. Clusters remember it for 10 minutes, and for the newest 16,384 writes of a client to a shard.
/// Written and parsed as `CLIENT-SEQUENCE`, so that it can be stored before the write is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    client: u128,
    sequence: u64,
}

impl IdempotencyKey {
    pub(crate) fn message(self) -> v1::IdempotencyKey {
        v1::IdempotencyKey { client: Bytes::copy_from_slice(&self.client.to_be_bytes()), sequence: self.sequence }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}", self.client, self.sequence)
    }
}

/// A text that is no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is CLIENT-SEQUENCE: hexadecimal digits and a number")]
pub struct InvalidIdempotencyKey(#[source] Option<ParseIntError>);

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<IdempotencyKey, InvalidIdempotencyKey> {
        let (client, sequence) = text.split_once('-').ok_or(InvalidIdempotencyKey(None))?;
        let wrong = |error| InvalidIdempotencyKey(Some(error));
        let client = u128::from_str_radix(client, 16).map_err(wrong)?;
        Ok(IdempotencyKey { client, sequence: sequence.parse().map_err(wrong)? })
    }
}

/// Makes the keys of all clones of a client.
#[derive(Debug)]
pub(crate) struct KeySource {
    client: u128,
    last: AtomicU64,
}

impl KeySource {
    pub(crate) fn new() -> KeySource {
        KeySource { client: rand::random(), last: AtomicU64::new(0) }
    }

    /// A key with the time in microseconds as its sequence number, or with the next number after the last one.
    pub(crate) fn next(&self) -> IdempotencyKey {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let following = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, following).unwrap_or_default();
        IdempotencyKey { client: self.client, sequence: now.max(last.saturating_add(1)) }
    }

    /// A cluster accepts only numbers above this one: this machine's clock is late.
    pub(crate) fn raise(&self, above: u64) {
        self.last.fetch_max(above, Ordering::Relaxed);
    }
}

/// A request with options.
pub(crate) trait HasOptions {
    fn options_mut(&mut self) -> &mut Option<v1::CallOptions>;
}

macro_rules! has_options {
    ($($request:ident),*) => {
        $(impl HasOptions for v1::$request {
            fn options_mut(&mut self) -> &mut Option<v1::CallOptions> {
                &mut self.options
            }
        })*
    };
}

has_options!(
    GetRequest,
    SetRequest,
    DeleteRequest,
    IncrementRequest,
    ExpireRequest,
    HashGetRequest,
    HashSetRequest,
    HashDeleteRequest,
    ExecuteRequest,
    TxnRequest
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sequences_grow_and_follow_the_clock() {
        let source = KeySource::new();
        let (first, second) = (source.next(), source.next());
        assert!(second.sequence > first.sequence && first.sequence > 1_600_000_000_000_000);
        let far = second.sequence + 10_000_000;
        source.raise(far);
        assert_eq!((source.next().sequence, source.next().sequence), (far + 1, far + 2));
        assert_ne!(KeySource::new().client, KeySource::new().client);
    }

    #[test]
    fn keys_are_written_and_parsed() {
        let key = IdempotencyKey { client: 0xab, sequence: 17 };
        assert_eq!(key.to_string(), "000000000000000000000000000000ab-17");
        assert_eq!(key.to_string().parse(), Ok(key));
        for wrong in ["", "ab", "ab-", "-1", "xy-1", "ab--1"] {
            assert!(wrong.parse::<IdempotencyKey>().is_err(), "{wrong}");
        }
    }
}
