//! Listpacks: Valkey's form of a small list, hash or set as one run of bytes.
//!
//! ```text
//! u32   length of the whole, bytes, little-endian
//! u16   number of elements; 65535: not counted
//! ..    elements
//! u8    0xff
//! ```
//!
//! An element is a head with a number or a length, a string's bytes, and the length of both in up to five bytes, for
//! reading backwards. A text that is the decimal form of a 64-bit integer is always written as a number, so that equal
//! texts have equal bytes.

use super::rdb::take;
use fastness_resp::number;

/// Bytes of a listpack beside its elements.
pub(crate) const FRAME_BYTES: usize = 7;
/// The number of elements that means "not counted".
const UNCOUNTED: u16 = u16::MAX;
const END: u8 = 0xff;

/// An element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packable<'a> {
    /// The decimal form of this number.
    Int(i64),
    /// Any other text.
    Text(&'a [u8]),
}

impl<'a> Packable<'a> {
    /// The text, which is written into `buffer` if it is a number.
    #[inline]
    pub(crate) fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Packable::Int(number) => number::int_text(number, buffer),
            Packable::Text(text) => text,
        }
    }

    /// A copy of the text.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }
}

/// Appends a text as an element.
pub(crate) fn push(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match number::parse_int(text) {
        Some(number) => push_int(number, out),
        None => {
            match text.len() {
                len @ 0..=0x3f => out.push(0x80 | len as u8),
                len @ 0x40..=0xfff => out.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
                len => {
                    out.push(0xf0);
                    out.extend_from_slice(&(len as u32).to_le_bytes());
                }
            }
            out.extend_from_slice(text);
        }
    }
    let len = out.len() - start;
    push_back_length(len, out);
}

/// Appends a number as an element.
pub(crate) fn push_number(number: i64, out: &mut Vec<u8>) {
    let start = out.len();
    push_int(number, out);
    let len = out.len() - start;
    push_back_length(len, out);
}

fn push_int(number: i64, out: &mut Vec<u8>) {
    let wide = number.to_le_bytes();
    match number {
        0..=127 => out.push(number as u8),
        -4096..=4095 => out.extend_from_slice(&[0xc0 | (number >> 8) as u8 & 0x1f, number as u8]),
        -0x8000..=0x7fff => {
            out.push(0xf1);
            out.extend_from_slice(&wide[..2]);
        }
        -0x80_0000..=0x7f_ffff => {
            out.push(0xf2);
            out.extend_from_slice(&wide[..3]);
        }
        -0x8000_0000..=0x7fff_ffff => {
            out.push(0xf3);
            out.extend_from_slice(&wide[..4]);
        }
        _ => {
            out.push(0xf4);
            out.extend_from_slice(&wide);
        }
    }
}

/// How many bytes the length for reading backwards takes.
fn back_length(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Seven bits per byte, the highest first; the high bit of all but the first says that another byte precedes.
fn push_back_length(len: usize, out: &mut Vec<u8>) {
    let count = back_length(len);
    for at in (0..count).rev() {
        let bits = (len >> (7 * at)) as u8 & 0x7f;
        out.push(if at + 1 == count { bits } else { bits | 0x80 });
    }
}

/// Reads a length backwards, from its last byte. This accepts what Valkey accepts, including superfluous bytes that add
/// nothing.
fn read_backwards(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, byte) in bytes.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

/// The first of these elements, and the bytes that it takes.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> Option<(Packable<'_>, usize)> {
    let (&head, mut rest) = bytes.split_first()?;
    let element = match head {
        0x00..=0x7f => Packable::Int(i64::from(head)),
        0x80..=0xbf => Packable::Text(take(&mut rest, usize::from(head & 0x3f))?),
        0xc0..=0xdf => {
            let number = i64::from(head & 0x1f) << 8 | i64::from(take(&mut rest, 1)?[0]);
            Packable::Int(if number < 1 << 12 { number } else { number - (1 << 13) })
        }
        0xe0..=0xef => {
            let len = usize::from(head & 0x0f) << 8 | usize::from(take(&mut rest, 1)?[0]);
            Packable::Text(take(&mut rest, len)?)
        }
        0xf0 => {
            let len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
            Packable::Text(take(&mut rest, len as usize)?)
        }
        0xf1..=0xf4 => {
            let size = [2, 3, 4, 8][usize::from(head - 0xf1)];
            let bytes = take(&mut rest, size)?;
            let sign = if bytes[size - 1] & 0x80 == 0 { 0 } else { 0xff };
            let mut wide = [sign; 8];
            wide[..size].copy_from_slice(bytes);
            Packable::Int(i64::from_le_bytes(wide))
        }
        _ => return None,
    };
    let len = bytes.len() - rest.len();
    take(&mut rest, back_length(len))?;
    Some((element, bytes.len() - rest.len()))
}

/// The last of these elements, and the bytes that it takes.
pub(crate) fn last(bytes: &[u8]) -> Option<(Packable<'_>, usize)> {
    let len = read_backwards(bytes)?;
    let from = bytes.len().checked_sub(len + back_length(len))?;
    first(&bytes[from..])
}

/// Every element, until the end or the first that is damaged.
pub(crate) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = Packable<'_>> {
    std::iter::from_fn(move || {
        let (element, len) = first(bytes)?;
        bytes = &bytes[len..];
        Some(element)
    })
}

/// As [`elements`], last first.
pub(crate) fn elements_back(mut bytes: &[u8]) -> impl Iterator<Item = Packable<'_>> {
    std::iter::from_fn(move || {
        let (element, len) = last(bytes)?;
        bytes = &bytes[..bytes.len() - len];
        Some(element)
    })
}

/// The number of these elements; `None` if they are damaged, or cannot be read backwards.
pub(crate) fn count(mut bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (_, len) = first(bytes)?;
        let (element, rest) = bytes.split_at(len);
        let back = read_backwards(element)?;
        if back + back_length(back) != len {
            return None;
        }
        count += 1;
        bytes = rest;
    }
    Some(count)
}

/// The elements of a listpack and their number, if everything is right: the lengths, the number, and the end.
pub(crate) fn open(listpack: &[u8]) -> Option<(&[u8], usize)> {
    let mut rest = listpack;
    let size = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let claimed = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let (end, elements) = rest.split_last()?;
    if *end != END || size as usize != listpack.len() {
        return None;
    }
    let count = count(elements)?;
    (claimed == UNCOUNTED || usize::from(claimed) == count).then_some((elements, count))
}

/// Appends a listpack of `count` elements.
pub(crate) fn frame(elements: &[u8], count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&((elements.len() + FRAME_BYTES) as u32).to_le_bytes());
    let count = u16::try_from(count).unwrap_or(UNCOUNTED);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(elements);
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_element_is_written_and_read() {
        let long = [&[0xe1, 0x00][..], &[b'x'; 256], &[0x02, 0x82]].concat();
        let elements: [(&[u8], String); 11] = [
            (&[5, 1], "5".to_owned()),
            (&[0x80, 1], String::new()),
            (&[0x82, b'a', b'b', 3], "ab".to_owned()),
            (&[0xc1, 0x00, 2], "256".to_owned()),
            (&[0xdf, 0xff, 2], "-1".to_owned()),
            (&[0xf1, 0x00, 0x80, 3], "-32768".to_owned()),
            (&[0xf2, 0xff, 0xff, 0x7f, 4], "8388607".to_owned()),
            (&[0xf3, 0, 0, 0, 0x80, 5], "-2147483648".to_owned()),
            (&[0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9], "4294967296".to_owned()),
            (&[0x82, b'0', b'1', 3], "01".to_owned()),
            (&long, "x".repeat(256)),
        ];
        for (bytes, text) in elements {
            let (element, len) = first(bytes).unwrap();
            assert_eq!((element.to_vec(), len), (text.clone().into_bytes(), bytes.len()));
            assert_eq!((last(bytes), count(bytes)), (Some((element, len)), Some(1)));
            let mut written = Vec::new();
            push(text.as_bytes(), &mut written);
            assert_eq!(written, bytes, "{text}");
            for end in 0..bytes.len() {
                assert_eq!(first(&bytes[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn elements_of_any_length_are_read_from_both_ends() {
        for len in [0, 63, 64, 125, 126, 127, 4_095, 4_096, 16_377, 16_378, 16_379, 2_097_145, 2_097_146, 2_097_147] {
            let text = vec![b'y'; len];
            let mut bytes = Vec::new();
            push(b"before", &mut bytes);
            let start = bytes.len();
            push(&text, &mut bytes);
            assert_eq!(last(&bytes), Some((Packable::Text(&text), bytes.len() - start)), "{len}");
            assert_eq!(count(&bytes), Some(2), "{len}");
        }
        for number in [0, 127, 128, -1, 4_095, 4_096, -4_096, -4_097, 32_767, 32_768, -32_769, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            push(number.to_string().as_bytes(), &mut bytes);
            assert_eq!(first(&bytes), Some((Packable::Int(number), bytes.len())), "{number}");
        }
    }

    /// Found: a listpack with a wrong header or wrong elements was read up to the error.
    #[test]
    fn a_listpack_that_contradicts_itself_is_refused() {
        let listpack = |count: u16, elements: &[u8]| {
            let size = 7 + elements.len() as u32;
            [&size.to_le_bytes()[..], &count.to_le_bytes(), elements, &[0xff]].concat()
        };
        let whole = &[0x81, b'a', 2, 0x81, b'1', 2][..];
        assert_eq!(open(&listpack(2, whole)), Some((whole, 2)));
        assert_eq!(open(&listpack(UNCOUNTED, whole)), Some((whole, 2)));
        let mut framed = Vec::new();
        frame(whole, 2, &mut framed);
        assert_eq!(framed, listpack(2, whole));
        for count in [0, 1, 3, 4] {
            assert_eq!(open(&listpack(count, whole)), None, "{count}");
        }
        assert_eq!(open(&listpack(2, &[0x81, b'a', 3, 0x81, b'1', 2])), None, "a length backwards");
        assert_eq!(open(&listpack(2, &[0x81, b'a', 0x82, 0x81, b'1', 2])), None, "a length that does not end");
        assert_eq!(open(&listpack(3, &[whole, &[0xff]].concat())), None, "an end before the end");
        assert_eq!(open(&[&listpack(2, whole)[..], &[0]].concat()), None, "bytes after the end");
        assert_eq!(open(&[7, 0, 0, 0, 0, 0]), None, "no end");
    }
}
