//! Changes that wait for a commit, and messages that are being delivered.

use std::collections::VecDeque;
use std::rc::Rc;

use fastness_types::Seq;

use super::keys::Readers;
use super::message::EncodedNotice;
use super::prefixes::ChangedNames;

/// What a change or message takes here beside names and readers, bytes.
const CHANGE_BYTES: usize = 128;
/// The same of one of several names.
const NAME_BYTES: usize = 96;

/// A change, with those who are to be informed of it.
#[derive(Debug)]
pub(super) enum KeyChange {
    /// One key, for its readers.
    Key { name: Rc<[u8]>, readers: Readers },
    /// One key, for those who have a prefix of it; `writer` as in [`ChangedNames`].
    Prefixed { name: Rc<[u8]>, writer: u64 },
    /// Every key, for everybody who tracks.
    Everything,
}

impl KeyChange {
    fn bytes(&self) -> usize {
        CHANGE_BYTES
            + match self {
                KeyChange::Key { name, readers } => name.len() + readers.len() * size_of::<u64>(),
                KeyChange::Prefixed { name, .. } => name.len(),
                KeyChange::Everything => 0,
            }
    }
}

/// Who gets a message.
#[derive(Debug)]
pub(super) enum To {
    /// These, from this place on.
    Readers(Readers, usize),
    /// Those with this prefix and higher numbers.
    Prefix(Rc<[u8]>, u64),
    /// Everybody who tracks and has a higher number.
    All(u64),
}

/// What is invalid.
#[derive(Debug)]
pub(super) enum Invalid {
    Key(Rc<[u8]>),
    Keys(ChangedNames),
    Everything,
}

/// A message that is being delivered.
#[derive(Debug)]
pub(super) struct InvalidDelivery {
    pub(super) invalid: Invalid,
    pub(super) to: To,
    pub(super) encoded: EncodedNotice,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TrackingOutbox {
    /// In the order of the batches.
    held: VecDeque<(Seq, KeyChange)>,
    due: VecDeque<InvalidDelivery>,
    bytes: usize,
}

impl TrackingOutbox {
    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a change of which those it concerns are to be informed: at once, or when the batch `after` has committed.
    pub(super) fn add(&mut self, change: KeyChange, after: Option<Seq>) {
        match after {
            Some(seq) => {
                self.bytes += change.bytes();
                self.held.push_back((seq, change));
            }
            None => self.release(change),
        }
    }

    fn release(&mut self, change: KeyChange) {
        let bytes = change.bytes();
        let (invalid, to) = match change {
            KeyChange::Key { name, readers } => (Invalid::Key(name), To::Readers(readers, 0)),
            // Noted at the prefixes instead, which make one message of a turn's.
            KeyChange::Prefixed { .. } => return,
            KeyChange::Everything => {
                if self.due.back().is_some_and(|last| matches!(last.to, To::All(0))) {
                    return;
                }
                (Invalid::Everything, To::All(0))
            }
        };
        self.bytes += bytes;
        self.due.push_back(InvalidDelivery { invalid, to, encoded: EncodedNotice::default(), bytes });
    }

    /// Adds the changed keys of a prefix.
    pub(super) fn add_prefixed(&mut self, prefix: Rc<[u8]>, names: ChangedNames) {
        let bytes = CHANGE_BYTES + names.keys().map(|name| NAME_BYTES + name.len()).sum::<usize>();
        self.bytes += bytes;
        let (invalid, to) = (Invalid::Keys(names), To::Prefix(prefix, 0));
        self.due.push_back(InvalidDelivery { invalid, to, encoded: EncodedNotice::default(), bytes });
    }

    /// The batches up to `seq` have committed. Returns the changed keys that have prefixes, with their writers.
    pub(super) fn commit(&mut self, seq: Seq) -> Vec<(Rc<[u8]>, u64)> {
        let mut prefixed = Vec::new();
        while self.held.front().is_some_and(|(after, _)| *after <= seq)
            && let Some((_, change)) = self.held.pop_front()
        {
            self.bytes -= change.bytes();
            match change {
                KeyChange::Prefixed { name, writer } => prefixed.push((name, writer)),
                change => self.release(change),
            }
        }
        prefixed
    }

    /// The oldest message.
    pub(super) fn take(&mut self) -> Option<InvalidDelivery> {
        let delivery = self.due.pop_front()?;
        self.bytes -= delivery.bytes;
        Some(delivery)
    }

    /// Puts it back: not everybody has it.
    pub(super) fn put_back(&mut self, delivery: InvalidDelivery) {
        self.bytes += delivery.bytes;
        self.due.push_front(delivery);
    }

    /// Whether no message is due.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = TrackingOutbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, readers: &[u64]) -> KeyChange {
        KeyChange::Key { name: Rc::from(name.as_bytes()), readers: Readers::from_slice(readers) }
    }

    fn due(outbox: &mut TrackingOutbox) -> Vec<String> {
        let text = |name: &Rc<[u8]>| String::from_utf8_lossy(name).into_owned();
        let mut all = Vec::new();
        while let Some(InvalidDelivery { invalid, .. }) = outbox.take() {
            all.push(match invalid {
                Invalid::Key(name) => text(&name),
                Invalid::Keys(names) => names.keys().map(text).collect(),
                Invalid::Everything => "*".to_owned(),
            });
        }
        all
    }

    #[test]
    fn changes_wait_for_their_batch() {
        let mut outbox = TrackingOutbox::default();
        outbox.add(key("a", &[1]), Some(Seq(4)));
        outbox.add(KeyChange::Prefixed { name: Rc::from(&b"p"[..]), writer: 7 }, Some(Seq(4)));
        outbox.add(KeyChange::Everything, Some(Seq(5)));
        outbox.add(key("b", &[1, 2]), Some(Seq(6)));
        outbox.add(key("now", &[3]), None);
        assert_eq!(due(&mut outbox), ["now"]);
        assert!(outbox.commit(Seq(3)).is_empty() && outbox.is_idle());
        assert_eq!(outbox.commit(Seq(5)), [(Rc::from(&b"p"[..]), 7)]);
        assert_eq!(due(&mut outbox), ["a", "*"]);
        assert!(outbox.bytes() > 0, "one waits still");
        outbox.commit(Seq(6));
        assert_eq!(due(&mut outbox), ["b"]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn everything_is_invalid_once_until_it_was_passed_on() {
        let mut outbox = TrackingOutbox::default();
        outbox.add(KeyChange::Everything, None);
        outbox.add(KeyChange::Everything, None);
        assert_eq!(due(&mut outbox), ["*"]);
        outbox.add(KeyChange::Everything, None);
        assert_eq!(due(&mut outbox), ["*"]);
    }
}
