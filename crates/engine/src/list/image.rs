//! Lists in images and digests.
//!
//! A list in its entry is written as its bytes. A large list is the number of its nodes, and for each a byte (1: the
//! node is plain; 2: the list is packed) and its bytes, so that a replica that loads it divides it into the same nodes.
//! A large list that is longer than a record is read from a copy that shares its nodes ([`FrozenList`]), node by node,
//! while the list changes. The digest of a list covers the length and text of each element, in order, and neither its
//! nodes nor its form.

use super::node::ListNode;
use super::node_list::NodeList;
use super::nodes::NodeSequence;
use super::packed::{INLINE_MAX, NUMBER};
use crate::codec::digest::Running;
use crate::codec::{listpack, varint};
use crate::image::codec::{ImageError, LoadParts, Loaded, Loading, PackedForm, RecordForm, RecordReader, write_bytes};
use crate::keyspace::value::{FrozenPart, FrozenValue};
use crate::keyspace::{Entry, Object};
use fastness_types::limits::VALUE_BYTES_MAX;

/// Kinds of records. Frozen.
const PACKED: u8 = 10;
pub(super) const NODES: u8 = 11;

const IS_PLAIN: u8 = 1;
const LIST_IS_PACKED: u8 = 2;

/// The form of lists in their entries.
pub(crate) const PACKED_FORM: PackedForm = PackedForm {
    encoding: |_| "listpack",
    record_kind: PACKED,
    digest: |bytes, digest| listpack::elements(bytes).for_each(|element| digest_element(element, digest)),
    write_record: write_bytes,
};

/// The records of lists.
pub(crate) const RECORDS: &[RecordForm] = &[
    RecordForm { kind: PACKED, load: load_packed, parts: None },
    RecordForm { kind: NODES, load: load_list, parts: Some(|_| Box::<LoadedNodes>::default()) },
];

fn digest_length(len: usize, digest: &mut Running) {
    digest.bytes(&(len as u64).to_le_bytes());
}

fn digest_element(element: listpack::Packable<'_>, digest: &mut Running) {
    let mut buffer = itoa::Buffer::new();
    let text = element.text(&mut buffer);
    digest_length(text.len(), digest);
    digest.bytes(text);
}

pub(super) fn digest_node(node: &ListNode, digest: &mut Running) {
    node.iter().for_each(|element| digest_element(element, digest));
}

fn flags(node: &ListNode, is_packed: bool) -> u8 {
    (if node.is_plain() { IS_PLAIN } else { 0 }) | if is_packed { LIST_IS_PACKED } else { 0 }
}

pub(super) fn write_list(list: &NodeList, out: &mut Vec<u8>) {
    varint::write(out, list.nodes.count() as u64);
    for node in list.nodes.iter() {
        out.push(flags(node, list.is_packed));
        write_bytes(node.bytes(), out);
    }
}

fn load_packed(reader: &mut RecordReader<'_>, _: Loading) -> Result<Loaded, ImageError> {
    let bytes = reader.bytes()?;
    let count = listpack::count(bytes).ok_or(ImageError::Truncated)?;
    Ok(match count {
        0 => Loaded::Nothing,
        _ if bytes.len() <= INLINE_MAX => Loaded::Packed(NUMBER, bytes.to_vec()),
        _ => Loaded::Object(Object::new(NodeList::of_packed(bytes, count))),
    })
}

fn load_list(reader: &mut RecordReader<'_>, _: Loading) -> Result<Loaded, ImageError> {
    let mut nodes = LoadedNodes::default();
    for _ in 0..reader.varint()? {
        nodes.load(reader)?;
    }
    Ok(if nodes.is_empty() { Loaded::Nothing } else { Loaded::Object(Box::new(nodes).into_object()) })
}

/// A list whose nodes arrive one after the other.
#[derive(Debug, Default)]
struct LoadedNodes {
    list: NodeList,
    /// The start of the next node.
    start: Vec<u8>,
}

impl LoadParts for LoadedNodes {
    fn len(&self) -> usize {
        self.list.nodes.count()
    }

    /// A node has no records of its own.
    fn has(&self, _: &[u8]) -> bool {
        true
    }

    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError> {
        let flags = reader.byte()?;
        let mut bytes = std::mem::take(&mut self.start);
        bytes.extend_from_slice(reader.bytes()?);
        let node = if flags & IS_PLAIN != 0 {
            ListNode::plain(&bytes)
        } else {
            let count = listpack::count(&bytes).filter(|count| *count > 0).ok_or(ImageError::Truncated)?;
            ListNode::packed(bytes, count)
        };
        self.list.is_packed = flags & LIST_IS_PACKED != 0 && !node.is_plain() && self.list.nodes.count() == 0;
        self.list.nodes.push_back(node);
        Ok(())
    }

    fn load_start(&mut self, bytes: &[u8]) -> bool {
        self.start.extend_from_slice(bytes);
        self.start.len() <= VALUE_BYTES_MAX
    }

    fn add(&mut self, _: Entry) -> bool {
        false
    }

    fn into_object(self: Box<Self>) -> Object {
        Object::new(self.list)
    }
}

/// A list as it was at one moment. It shares the nodes, and whoever changes one makes a copy first.
#[derive(Debug)]
pub(super) struct FrozenList {
    /// The nodes that have not been read, the first of them from `at` on.
    nodes: NodeSequence,
    at: usize,
    is_packed: bool,
    /// See [`FrozenValue::bytes`].
    kept: usize,
    /// What the list had ceased to own before, bytes.
    released_before: usize,
}

impl FrozenList {
    pub(super) fn new(list: &NodeList) -> FrozenList {
        let nodes = list.nodes.clone();
        FrozenList { at: 0, is_packed: list.is_packed, kept: 0, released_before: nodes.released(), nodes }
    }
}

impl FrozenValue for FrozenList {
    fn parts_left(&self) -> usize {
        self.nodes.count()
    }

    fn bytes(&self) -> usize {
        self.kept
    }

    /// An upper bound: of the nodes that the list has given up, some may have been read already.
    fn note_kept(&mut self) {
        self.kept = (self.nodes.released() - self.released_before).min(self.nodes.bytes());
    }

    fn read(&mut self, room: usize, out: &mut Vec<u8>, digest: &mut Running) -> FrozenPart {
        let Some(first) = self.nodes.first() else { return FrozenPart::Whole };
        let node = self.nodes.node(first);
        let end = node.bytes().len().min(self.at.saturating_add(room.max(1)));
        let bytes = &node.bytes()[self.at..end];
        match (node.is_plain(), self.at) {
            (false, 0) => digest_node(node, digest),
            (false, _) => {}
            (true, at) => {
                if at == 0 {
                    digest_length(node.bytes().len(), digest);
                }
                digest.bytes(bytes);
            }
        }
        if end < node.bytes().len() {
            out.extend_from_slice(bytes);
            self.at = end;
            return FrozenPart::Start;
        }
        out.push(flags(node, self.is_packed));
        write_bytes(bytes, out);
        self.at = 0;
        let before = self.nodes.released();
        self.nodes.remove(first);
        // That this copy gives the node up is no loss of the list.
        self.released_before += self.nodes.released() - before;
        FrozenPart::Whole
    }
}
