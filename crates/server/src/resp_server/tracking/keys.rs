//! Which clients have read which keys.

use std::collections::HashMap;
use std::rc::Rc;

use smallvec::SmallVec;

/// What a key takes here beside its name and its readers beyond the first, bytes.
const KEY_BYTES: usize = 160;

/// Numbers of connections, rising.
pub(super) type Readers = SmallVec<[u64; 2]>;

#[derive(Debug)]
struct ReadKey {
    name: Rc<[u8]>,
    readers: Readers,
}

impl ReadKey {
    fn bytes(&self) -> usize {
        let beside = if self.readers.spilled() { self.readers.capacity() * size_of::<u64>() } else { 0 };
        KEY_BYTES + self.name.len() + beside
    }
}

/// See the module. The order of its keys is arbitrary, so that any of them can be taken and all can be walked through.
#[derive(Debug, Default)]
pub(super) struct ReadKeys {
    keys: Vec<ReadKey>,
    /// The place of each.
    places: HashMap<Rc<[u8]>, usize>,
    items: usize,
    bytes: usize,
}

impl ReadKeys {
    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Pairs of a key and a reader.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A client has read a key.
    pub(super) fn enter(&mut self, name: &[u8], client: u64) {
        let Some(place) = self.places.get(name) else {
            let name: Rc<[u8]> = Rc::from(name);
            self.places.insert(name.clone(), self.keys.len());
            let key = ReadKey { name, readers: SmallVec::from_slice(&[client]) };
            self.bytes += key.bytes();
            self.items += 1;
            return self.keys.push(key);
        };
        let Some(key) = self.keys.get_mut(*place) else { return };
        if let Err(at) = key.readers.binary_search(&client) {
            self.bytes -= key.bytes();
            key.readers.insert(at, client);
            self.bytes += key.bytes();
            self.items += 1;
        }
    }

    /// Removes a key that has changed; returns its readers. The one who has changed it stays, if it is given (not 0).
    pub(super) fn take(&mut self, name: &[u8], writer: u64) -> Option<(Rc<[u8]>, Readers)> {
        let place = *self.places.get(name)?;
        let writer_at = if writer == 0 { None } else { self.keys.get(place)?.readers.binary_search(&writer).ok() };
        let Some(writer_at) = writer_at else { return self.take_at(place) };
        let key = self.keys.get_mut(place)?;
        self.bytes -= key.bytes();
        let mut readers = std::mem::replace(&mut key.readers, SmallVec::from_slice(&[writer]));
        self.bytes += key.bytes();
        readers.remove(writer_at);
        self.items -= readers.len();
        (!readers.is_empty()).then(|| (key.name.clone(), readers))
    }

    /// Removes the key at this place.
    pub(super) fn take_at(&mut self, place: usize) -> Option<(Rc<[u8]>, Readers)> {
        if place >= self.keys.len() {
            return None;
        }
        let key = self.keys.swap_remove(place);
        self.places.remove(&key.name);
        if let Some(moved) = self.keys.get(place)
            && let Some(known) = self.places.get_mut(&moved.name)
        {
            *known = place;
        }
        self.items -= key.readers.len();
        self.bytes -= key.bytes();
        self.shrink();
        Some((key.name, key.readers))
    }

    /// Gives back room once most of it is unused: what is counted is what is in use.
    fn shrink(&mut self) {
        const KEPT: usize = 1024;
        if self.keys.len() * 4 < self.keys.capacity() && self.keys.capacity() > KEPT {
            self.keys.shrink_to(self.keys.len() * 2);
            self.places.shrink_to(self.keys.len() * 2);
        }
    }

    /// Removes readers that do not track any more, of at most `count` keys below the place `below`; returns below which
    /// place to continue, 0: all were walked through. Downwards, because a key that is removed meanwhile is replaced by
    /// the last one, which was walked through before.
    pub(super) fn clear_up(&mut self, below: usize, count: usize, tracks: impl Fn(u64) -> bool) -> usize {
        let mut place = below.min(self.keys.len());
        for _ in 0..count {
            let Some(key) = place.checked_sub(1).and_then(|before| self.keys.get_mut(before)) else { return 0 };
            place -= 1;
            self.bytes -= key.bytes();
            let before = key.readers.len();
            key.readers.retain(|reader| tracks(*reader));
            key.readers.shrink_to_fit();
            self.bytes += key.bytes();
            self.items -= before - key.readers.len();
            if key.readers.is_empty() {
                self.take_at(place);
            }
        }
        place
    }

    /// Frees at most `count` keys; returns whether any is left.
    pub(super) fn free(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(last) = self.keys.len().checked_sub(1) else { return false };
            self.take_at(last);
        }
        !self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(keys: &mut ReadKeys, name: &str, writer: u64) -> Vec<u64> {
        keys.take(name.as_bytes(), writer).map(|(_, readers)| readers.to_vec()).unwrap_or_default()
    }

    #[test]
    fn a_change_takes_the_readers_of_its_key() {
        let mut keys = ReadKeys::default();
        for (name, client) in [("a", 3), ("b", 1), ("a", 1), ("a", 3), ("c", 2), ("a", 2)] {
            keys.enter(name.as_bytes(), client);
        }
        assert_eq!((keys.len(), keys.items()), (3, 5));
        assert_eq!(taken(&mut keys, "a", 0), [1, 2, 3]);
        assert_eq!(taken(&mut keys, "a", 0), [0; 0]);
        assert_eq!(taken(&mut keys, "b", 7), [1], "a writer that has not read it");
        assert_eq!((keys.len(), keys.items()), (1, 1));
        assert_eq!(taken(&mut keys, "c", 2), [0; 0], "the writer alone has read it, and stays");
        keys.enter(b"c", 9);
        assert_eq!(taken(&mut keys, "c", 2), [9]);
        assert_eq!((keys.len(), keys.items()), (1, 1));
        assert_eq!(taken(&mut keys, "c", 0), [2]);
        assert_eq!((keys.len(), keys.items(), keys.bytes()), (0, 0, 0));
    }

    #[test]
    fn readers_that_have_left_are_cleared_up() {
        let mut keys = ReadKeys::default();
        for i in 0..1000_u64 {
            for client in 0..4 {
                keys.enter(format!("key{i}").as_bytes(), (i + client) % 16);
            }
        }
        let (mut below, mut slices) = (usize::MAX, 0);
        while below > 0 {
            below = keys.clear_up(below, 100, |client| client < 2);
            slices += 1;
        }
        assert!(slices >= 10, "in slices: {slices}");
        let expected = (0..1000_u64).flat_map(|i| (0..4).map(move |c| (i + c) % 16)).filter(|client| *client < 2);
        assert_eq!(keys.items(), expected.count());
        while keys.free(100) {}
        assert_eq!((keys.len(), keys.items(), keys.bytes()), (0, 0, 0));
    }
}
