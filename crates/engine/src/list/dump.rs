//! Lists in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 18 | a number of nodes; of each a number (1: plain, 2: packed) and a string: an element, a listpack | yes | yes |
//! | 1 | a number of elements, and the elements: from Redis before 3.2 | yes | no |
//! | 10 | a ziplist, as one string: the same | yes | no |
//! | 14 | a number of nodes, each a ziplist as one string: from Redis before 7 | yes | no |
//!
//! A list is restored into the nodes that its payload has, as in Valkey, so that both report the same encoding.

use super::limit::NodeLimit;
use super::node::ListNode;
use super::node_list::NodeList;
use super::packed::NUMBER;
use super::view::List;
use crate::codec::listpack;
use crate::codec::rdb::{Input, PayloadError, seal, write_len, write_text};
use crate::codec::ziplist;
use crate::command::typed::{DumpForm, Put};
use crate::keyspace::{Entry, ExpiryChange};
use fastness_types::WallMs;

const TYPE_LIST: u8 = 1;
const TYPE_LIST_ZIPLIST: u8 = 10;
const TYPE_LIST_QUICKLIST: u8 = 14;
const TYPE_LIST_QUICKLIST_2: u8 = 18;

const PLAIN: usize = 1;
const PACKED: usize = 2;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm = DumpForm {
    of: NUMBER,
    dump,
    kinds: &[TYPE_LIST, TYPE_LIST_ZIPLIST, TYPE_LIST_QUICKLIST, TYPE_LIST_QUICKLIST_2],
    restore,
};

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    let list = List::of(entry.value())?;
    let mut out = vec![TYPE_LIST_QUICKLIST_2];
    match (list.packed(), list.nodes()) {
        (Some(bytes), _) => {
            write_len(1, &mut out);
            write_packed(bytes, list.len(), &mut out);
        }
        (None, nodes) => {
            let nodes = nodes.map(|list| &list.nodes)?;
            write_len(nodes.count(), &mut out);
            for node in nodes.iter() {
                if node.is_plain() {
                    write_len(PLAIN, &mut out);
                    write_text(node.bytes(), &mut out);
                } else {
                    write_packed(node.bytes(), node.len(), &mut out);
                }
            }
        }
    }
    Some(seal(out))
}

fn write_packed(elements: &[u8], count: usize, out: &mut Vec<u8>) {
    write_len(PACKED, out);
    write_len(elements.len() + listpack::FRAME_BYTES, out);
    listpack::frame(elements, count, out);
}

fn restore(kind: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let list = match kind {
        TYPE_LIST => read_elements(input)?,
        TYPE_LIST_ZIPLIST => {
            let mut list = NodeList::default();
            push_ziplist(&input.text()?, &mut list)?;
            list
        }
        _ => read_nodes(kind, input)?,
    };
    if list.is_empty() {
        return Err(PayloadError::Format);
    }
    Ok(Box::new(move |engine, key, expiry, env| {
        engine.put_list(key, &list, env);
        if let ExpiryChange::At(at) = expiry {
            engine.expire_at(key, at, env);
        }
    }))
}

/// Elements one by one fill nodes as if they were added at the tail, with the default limit of nodes.
fn read_elements(input: &mut Input<'_>) -> Result<NodeList, PayloadError> {
    let mut list = NodeList::unpacked(NodeLimit::default());
    for _ in 0..input.len()? {
        list.push_last(&input.text()?);
    }
    Ok(list)
}

fn push_ziplist(bytes: &[u8], list: &mut NodeList) -> Result<(), PayloadError> {
    let elements = ziplist::open(bytes).ok_or(PayloadError::Format)?;
    let mut packed = Vec::new();
    elements.iter().for_each(|element| listpack::push(&element.to_vec(), &mut packed));
    if !elements.is_empty() {
        list.push_restored(ListNode::packed(packed, elements.len()));
    }
    Ok(())
}

fn read_nodes(kind: u8, input: &mut Input<'_>) -> Result<NodeList, PayloadError> {
    let mut list = NodeList::default();
    for _ in 0..input.len()? {
        let container = if kind == TYPE_LIST_QUICKLIST_2 { input.len()? } else { PACKED };
        let bytes = input.text()?;
        match container {
            PLAIN => list.push_restored(ListNode::plain(&bytes)),
            PACKED if kind == TYPE_LIST_QUICKLIST => push_ziplist(&bytes, &mut list)?,
            PACKED => {
                let (elements, count) = listpack::open(&bytes).ok_or(PayloadError::Format)?;
                if count > 0 {
                    list.push_restored(ListNode::packed(elements.to_vec(), count));
                }
            }
            _ => return Err(PayloadError::Format),
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, damage};

    /// Restores a payload, and returns the reply, or what LRANGE and OBJECT ENCODING see then.
    fn restored(body: &[u8]) -> String {
        let mut bench = Bench::new();
        let reply = bench.run(&[b"RESTORE", b"l", b"0", &seal(body.to_vec())]);
        if reply != b"+OK\r\n" {
            return String::from_utf8(reply).unwrap().trim_end().to_owned();
        }
        let seen = [bench.run(&[b"LRANGE", b"l", b"0", b"-1"]), bench.run(&[b"OBJECT", b"ENCODING", b"l"])].concat();
        String::from_utf8_lossy(&seen).trim_end().replace("\r\n", " ")
    }

    fn listpack(elements: &[&[u8]]) -> Vec<u8> {
        let mut packed = Vec::new();
        elements.iter().for_each(|element| listpack::push(element, &mut packed));
        let mut out = Vec::new();
        listpack::frame(&packed, elements.len(), &mut out);
        out
    }

    fn text(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_text(text, &mut out);
        out
    }

    const ZIPLIST: &[u8] = b"\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf6\xff";

    #[test]
    fn payloads_of_every_version_are_read() {
        let (one, two) = (listpack(&[b"a", b"5"]), listpack(&[b"b"]));
        let seen = "*2 $1 a $1 5 $8 listpack";
        assert_eq!(restored(&[&b"\x12\x01\x02"[..], &text(&one)].concat()), seen);
        assert_eq!(restored(b"\x01\x02\x01a\xc0\x05"), seen);
        assert_eq!(restored(&[&b"\x0a"[..], &text(ZIPLIST)].concat()), seen);
        assert_eq!(restored(&[&b"\x0e\x01"[..], &text(ZIPLIST)].concat()), seen);
        let nodes = [&b"\x12\x03\x02"[..], &text(&one), b"\x01\x03abc\x02", &text(&two)].concat();
        assert_eq!(restored(&nodes), "*4 $1 a $1 5 $3 abc $1 b $9 quicklist");
        assert_eq!(restored(b"\x12\x01\x01\x01a"), "*1 $1 a $9 quicklist");
        let with_empty = [&b"\x12\x02\x02"[..], &text(&listpack(&[])), b"\x02", &text(&two)].concat();
        assert_eq!(restored(&with_empty), "*1 $1 b $8 listpack");
    }

    #[test]
    fn other_payloads_are_refused() {
        let (empty, mut wrong) = (listpack(&[]), listpack(&[b"a", b"b"]));
        wrong[4] = 9;
        for body in [
            b"\x01\x00".to_vec(),
            b"\x01\x02\x01a".to_vec(),
            b"\x12\x00".to_vec(),
            [&b"\x12\x01\x02"[..], &text(&empty)].concat(),
            [&b"\x12\x01\x02"[..], &text(&wrong)].concat(),
            [&b"\x12\x01\x03"[..], &text(b"a")].concat(),
            [&b"\x0a"[..], &text(&ZIPLIST[..15])].concat(),
            [&b"\x0e\x01"[..], &text(b"\x0b\x00\x00\x00\x0a\x00\x00\x00\x00\x00\xff")].concat(),
            b"\x01\x80\xff\xff\xff\xff".to_vec(),
        ] {
            assert_eq!(restored(&body), "-ERR Bad data format", "{}", body.escape_ascii());
        }
    }

    /// Whatever the bytes: an answer, never a panic.
    #[test]
    fn damaged_payloads_are_read_or_refused() {
        let one = listpack(&[b"a", b"5", &[b'x'; 300]]);
        let bodies = [
            [&b"\x12\x02\x02"[..], &text(&one), b"\x01\x03abc"].concat(),
            [&b"\x0e\x01"[..], &text(ZIPLIST)].concat(),
            [&b"\x0a"[..], &text(ZIPLIST)].concat(),
            b"\x01\x02\x01a\xc0\x05".to_vec(),
        ];
        damage(&bodies, 1, 50_000, |body| {
            let payload = seal(body);
            let (kind, mut input) = crate::codec::rdb::open_within(&payload, 10_000).ok().unwrap();
            let _ = restore(kind, &mut input, WallMs(0));
        });
    }
}
