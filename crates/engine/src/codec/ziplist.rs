//! Ziplists: the form of small lists, hashes and sorted sets in Redis before 7, which is only read.
//!
//! ```text
//! u32   length of the whole, bytes, little-endian
//! u32   offset of the last element
//! u16   number of elements; 65535: not counted
//! ..    elements
//! u8    0xff
//! ```
//!
//! An element is the length of the one before it (a byte below 254, or 254 and four bytes), a head, and the bytes of a
//! string or of a number. Everything is checked: the lengths, the offset, the number of elements, and the end.

use super::listpack::Packable;
use super::rdb::take;

const HEAD_BYTES: usize = 10;
const UNCOUNTED: u16 = u16::MAX;
const END: u8 = 0xff;
/// The first byte of the length of the element before, if it takes four more bytes.
const LONG: u8 = 254;

/// The elements, if everything is right.
pub(crate) fn open(ziplist: &[u8]) -> Option<Vec<Packable<'_>>> {
    let mut rest = ziplist;
    let size = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let last = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let claimed = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let (end, mut elements) = rest.split_last()?;
    if *end != END || size as usize != ziplist.len() {
        return None;
    }
    let (mut found, mut before, mut last_at) = (Vec::new(), 0, HEAD_BYTES);
    while !elements.is_empty() {
        let len = elements.len();
        last_at = ziplist.len() - 1 - len;
        if length_before(&mut elements)? != before {
            return None;
        }
        found.push(element(&mut elements)?);
        before = len - elements.len();
    }
    let is_counted = claimed == UNCOUNTED || usize::from(claimed) == found.len();
    (is_counted && last as usize == last_at).then_some(found)
}

fn length_before(rest: &mut &[u8]) -> Option<usize> {
    match take(rest, 1)?[0] {
        LONG => Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?) as usize),
        END => None,
        len => Some(usize::from(len)),
    }
}

fn element<'a>(rest: &mut &'a [u8]) -> Option<Packable<'a>> {
    let head = take(rest, 1)?[0];
    let number = |bytes: &[u8]| {
        let sign = if bytes[bytes.len() - 1] & 0x80 == 0 { 0 } else { 0xff };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Packable::Int(i64::from_le_bytes(wide))
    };
    Some(match head {
        0x00..=0x3f => Packable::Text(take(rest, usize::from(head))?),
        0x40..=0x7f => {
            let len = usize::from(head & 0x3f) << 8 | usize::from(take(rest, 1)?[0]);
            Packable::Text(take(rest, len)?)
        }
        0x80 => {
            let len = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
            Packable::Text(take(rest, len as usize)?)
        }
        0xc0 => number(take(rest, 2)?),
        0xd0 => number(take(rest, 4)?),
        0xe0 => number(take(rest, 8)?),
        0xf0 => number(take(rest, 3)?),
        0xfe => number(take(rest, 1)?),
        0xf1..=0xfd => Packable::Int(i64::from(head & 0x0f) - 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ziplist(elements: &[&[u8]], count: u16) -> Vec<u8> {
        let (mut body, mut before, mut last) = (Vec::new(), 0, HEAD_BYTES);
        for element in elements {
            last = HEAD_BYTES + body.len();
            let start = body.len();
            if before < 254 {
                body.push(before as u8);
            } else {
                body.push(LONG);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            }
            body.extend_from_slice(element);
            before = body.len() - start;
        }
        let size = (HEAD_BYTES + body.len() + 1) as u32;
        [&size.to_le_bytes()[..], &(last as u32).to_le_bytes(), &count.to_le_bytes(), &body, &[END]].concat()
    }

    #[test]
    fn every_form_of_an_element_is_read() {
        let medium = [&[0x41, 0x2c][..], &[b'm'; 300]].concat();
        let long = [&[0x80, 0, 0, 0x40, 0x00][..], &[b'l'; 16_384]].concat();
        let elements: [(&[u8], Vec<u8>); 10] = [
            (&[0x02, b'a', b'b'], b"ab".to_vec()),
            (&medium, vec![b'm'; 300]),
            (&long, vec![b'l'; 16_384]),
            (&[0xc0, 0x00, 0x80], b"-32768".to_vec()),
            (&[0xd0, 0, 0, 0, 0x80], b"-2147483648".to_vec()),
            (&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0], b"4294967296".to_vec()),
            (&[0xf0, 0xff, 0xff, 0x7f], b"8388607".to_vec()),
            (&[0xfe, 0xff], b"-1".to_vec()),
            (&[0xf1], b"0".to_vec()),
            (&[0xfd], b"12".to_vec()),
        ];
        let whole = ziplist(&elements.each_ref().map(|(bytes, _)| *bytes), 10);
        let read: Vec<Vec<u8>> = open(&whole).unwrap().into_iter().map(Packable::to_vec).collect();
        assert_eq!(read, elements.each_ref().map(|(_, text)| text.clone()));
        for end in 0..200 {
            assert_eq!(open(&whole[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn a_ziplist_that_contradicts_itself_is_refused() {
        let (a, b): (&[u8], &[u8]) = (&[0x01, b'a'], &[0x01, b'b']);
        assert_eq!(open(&ziplist(&[], 0)), Some(Vec::new()));
        assert_eq!(open(&ziplist(&[a, b], UNCOUNTED)).map(|found| found.len()), Some(2));
        for count in [0, 1, 3] {
            assert_eq!(open(&ziplist(&[a, b], count)), None, "{count}");
        }
        let right = ziplist(&[a, b], 2);
        for (at, byte) in [(0, 1), (4, 1), (13, 9), (14, 5), (right.len() - 1, 0)] {
            let mut wrong = right.clone();
            wrong[at] = byte;
            assert_eq!(open(&wrong), None, "byte {at}");
        }
    }
}
