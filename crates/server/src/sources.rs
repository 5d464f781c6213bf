//! Where connections come from, and how many each source may open.
//!
//! A source is an IPv4 address or the first 64 bits of an IPv6 address, which is what one customer of a provider has.
//! Addresses of this machine count as others do: 127.0.0.1 and 127.0.0.2 are two sources.
//!
//! Each source has two token buckets, one for connections and one for TLS handshakes. A connection over TLS takes a
//! token of each. They are refilled at the rate that an option names, up to the burst that another option names, and
//! are the same for all listeners for clients of the node: RESP, RESP over TLS, and gRPC. Connections that find no
//! token are refused at once, and take none. They do not wait: a connection that waits would hold a descriptor and a
//! place among `maxclients`, and these are what one source must not take away from the others.
//!
//! A refused client reads why: over RESP an error, over TLS an alert that is sent before any handshake, so that a
//! refusal costs no cryptography.
//!
//! At most [`CONNECTION_SOURCES_MAX`] sources are remembered. A source that is forgotten starts with full buckets.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastness_types::BootNs;
use fastness_types::limits::CONNECTION_SOURCES_MAX;
use parking_lot::Mutex;
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);
/// The error that a client of the plaintext listener gets.
const REFUSAL: &[u8] =
    b"-ERR too many new connections from this address in a short time (source-connections-per-second)\r\n";
/// What a TLS client gets: the fatal alert `access_denied` (RFC 8446, section 6), in a record of its own.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// What counts as one source.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What a source has used of something that it gets back with time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// What has not been given back, at `at`.
    pub(crate) used: u32,
    pub(crate) at: BootNs,
}

impl Bucket {
    /// Nothing is used.
    pub(crate) fn full(now: BootNs) -> Bucket {
        Bucket { used: 0, at: now }
    }

    /// With what the time since then has given back: one each `every`.
    pub(crate) fn refilled(self, now: BootNs, every: Duration) -> Bucket {
        let returned = now.since(self.at).as_nanos() / every.as_nanos().max(1);
        let returned = u32::try_from(returned).unwrap_or(u32::MAX).min(self.used);
        let used = self.used - returned;
        // What is left of the time counts for the next one.
        let at = if used == 0 { now } else { self.at.plus(every * returned) };
        Bucket { used, at }
    }
}

/// How fast something may happen, and how often at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRate {
    /// In the long run; 0: no limit.
    pub per_second: u32,
    /// After a pause.
    pub burst: u32,
}

impl SourceRate {
    /// The bucket of `before` now, with one token taken; `None`: there is none.
    fn take(self, before: Bucket, now: BootNs) -> Option<Bucket> {
        if self.per_second == 0 {
            return Some(Bucket::full(now));
        }
        let bucket = before.refilled(now, SECOND / self.per_second);
        (bucket.used < self.burst).then_some(Bucket { used: bucket.used + 1, ..bucket })
    }
}

/// What every source may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRates {
    /// Connections to all listeners for clients.
    pub connections: SourceRate,
    /// Those of them that start with a TLS handshake.
    pub handshakes: SourceRate,
}

/// What a source has too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// New connections.
    Connections,
    /// TLS handshakes.
    Handshakes,
}

impl Excess {
    /// All of them.
    pub const ALL: [Excess; 2] = [Excess::Connections, Excess::Handshakes];

    /// The name, as metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Excess::Connections => "connections",
            Excess::Handshakes => "handshakes",
        }
    }
}

/// The new connections of all sources of one node.
#[derive(Debug, Default)]
pub struct Sources {
    seen: Mutex<Generations>,
    refused: [AtomicU64; Excess::ALL.len()],
}

/// The buckets of one source.
#[derive(Debug, Clone, Copy)]
struct Arrivals {
    connections: Bucket,
    handshakes: Bucket,
}

/// The sources seen last, in two generations: when the newer one is full, the older one is forgotten, and the newer
/// one takes its place. So whoever keeps arriving is not forgotten, and no arrival costs a search for the oldest.
#[derive(Debug, Default)]
struct Generations {
    newer: HashMap<IpAddr, Arrivals>,
    older: HashMap<IpAddr, Arrivals>,
}

impl Generations {
    fn of(&mut self, source: IpAddr, now: BootNs) -> &mut Arrivals {
        if !self.newer.contains_key(&source) && self.newer.len() >= CONNECTION_SOURCES_MAX / 2 {
            let forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.newer));
            if let Some(known) = forgotten.get(&source) {
                self.newer.insert(source, *known);
            }
        }
        let Generations { newer, older } = self;
        newer.entry(source).or_insert_with(|| {
            let full = Arrivals { connections: Bucket::full(now), handshakes: Bucket::full(now) };
            older.remove(&source).unwrap_or(full)
        })
    }
}

impl Sources {
    /// Takes the tokens of one more connection; over TLS (`tls`) it costs a handshake, too.
    ///
    /// # Errors
    /// What the source has too many of. That is counted.
    pub fn admit(&self, address: IpAddr, tls: bool, rates: SourceRates, now: BootNs) -> Result<(), Excess> {
        let admitted = self.take(source_of(address), tls, rates, now);
        if let Err(excess) = admitted {
            self.refused[excess as usize].fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn take(&self, source: IpAddr, tls: bool, rates: SourceRates, now: BootNs) -> Result<(), Excess> {
        let mut seen = self.seen.lock();
        let arrivals = seen.of(source, now);
        let connections = rates.connections.take(arrivals.connections, now).ok_or(Excess::Connections)?;
        let handshakes = match tls {
            true => rates.handshakes.take(arrivals.handshakes, now).ok_or(Excess::Handshakes)?,
            false => arrivals.handshakes,
        };
        *arrivals = Arrivals { connections, handshakes };
        Ok(())
    }

    /// Connections that were refused for this reason.
    #[must_use]
    pub fn refused(&self, excess: Excess) -> u64 {
        self.refused[excess as usize].load(Ordering::Relaxed)
    }
}

/// Tells a client why it is refused, and closes. Nobody waits for it: what does not fit into the socket's buffer is
/// lost.
pub(crate) fn refuse(tcp: &TcpStream, tls: bool) {
    let _ = tcp.try_write(if tls { ALERT } else { REFUSAL });
    let _ = socket2::SockRef::from(tcp).shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const START: BootNs = BootNs(1_000_000_000);
    const RATES: SourceRates = SourceRates {
        connections: SourceRate { per_second: 10, burst: 20 },
        handshakes: SourceRate { per_second: 2, burst: 5 },
    };

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `attempts` connections at one moment are admitted.
    fn admitted(sources: &Sources, address: IpAddr, tls: bool, attempts: usize, now: BootNs) -> usize {
        (0..attempts).filter(|_| sources.admit(address, tls, RATES, now).is_ok()).count()
    }

    #[test]
    fn a_source_has_its_burst_at_once_and_then_its_rate() {
        let sources = Sources::default();
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(admitted(&sources, one, false, 100, START), 20);
        assert_eq!(admitted(&sources, other, false, 100, START), 20, "another source has its own");
        // A second of attempts, one each millisecond: refused ones cost nothing.
        let spread = (1..=1_000).map(|ms| START.plus(Duration::from_millis(ms)));
        let taken = spread.filter(|now| sources.admit(one, false, RATES, *now).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(sources.refused(Excess::Connections), 80 + 80 + 990);
        assert_eq!(sources.refused(Excess::Handshakes), 0);
        // A pause fills the bucket up to the burst and no further.
        assert_eq!(admitted(&sources, one, false, 100, START.plus(Duration::from_secs(3_600))), 20);
    }

    #[test]
    fn parts_of_a_token_are_not_lost() {
        let sources = Sources::default();
        let one = source("192.0.2.1");
        assert_eq!(admitted(&sources, one, false, 20, START), 20);
        let after = |ms| START.plus(Duration::from_millis(ms));
        assert_eq!(admitted(&sources, one, false, 3, after(99)), 0);
        assert_eq!(admitted(&sources, one, false, 3, after(150)), 1);
        assert_eq!(admitted(&sources, one, false, 3, after(199)), 0);
        assert_eq!(admitted(&sources, one, false, 3, after(200)), 1);
    }

    #[test]
    fn a_handshake_takes_a_token_of_each_kind() {
        let sources = Sources::default();
        let one = source("192.0.2.1");
        assert_eq!(admitted(&sources, one, true, 100, START), 5);
        assert_eq!(sources.refused(Excess::Handshakes), 95);
        assert_eq!(admitted(&sources, one, false, 100, START), 15, "a refused handshake takes no token");
        assert_eq!(sources.admit(one, true, RATES, START), Err(Excess::Connections));
        // Time for one more handshake, and for five connections.
        let later = START.plus(Duration::from_millis(500));
        assert_eq!(admitted(&sources, one, true, 10, later), 1);
        assert_eq!(admitted(&sources, one, false, 10, later), 4);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit_and_a_new_rate_holds_at_once() {
        let sources = Sources::default();
        let one = source("192.0.2.1");
        assert_eq!(admitted(&sources, one, true, 100, START), 5);
        let none = SourceRate { per_second: 0, burst: 1 };
        let open = SourceRates { connections: none, handshakes: none };
        assert!((0..1_000).all(|_| sources.admit(one, true, open, START).is_ok()));
        let larger = SourceRates { handshakes: SourceRate { per_second: 2, burst: 8 }, ..RATES };
        let admitted = (0..100).filter(|_| sources.admit(one, true, larger, START).is_ok()).count();
        assert_eq!(admitted, 8);
    }

    #[test]
    fn one_customers_addresses_are_one_source() {
        let sources = Sources::default();
        let first = (0..20).filter(|i| {
            let address = source(&format!("2001:db8:0:1::{i:x}"));
            sources.admit(address, false, RATES, START).is_ok()
        });
        assert_eq!(first.count(), 20);
        assert!(sources.admit(source("2001:db8:0:1:ffff::1"), false, RATES, START).is_err());
        assert!(sources.admit(source("2001:db8:0:2::1"), false, RATES, START).is_ok());
        assert_eq!(admitted(&sources, source("192.0.2.1"), false, 15, START), 15);
        assert_eq!(
            admitted(&sources, source("::ffff:192.0.2.1"), false, 15, START),
            5,
            "a mapped address is the address"
        );
    }

    #[test]
    fn sources_are_bounded_and_who_keeps_arriving_is_remembered() {
        let sources = Sources::default();
        let address = |i: usize| IpAddr::V4((0x0a00_0000 + i as u32).into());
        let stubborn = source("192.0.2.1");
        assert_eq!(admitted(&sources, stubborn, false, 100, START), 20);
        for i in 0..3 * CONNECTION_SOURCES_MAX {
            assert!(sources.admit(address(i), false, RATES, START).is_ok());
            if i % 1_000 == 0 {
                assert!(sources.admit(stubborn, false, RATES, START).is_err(), "forgotten after {i} others");
            }
        }
        let seen = sources.seen.lock();
        assert!(seen.newer.len() + seen.older.len() <= CONNECTION_SOURCES_MAX);
        assert!(seen.newer.len() <= CONNECTION_SOURCES_MAX / 2 && seen.older.len() <= CONNECTION_SOURCES_MAX / 2);
    }
}
