//! DUMP payloads of an adversary: few bytes that expand to many, and payloads that lie.
//!
//! They are encoded here and not by the engine, because the code under test must not make its own input.

/// The RDB version of Valkey 9.
pub const VERSION: u16 = 80;
/// Length of one LZF repeat: the bytes that it expands to.
const REPEAT: usize = 264;
const REPEAT_BYTES: [u8; 3] = [0xe0, 0xff, 0x00];

/// The payload of a string of about `len` equal bytes: 3 bytes for each 264.
#[must_use]
pub fn bomb(len: usize) -> Vec<u8> {
    let repeats = len.div_ceil(REPEAT);
    // A literal of one byte, followed by repeats of the byte before.
    let mut compressed = vec![0x00, b'A'];
    (0..repeats).for_each(|_| compressed.extend_from_slice(&REPEAT_BYTES));
    let mut payload = vec![0x00, 0xc3];
    write_len(compressed.len(), &mut payload);
    write_len(1 + repeats * REPEAT, &mut payload);
    payload.append(&mut compressed);
    sealed(&payload, VERSION)
}

/// Adds a footer with this version and the correct checksum to any value.
#[must_use]
pub fn sealed(value: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [value, &version.to_le_bytes()].concat();
    let crc = crc64(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// Length of the string in [`bomb`].
#[must_use]
pub fn bomb_len(len: usize) -> usize {
    1 + len.div_ceil(REPEAT) * REPEAT
}

fn write_len(len: usize, out: &mut Vec<u8>) {
    out.push(0x80);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

/// CRC-64 as in Valkey (Jones, reflected, initial value 0).
fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| {
        let mut crc = crc ^ u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_small_and_has_a_checksum() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let payload = bomb(1_000_000);
        assert!(payload.len() * 80 < bomb_len(1_000_000), "{} bytes", payload.len());
        let (body, crc) = payload.split_at(payload.len() - 8);
        assert_eq!(crc64(body).to_le_bytes(), crc);
    }
}
