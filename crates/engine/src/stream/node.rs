//! A node of a stream: up to some hundred entries, packed one after the other.
//!
//! The bytes are the elements of the listpack that Valkey keeps for a node, without its frame and without its first two
//! elements (the numbers of entries, which are fields here):
//!
//! ```text
//! count, field*, 0                      the fields of the first entry, which most entries share
//! flags, ms, seq, value*, elements      an entry with the same fields
//! flags, ms, seq, count, (field, value)*, elements      an entry with others
//! ```
//!
//! `ms` and `seq` are differences to the id of the node, which is that of its first entry. `elements` is the number of
//! elements of the entry before it, for reading backwards. A removed entry stays, with a flag, until no entry of the
//! node is left.
//!
//! # Invariants
//! - `live` entries have no [`DELETED`] flag, `deleted` entries have it.
//! - The ids of live entries rise, and none is smaller than the id of the node.
//! - `start` is where the first entry starts.

use super::id::StreamId;
use crate::codec::listpack::{self, FRAME_BYTES, Packable};
use crate::keyspace::PackedLimits;
use crate::keyspace::memory::size_class;

/// The entry was removed.
const DELETED: i64 = 1;
/// The entry has the fields of the node.
const SAME_FIELDS: i64 = 2;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamNode {
    bytes: Vec<u8>,
    start: usize,
    live: u64,
    deleted: u64,
}

/// An entry of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeEntry<'a> {
    pub(super) id: StreamId,
    pub(super) is_deleted: bool,
    /// Number of fields.
    pub(super) count: usize,
    /// The fields of the node, if the entry has the same.
    fields: Option<&'a [u8]>,
    /// The values; with other fields than the node's, each after its field.
    values: &'a [u8],
    /// Where the entry starts in its node.
    at: usize,
    /// Where the next entry starts.
    end: usize,
}

impl<'a> NodeEntry<'a> {
    /// The fields with their values.
    pub(super) fn fields(self) -> impl Iterator<Item = (Packable<'a>, Packable<'a>)> {
        let mut fields = self.fields.map(listpack::elements);
        let mut values = listpack::elements(self.values);
        (0..self.count).map_while(move |_| {
            let field = match &mut fields {
                Some(fields) => fields.next()?,
                None => values.next()?,
            };
            Some((field, values.next()?))
        })
    }
}

/// The first of these elements as a number, and the rest.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    match listpack::first(bytes)? {
        (Packable::Int(number), len) => Some((number, &bytes[len..])),
        (Packable::Text(_), _) => None,
    }
}

/// As [`number`], a number of elements: at most what the bytes can have.
fn count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = number(bytes)?;
    usize::try_from(count).ok().filter(|count| *count <= rest.len()).map(|count| (count, rest))
}

/// The bytes after so many elements.
fn skipped(mut bytes: &[u8], count: usize) -> Option<&[u8]> {
    for _ in 0..count {
        let (_, len) = listpack::first(bytes)?;
        bytes = &bytes[len..];
    }
    Some(bytes)
}

/// How many bytes a number takes in a listpack.
fn number_bytes(number: u64) -> usize {
    let mut bytes = Vec::new();
    listpack::push_number(number as i64, &mut bytes);
    bytes.len()
}

impl StreamNode {
    /// A node without entries, for entries with these fields.
    pub(super) fn of_fields<'f>(fields: impl ExactSizeIterator<Item = &'f [u8]>) -> StreamNode {
        let mut bytes = Vec::new();
        listpack::push_number(fields.len() as i64, &mut bytes);
        fields.for_each(|field| listpack::push(field, &mut bytes));
        listpack::push_number(0, &mut bytes);
        StreamNode { start: bytes.len(), bytes, live: 0, deleted: 0 }
    }

    /// A node of bytes that [`StreamNode::bytes`] returned, or that come from anywhere; `None`: they contradict
    /// themselves.
    pub(super) fn of_bytes(id: StreamId, live: u64, deleted: u64, bytes: &[u8]) -> Option<StreamNode> {
        let (fields, rest) = count(bytes)?;
        let (end, rest) = number(skipped(rest, fields)?)?;
        let mut node = StreamNode { start: bytes.len() - rest.len(), bytes: bytes.to_vec(), live, deleted };
        let (mut at, mut found, mut last) = (node.start, (0, 0), None);
        while at < node.bytes.len() {
            let entry = node.entry(id, at)?;
            if entry.is_deleted {
                found.1 += 1;
            } else if entry.id < id || last.replace(entry.id).is_some_and(|last| entry.id <= last) {
                return None;
            } else {
                found.0 += 1;
            }
            // It must be found backwards, too.
            if node.entry_start(entry.end) != Some(at) {
                return None;
            }
            at = entry.end;
        }
        if end != 0 || found != (live, deleted) || live + deleted == 0 {
            return None;
        }
        node.fit();
        Some(node)
    }

    /// A node of the elements of Valkey's listpack. Numbers are written again in their shortest form, as Valkey does.
    pub(super) fn of_listpack(id: StreamId, elements: &[u8]) -> Option<StreamNode> {
        let (live, rest) = number(elements)?;
        let (deleted, rest) = number(rest)?;
        let mut bytes = Vec::with_capacity(rest.len());
        listpack::elements(rest).for_each(|element| match element {
            Packable::Int(number) => listpack::push_number(number, &mut bytes),
            Packable::Text(text) => listpack::push(text, &mut bytes),
        });
        let node = StreamNode::of_bytes(id, u64::try_from(live).ok()?, u64::try_from(deleted).ok()?, &bytes)?;
        // An entry is larger than those that live when it is added, also if it is removed later: `mark` relies on it.
        let mut last: Option<StreamId> = None;
        let rises = node.all(id).all(|entry| {
            let rises = last.is_none_or(|last| entry.id > last);
            if !entry.is_deleted {
                last = Some(entry.id);
            }
            rises
        });
        rises.then_some(node)
    }

    /// Appends the elements of Valkey's listpack; returns their number.
    pub(super) fn write_listpack(&self, out: &mut Vec<u8>) -> usize {
        listpack::push_number(self.live as i64, out);
        listpack::push_number(self.deleted as i64, out);
        out.extend_from_slice(&self.bytes);
        2 + listpack::elements(&self.bytes).count()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of entries that were not removed.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Number of entries that were removed.
    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Memory, bytes, with the counts of its owners.
    pub(super) fn cost(&self) -> usize {
        const NODE: usize = size_class(2 * size_of::<usize>() + size_of::<StreamNode>());
        NODE + size_class(self.bytes.len())
    }

    /// Whether an entry whose texts have so many bytes may be added. Only the primary decides it: its effect says what
    /// it has decided, because what is trimmed later, and the digest, follow from the nodes.
    pub(super) fn admits(&self, texts: usize, limits: PackedLimits) -> bool {
        let listpack = FRAME_BYTES + number_bytes(self.live) + number_bytes(self.deleted) + self.bytes.len();
        let has_place = limits.stream_node_entries == 0 || self.live + self.deleted < limits.stream_node_entries;
        ((listpack + texts) as u64) < limits.stream_node_bytes && has_place
    }

    /// Adds an entry of these fields, each with its value. `id`: the node's.
    pub(super) fn push<'f>(
        &mut self,
        id: StreamId,
        entry: StreamId,
        fields: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])> + Clone,
    ) {
        let count = fields.len();
        let is_same = self.has_fields(fields.clone().map(|(field, _)| field));
        let bytes = &mut self.bytes;
        let mut elements = 3 + count;
        for number in [
            if is_same { SAME_FIELDS } else { 0 },
            entry.ms.wrapping_sub(id.ms) as i64,
            entry.seq.wrapping_sub(id.seq) as i64,
        ] {
            listpack::push_number(number, bytes);
        }
        if !is_same {
            listpack::push_number(count as i64, bytes);
            elements += 1 + count;
        }
        for (field, value) in fields {
            if !is_same {
                listpack::push(field, bytes);
            }
            listpack::push(value, bytes);
        }
        listpack::push_number(elements as i64, bytes);
        self.live += 1;
        self.fit();
    }

    /// Removes the last entry, which is live.
    pub(super) fn pop(&mut self) {
        if let Some(at) = self.entry_start(self.bytes.len()) {
            self.bytes.truncate(at);
            self.live = self.live.saturating_sub(1);
            self.fit();
        }
    }

    /// Keeps the capacity at the size class of the length, so that memory follows from the contents.
    fn fit(&mut self) {
        let class = size_class(self.bytes.len());
        if self.bytes.capacity() < class {
            self.bytes.reserve_exact(class - self.bytes.len());
        } else if self.bytes.capacity() > class {
            self.bytes.shrink_to(class);
        }
    }

    /// The packed fields, with the zero after them.
    fn packed_fields(&self) -> Option<(usize, &[u8])> {
        let (fields, rest) = count(&self.bytes[..self.start])?;
        Some((fields, rest))
    }

    fn has_fields<'f>(&self, fields: impl ExactSizeIterator<Item = &'f [u8]>) -> bool {
        let Some((count, packed)) = self.packed_fields() else { return false };
        let mut buffer = itoa::Buffer::new();
        count == fields.len()
            && fields.zip(listpack::elements(packed)).all(|(field, held)| field == held.text(&mut buffer))
    }

    /// The entry that starts here.
    fn entry(&self, id: StreamId, at: usize) -> Option<NodeEntry<'_>> {
        let bytes = self.bytes.get(at..)?;
        let (flags, rest) = number(bytes)?;
        let (ms, rest) = number(rest)?;
        let (seq, rest) = number(rest)?;
        let (fields, count, values, elements) = if flags & SAME_FIELDS == 0 {
            let (count, rest) = count(rest)?;
            (None, count, rest, 2 * count)
        } else {
            let (count, fields) = self.packed_fields()?;
            (Some(fields), count, rest, count)
        };
        let after = skipped(values, elements)?;
        let (total, rest) = number(after)?;
        if total != elements as i64 + if fields.is_some() { 3 } else { 4 } || !matches!(bytes[0], 0..=3) {
            return None;
        }
        Some(NodeEntry {
            id: StreamId::new(id.ms.wrapping_add(ms as u64), id.seq.wrapping_add(seq as u64)),
            is_deleted: flags & DELETED != 0,
            count,
            fields,
            values: &values[..values.len() - after.len()],
            at,
            end: self.bytes.len() - rest.len(),
        })
    }

    /// Where the entry starts that ends here.
    fn entry_start(&self, end: usize) -> Option<usize> {
        let entries = self.bytes.get(self.start..end)?;
        let (Packable::Int(elements), len) = listpack::last(entries)? else { return None };
        let mut start = entries.len() - len;
        for _ in 0..usize::try_from(elements).ok()? {
            let (_, len) = listpack::last(&entries[..start])?;
            start -= len;
        }
        Some(self.start + start)
    }

    /// Every entry, also removed ones. `id`: the node's.
    pub(super) fn all(&self, id: StreamId) -> impl Iterator<Item = NodeEntry<'_>> {
        let mut at = self.start;
        std::iter::from_fn(move || {
            let entry = self.entry(id, at)?;
            at = entry.end;
            Some(entry)
        })
    }

    /// As [`StreamNode::all`], last first.
    pub(super) fn all_back(&self, id: StreamId) -> impl Iterator<Item = NodeEntry<'_>> {
        let mut end = self.bytes.len();
        std::iter::from_fn(move || {
            end = self.entry_start(end)?;
            self.entry(id, end)
        })
    }

    /// The live entry of this id.
    pub(super) fn find(&self, id: StreamId, wanted: StreamId) -> Option<NodeEntry<'_>> {
        self.all(id)
            .filter(|entry| !entry.is_deleted)
            .find(|entry| entry.id >= wanted)
            .filter(|entry| entry.id == wanted)
    }

    /// Marks the live entry of this id as removed, or (`!removed`) the last removed one as live again.
    pub(super) fn mark(&mut self, id: StreamId, wanted: StreamId, removed: bool) {
        let at = |entry: NodeEntry<'_>| entry.at;
        let found = if removed {
            self.find(id, wanted).map(at)
        } else {
            self.all_back(id).find(|entry| entry.is_deleted && entry.id == wanted).map(at)
        };
        let Some(at) = found else { return };
        // The flags are a number below 128, which is its own encoding.
        self.bytes[at] ^= DELETED as u8;
        let (more, less) =
            if removed { (&mut self.deleted, &mut self.live) } else { (&mut self.live, &mut self.deleted) };
        *more += 1;
        *less = less.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(entries: &[(u64, &[(&str, &str)])]) -> StreamNode {
        let fields: Vec<&[u8]> = entries[0].1.iter().map(|(field, _)| field.as_bytes()).collect();
        let mut node = StreamNode::of_fields(fields.into_iter());
        for (seq, fields) in entries {
            let fields = fields.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
            node.push(StreamId::new(5, entries[0].0), StreamId::new(5, *seq), fields);
        }
        node
    }

    fn texts(entry: NodeEntry<'_>) -> String {
        let text = |element: Packable<'_>| String::from_utf8(element.to_vec()).unwrap();
        entry.fields().map(|(field, value)| format!("{}={} ", text(field), text(value))).collect()
    }

    #[test]
    fn entries_are_read_from_both_ends() {
        let id = StreamId::new(5, 3);
        let mut node = node(&[(3, &[("a", "1"), ("b", "x")]), (4, &[("a", "y"), ("b", "")]), (9, &[("c", "7")])]);
        let seen: Vec<_> = node.all(id).map(|entry| (entry.id.seq, texts(entry))).collect();
        let expected = [(3, "a=1 b=x "), (4, "a=y b= "), (9, "c=7 ")].map(|(seq, text)| (seq, text.to_owned()));
        assert_eq!(seen, expected);
        let mut back: Vec<_> = node.all_back(id).map(|entry| (entry.id.seq, texts(entry))).collect();
        back.reverse();
        assert_eq!(back, expected);
        let before = node.clone();
        node.mark(id, StreamId::new(5, 4), true);
        assert_eq!((node.live(), node.deleted()), (2, 1));
        assert!(node.find(id, StreamId::new(5, 4)).is_none() && node.find(id, StreamId::new(5, 9)).is_some());
        node.mark(id, StreamId::new(5, 4), false);
        assert_eq!(node, before);
        node.pop();
        assert_eq!((node.live(), node.all(id).count()), (2, 2));
        assert_eq!(StreamNode::of_bytes(id, 2, 0, node.bytes()), Some(node.clone()));
        for (live, deleted) in [(1, 0), (1, 1), (3, 0), (0, 2)] {
            assert_eq!(StreamNode::of_bytes(id, live, deleted, node.bytes()), None);
        }
        let mut elements = Vec::new();
        assert_eq!(node.write_listpack(&mut elements), 2 + 4 + 2 * 6);
        assert_eq!(StreamNode::of_listpack(id, &elements), Some(node));
    }

    #[test]
    fn a_node_has_bounds() {
        let filled = |limits: PackedLimits| {
            let mut node = StreamNode::of_fields([&b"f"[..]].into_iter());
            let mut seq = 0;
            while node.admits(2, limits) {
                node.push(StreamId::new(1, 0), StreamId::new(1, seq), [(&b"f"[..], &b"v"[..])].into_iter());
                seq += 1;
            }
            (seq, node.bytes().len())
        };
        let limits = PackedLimits::default();
        assert_eq!(filled(limits).0, 100);
        assert_eq!(filled(PackedLimits { stream_node_entries: 7, ..limits }).0, 7);
        let long = PackedLimits { stream_node_entries: 0, stream_node_bytes: 0, ..limits }.bounded();
        let bytes = filled(long).1 as u64;
        assert!(bytes < long.stream_node_bytes && bytes + 100 > long.stream_node_bytes, "{bytes}");
        assert!(!StreamNode::of_fields([&b"f"[..]].into_iter()).admits(4_096, limits));
    }
}
