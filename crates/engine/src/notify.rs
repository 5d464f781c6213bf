//! Keyspace notifications: what happened to which key, for clients that subscribe to it.
//!
//! Commands and expiry say what they have done through `Engine::notify`, in the order in which it happened. The
//! notifications of one unit lie in a buffer until the owner of the engine takes them at the end of the unit; a unit
//! that is rolled back leaves none. Names of events, their classes and their order are Valkey's; the file
//! `tests/notifications.txt` of this crate records them.
//!
//! What is off costs one comparison. The buffer is bounded: what exceeds [`NOTIFICATION_BYTES_MAX`] is dropped and
//! counted.
//!
//! It does not know channels and subscribers.

use fastness_types::limits::NOTIFICATION_BYTES_MAX;

/// Classes of notifications, as the option `notify-keyspace-events` names them, and the two kinds of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NotifyClasses(u16);

impl NotifyClasses {
    /// Nothing.
    pub const NONE: NotifyClasses = NotifyClasses(0);
    /// `K`: to the channel of the key.
    pub const KEYSPACE: NotifyClasses = NotifyClasses(1);
    /// `E`: to the channel of the event.
    pub const KEYEVENT: NotifyClasses = NotifyClasses(1 << 1);
    /// `g`: what is possible for keys of every type.
    pub const GENERIC: NotifyClasses = NotifyClasses(1 << 2);
    /// `$`: of strings.
    pub const STRING: NotifyClasses = NotifyClasses(1 << 3);
    /// `l`: of lists.
    pub const LIST: NotifyClasses = NotifyClasses(1 << 4);
    /// `s`: of sets.
    pub const SET: NotifyClasses = NotifyClasses(1 << 5);
    /// `h`: of hashes.
    pub const HASH: NotifyClasses = NotifyClasses(1 << 6);
    /// `z`: of sorted sets.
    pub const ZSET: NotifyClasses = NotifyClasses(1 << 7);
    /// `x`: the deadline of a key, or of fields that no command has met, has passed.
    pub const EXPIRED: NotifyClasses = NotifyClasses(1 << 8);
    /// `e`: a key was removed because memory was short.
    pub const EVICTED: NotifyClasses = NotifyClasses(1 << 9);
    /// `t`: of streams.
    pub const STREAM: NotifyClasses = NotifyClasses(1 << 10);
    /// `m`: a command that reads has not found a key. `A` does not include it.
    pub const KEY_MISS: NotifyClasses = NotifyClasses(1 << 11);
    /// `d`: of types that modules add. Nothing here belongs to it.
    pub const MODULE: NotifyClasses = NotifyClasses(1 << 12);
    /// `n`: a key was created. `A` does not include it.
    pub const NEW: NotifyClasses = NotifyClasses(1 << 13);
    /// `A`: every class but `m` and `n`.
    pub const ALL: NotifyClasses = NotifyClasses(0b0001_0111_1111_1100);

    /// The letters, in the order of the canonical form. `n` is not part of it beside `A`, as in Valkey.
    const LETTERS: [(char, NotifyClasses); 14] = [
        ('g', NotifyClasses::GENERIC),
        ('$', NotifyClasses::STRING),
        ('l', NotifyClasses::LIST),
        ('s', NotifyClasses::SET),
        ('h', NotifyClasses::HASH),
        ('z', NotifyClasses::ZSET),
        ('x', NotifyClasses::EXPIRED),
        ('e', NotifyClasses::EVICTED),
        ('t', NotifyClasses::STREAM),
        ('d', NotifyClasses::MODULE),
        ('n', NotifyClasses::NEW),
        ('K', NotifyClasses::KEYSPACE),
        ('E', NotifyClasses::KEYEVENT),
        ('m', NotifyClasses::KEY_MISS),
    ];

    /// Reads letters, each any number of times; `None`: another character.
    #[must_use]
    pub fn parse(text: &str) -> Option<NotifyClasses> {
        let class = |letter: char| match letter {
            'A' => Some(NotifyClasses::ALL),
            _ => NotifyClasses::LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, class)| *class),
        };
        text.chars().try_fold(NotifyClasses::NONE, |all, letter| class(letter).map(|class| all.with(class)))
    }

    /// The canonical form, as Valkey's CONFIG GET replies it.
    #[must_use]
    pub fn text(self) -> String {
        let is_all = self.has(NotifyClasses::ALL);
        let short = NotifyClasses::ALL.with(NotifyClasses::NEW);
        let letters = NotifyClasses::LETTERS.iter().filter(|(_, class)| self.has(*class));
        let letters = letters.filter(|(_, class)| !(is_all && short.has(*class))).map(|(letter, _)| *letter);
        is_all.then_some('A').into_iter().chain(letters).collect()
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: NotifyClasses) -> NotifyClasses {
        NotifyClasses(self.0 | others.0)
    }

    /// Whether all of `others` are among these.
    #[inline]
    #[must_use]
    pub const fn has(self, others: NotifyClasses) -> bool {
        self.0 & others.0 == others.0
    }

    /// What leads to a message: nothing, if neither kind of channels is among these.
    #[must_use]
    pub fn effective(self) -> NotifyClasses {
        let is_published = self.has(NotifyClasses::KEYSPACE) || self.has(NotifyClasses::KEYEVENT);
        if is_published { self } else { NotifyClasses::NONE }
    }
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The class of the event.
    pub class: NotifyClasses,
    /// Valkey's name of the event.
    pub event: &'static str,
    /// The name of the key.
    pub key: &'a [u8],
}

/// A notification, whose key is in the bytes of the buffer.
#[derive(Debug, Clone, Copy)]
struct Head {
    class: NotifyClasses,
    event: &'static str,
    key_bytes: usize,
}

/// Notifications in their order.
#[derive(Debug, Default)]
pub struct Notifications {
    heads: Vec<Head>,
    /// The names of the keys, one after the other.
    keys: Vec<u8>,
    dropped: u64,
    channels: NotifyClasses,
}

impl Notifications {
    /// Whether there are none, and none was dropped.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.dropped == 0
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// How many were dropped because they would have exceeded the bound.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The kinds of channels to which they go, as was set when they were made: `K`, `E` or both.
    #[must_use]
    pub fn channels(&self) -> NotifyClasses {
        self.channels
    }

    pub(crate) fn set_channels(&mut self, wanted: NotifyClasses) {
        self.channels = wanted;
    }

    /// What they take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.heads.len() * size_of::<Head>() + self.keys.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Notification<'_>> {
        let mut rest = &self.keys[..];
        self.heads.iter().map(move |head| {
            let (key, others) = rest.split_at(head.key_bytes);
            rest = others;
            Notification { class: head.class, event: head.event, key }
        })
    }

    /// Appends one, if the bound allows it.
    pub fn push(&mut self, class: NotifyClasses, event: &'static str, key: &[u8]) {
        if self.bytes() + size_of::<Head>() + key.len() > NOTIFICATION_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.heads.push(Head { class, event, key_bytes: key.len() });
        self.keys.extend_from_slice(key);
    }

    /// Removes all but the first `count`.
    pub(crate) fn truncate(&mut self, count: usize) {
        let removed = self.heads.drain(count.min(self.heads.len())..);
        let bytes: usize = removed.map(|head| head.key_bytes).sum();
        self.keys.truncate(self.keys.len() - bytes);
    }
}

/// What is wanted, and what the current unit has done so far.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    /// What leads to a message ([`NotifyClasses::effective`]).
    pub(crate) wanted: NotifyClasses,
    pub(crate) unit: Notifications,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies of Valkey 9.1 to CONFIG GET after CONFIG SET.
    #[test]
    fn the_canonical_form() {
        for (set, get) in [
            ("KEA", "AKE"),
            ("", ""),
            ("KEAmn", "AKEm"),
            ("KEAn", "AKE"),
            ("g$lshzxetdKEm", "AKEm"),
            ("g$lsh", "g$lsh"),
            ("KElsn", "lsnKE"),
            ("m", "m"),
            ("nK", "nK"),
            ("Kx", "xK"),
            ("xzn", "zxn"),
            ("AmK", "AKm"),
            ("An", "A"),
        ] {
            assert_eq!(NotifyClasses::parse(set).map(NotifyClasses::text).as_deref(), Some(get), "{set}");
        }
        for wrong in ["q", "K x", "kea", "\"\"", "é"] {
            assert_eq!(NotifyClasses::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_channels_nothing_is_effective() {
        let of = |text| NotifyClasses::parse(text).map(NotifyClasses::effective);
        assert_eq!(of("Am"), Some(NotifyClasses::NONE));
        assert_eq!(of("Kg"), Some(NotifyClasses::KEYSPACE.with(NotifyClasses::GENERIC)));
    }

    #[test]
    fn what_exceeds_the_bound_is_dropped_and_counted() {
        let mut all = Notifications::default();
        let key = vec![b'k'; NOTIFICATION_BYTES_MAX / 4];
        (0..6).for_each(|_| all.push(NotifyClasses::STRING, "set", &key));
        assert_eq!((all.len(), all.dropped()), (3, 3));
        assert!(all.bytes() <= NOTIFICATION_BYTES_MAX);
        all.push(NotifyClasses::GENERIC, "del", b"short");
        assert_eq!(all.iter().last().map(|last| (last.event, last.key)), Some(("del", &b"short"[..])));
        all.truncate(1);
        assert_eq!((all.len(), all.keys.len()), (1, key.len()));
    }
}
