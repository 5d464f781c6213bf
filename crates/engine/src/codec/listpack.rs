//! Valkey's listpacks, as RDB payloads contain them.
//!
//! A listpack is `bytes (u32), elements (u16), element*, 0xff`; an element is a head with a number or a length, a
//! string's bytes, and the length of both in up to five bytes, for reading backwards. Everything is checked: the
//! lengths, the number of elements (65535: not counted), and the end.

use super::rdb::{decimal, take};

/// The number of elements that means "not counted".
const UNCOUNTED: u16 = u16::MAX;

/// The elements of a listpack; `None` if it contradicts itself.
pub(crate) fn read(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes;
    let size = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let count = u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?);
    let (end, elements) = bytes.split_last()?;
    if rest.is_empty() || *end != 0xff || size as usize != bytes.len() {
        return None;
    }
    let mut at = bytes.len() - rest.len();
    let mut found = Vec::new();
    while at < elements.len() {
        found.push(read_element(elements, &mut at)?);
    }
    (count == UNCOUNTED || usize::from(count) == found.len()).then_some(found)
}

/// Reads the element that starts at `at`, and moves `at` past it.
fn read_element(bytes: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let mut rest = bytes.get(*at..)?;
    let before = rest.len();
    let head = take(&mut rest, 1)?[0];
    let text = match head {
        0x00..=0x7f => decimal(i64::from(head)),
        0x80..=0xbf => take(&mut rest, usize::from(head & 0x3f))?.to_vec(),
        0xc0..=0xdf => {
            let number = i64::from(head & 0x1f) << 8 | i64::from(take(&mut rest, 1)?[0]);
            decimal(if number < 1 << 12 { number } else { number - (1 << 13) })
        }
        0xe0..=0xef => {
            let len = usize::from(head & 0x0f) << 8 | usize::from(take(&mut rest, 1)?[0]);
            take(&mut rest, len)?.to_vec()
        }
        0xf0 => {
            let len = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
            take(&mut rest, len as usize)?.to_vec()
        }
        0xf1..=0xf4 => {
            let size = [2, 3, 4, 8][usize::from(head - 0xf1)];
            let bytes = take(&mut rest, size)?;
            let sign = if bytes[size - 1] & 0x80 == 0 { 0 } else { 0xff };
            let mut wide = [sign; 8];
            wide[..size].copy_from_slice(bytes);
            decimal(i64::from_le_bytes(wide))
        }
        _ => return None,
    };
    let len = before - rest.len();
    let back = match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    take(&mut rest, back)?;
    *at += len + back;
    (read_backwards(&bytes[..*at]) == Some(len)).then_some(text)
}

/// Reads an element's length backwards, from its last byte: seven bits per byte, and the high bit says that another
/// byte precedes. This accepts what Valkey accepts, including superfluous bytes that add nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_element_is_read() {
        let long = [&[0xe1, 0x00][..], &[b'x'; 256], &[0x02, 0x82]].concat();
        let elements: [(&[u8], String); 9] = [
            (&[5, 1], "5".to_owned()),
            (&[0x82, b'a', b'b', 3], "ab".to_owned()),
            (&[0xc1, 0x00, 2], "256".to_owned()),
            (&[0xdf, 0xff, 2], "-1".to_owned()),
            (&[0xf1, 0x00, 0x80, 3], "-32768".to_owned()),
            (&[0xf2, 0xff, 0xff, 0x7f, 4], "8388607".to_owned()),
            (&[0xf3, 0, 0, 0, 0x80, 5], "-2147483648".to_owned()),
            (&[0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9], "4294967296".to_owned()),
            (&long, "x".repeat(256)),
        ];
        for (element, text) in elements {
            let mut at = 0;
            assert_eq!(read_element(element, &mut at), Some(text.into_bytes()));
            assert_eq!(at, element.len());
            for end in 0..element.len() {
                assert_eq!(read_element(&element[..end], &mut 0), None, "cut at {end}");
            }
        }
    }
}
