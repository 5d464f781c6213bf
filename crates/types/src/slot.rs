//! Hash slots, as in Valkey's cluster specification ("Key distribution model", "Hash tags").

/// Number of hash slots.
pub const SLOTS: usize = 16_384;

/// One of [`SLOTS`] hash slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u16);

/// The part of a key that determines its slot: the text between the first `{` and the first `}` after it, if it is not
/// empty, otherwise the whole key.
#[must_use]
pub fn key_hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return key;
    };
    match key[open + 1..].iter().position(|&b| b == b'}') {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, modulo [`SLOTS`].
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(key_hash_tag(key)) & (SLOTS as u16 - 1))
}

/// CRC-16/XMODEM: polynomial 0x1021, start 0, not reflected. Processes eight bytes per step: the contribution of each
/// byte is looked up by the number of bytes that follow it, so the table reads do not depend on each other.
fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let whole = chunks.iter().fold(0u16, |crc, chunk| {
        let [high, low] = crc.to_be_bytes();
        let part = |place: usize, mask: u8| TABLES[7 - place][usize::from(chunk[place] ^ mask)];
        (2..8).fold(part(0, high) ^ part(1, low), |sum, place| sum ^ part(place, 0))
    });
    rest.iter().fold(whole, |crc, &byte| (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

/// `TABLES[n][byte]`: the sum of `byte` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[n - 1][byte];
            tables[n][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn every_length_sums_as_bit_by_bit() {
        let bytes: Vec<u8> = (0..100u32).map(|i| (i * i * 31 + 7) as u8).collect();
        for len in 0..bytes.len() {
            let mut crc = 0u16;
            for bit in (0..len * 8).map(|i| bytes[i / 8] >> (7 - i % 8) & 1) {
                let out = crc >> 15 ^ u16::from(bit);
                crc = crc << 1 ^ if out == 1 { 0x1021 } else { 0 };
            }
            assert_eq!(crc16(&bytes[..len]), crc, "{len}");
        }
    }

    #[test]
    fn known_slots() {
        assert_eq!(slot_of(b"foo"), Slot(12182));
        assert_eq!(slot_of(b"{foo}.bar"), Slot(12182));
        assert_eq!(slot_of(b"a{foo}{bar}"), Slot(12182));
    }

    #[test]
    fn an_empty_tag_is_no_tag() {
        assert_eq!(key_hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(key_hash_tag(b"foo{bar"), b"foo{bar");
    }
}
