//! Hash slots, as in Valkey's cluster specification ("Key distribution model", "Hash tags").

/// Number of hash slots.
pub const SLOTS: usize = 16_384;

/// One of [`SLOTS`] hash slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u16);

/// The part of a key that decides its slot: what stands between the first `{` and the first `}` after it, if that
/// is not empty, else the whole key.
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

/// CRC-16/XMODEM: polynomial 0x1021, start 0, not reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &b| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ b)])
}

const TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
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
