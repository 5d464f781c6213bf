//! Ziplists: what Redis before 7 wrote in the place of [listpacks](super::listpack), as RDB payloads contain them.
//!
//! A ziplist is `bytes (u32), offset of the last element (u32), elements (u16), element*, 0xff`; an element is the
//! length of the one before, a head with a number or a length, and a string's or number's bytes. Everything is checked:
//! the lengths, the number of elements (65535: not counted), and the end.

use super::rdb::{decimal, take};

/// Bytes before the first element.
const HEAD: usize = 10;
/// The number of elements that means "not counted".
const UNCOUNTED: u16 = u16::MAX;
/// The length of the element before that means that four bytes with it follow.
const LONG: u8 = 0xfe;

/// The elements of a ziplist; `None` if it contradicts itself.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes;
    let size = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) as usize;
    let last = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) as usize;
    let count = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let (end, elements) = rest.split_last()?;
    if *end != 0xff || size != bytes.len() {
        return None;
    }
    let mut rest = elements;
    let (mut found, mut before, mut place) = (Vec::new(), 0, HEAD);
    while !rest.is_empty() {
        place = bytes.len() - 1 - rest.len();
        let start = rest.len();
        if read_length_before(&mut rest)? != before {
            return None;
        }
        found.push(read_element(&mut rest)?);
        before = start - rest.len();
    }
    let is_counted = count == UNCOUNTED || usize::from(count) == found.len();
    (is_counted && last == place).then_some(found)
}

fn read_length_before(rest: &mut &[u8]) -> Option<usize> {
    match take(rest, 1)?[0] {
        LONG => Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?) as usize),
        0xff => None,
        len => Some(usize::from(len)),
    }
}

fn read_element(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let head = take(rest, 1)?[0];
    let integer_bytes = match head {
        0x00..=0x3f => return Some(take(rest, usize::from(head))?.to_vec()),
        0x40..=0x7f => {
            let len = usize::from(head & 0x3f) << 8 | usize::from(take(rest, 1)?[0]);
            return Some(take(rest, len)?.to_vec());
        }
        0x80 => {
            let len = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?) as usize;
            return Some(take(rest, len)?.to_vec());
        }
        0xf1..=0xfd => return Some(decimal(i64::from(head - 0xf1))),
        0xfe => 1,
        0xc0 => 2,
        0xf0 => 3,
        0xd0 => 4,
        0xe0 => 8,
        _ => return None,
    };
    let number = take(rest, integer_bytes)?;
    let sign = if number[integer_bytes - 1] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 8];
    wide[..integer_bytes].copy_from_slice(number);
    Some(decimal(i64::from_le_bytes(wide)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ziplist of these elements, each without the length of the one before.
    fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
        let (mut body, mut before, mut last) = (Vec::new(), 0usize, HEAD);
        for element in elements {
            last = HEAD + body.len();
            let start = body.len();
            if before < usize::from(LONG) {
                body.push(before as u8);
            } else {
                body.push(LONG);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            }
            body.extend_from_slice(element);
            before = body.len() - start;
        }
        let size = (HEAD + body.len() + 1) as u32;
        let count = (elements.len() as u16).to_le_bytes();
        [&size.to_le_bytes()[..], &(last as u32).to_le_bytes(), &count, &body, &[0xff]].concat()
    }

    #[test]
    fn every_form_of_an_element_is_read() {
        let long = [&[0x41, 0x2c][..], &[b'x'; 300]].concat();
        let longest = [&[0x80, 0, 0, 0x41, 0x00][..], &[b'y'; 0x4100]].concat();
        let elements: [(&[u8], String); 11] = [
            (&[0x02, b'a', b'b'], "ab".to_owned()),
            (&[0x00], String::new()),
            (&[0xf1], "0".to_owned()),
            (&[0xfd], "12".to_owned()),
            (&[0xfe, 0x80], "-128".to_owned()),
            (&[0xc0, 0x00, 0x80], "-32768".to_owned()),
            (&[0xf0, 0xff, 0xff, 0x7f], "8388607".to_owned()),
            (&[0xd0, 0, 0, 0, 0x80], "-2147483648".to_owned()),
            (&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0], "4294967296".to_owned()),
            (&long, "x".repeat(300)),
            (&longest, "y".repeat(0x4100)),
        ];
        let bytes = ziplist(&elements.each_ref().map(|(element, _)| *element));
        let texts: Vec<Vec<u8>> = elements.into_iter().map(|(_, text)| text.into_bytes()).collect();
        assert_eq!(read(&bytes), Some(texts));
        assert_eq!(read(&ziplist(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_ziplist_that_contradicts_itself_is_refused() {
        let bytes = ziplist(&[&[0x01, b'a'], &[0xf2], &[0xfe, 5]]);
        assert_eq!(read(&bytes).map(|elements| elements.len()), Some(3));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "cut at {end}");
        }
        // The size, the last element, the count, a length before, and the end.
        for at in [0, 4, 8, 13, bytes.len() - 1] {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(read(&wrong), None, "byte {at}");
        }
    }
}
