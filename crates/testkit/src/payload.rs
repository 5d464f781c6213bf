//! DUMP payloads that an adversary makes: few bytes that stand for many, and such as lie.
//!
//! Written here anew instead of asked of the engine, because what is tested must not make its own input.

/// The RDB version of Valkey 9.
pub const VERSION: u16 = 80;
/// Bytes that one repeat of LZF stands for, and takes.
const REPEAT: usize = 264;
const REPEAT_BYTES: [u8; 3] = [0xe0, 0xff, 0x00];

/// The payload of a string of about `len` bytes, all the same: 3 bytes for 264.
#[must_use]
pub fn bomb(len: usize) -> Vec<u8> {
    let repeats = len.div_ceil(REPEAT);
    // A literal of one byte, and then repeats of the byte before.
    let mut compressed = vec![0x00, b'A'];
    (0..repeats).for_each(|_| compressed.extend_from_slice(&REPEAT_BYTES));
    let mut payload = vec![0x00, 0xc3];
    write_len(compressed.len(), &mut payload);
    write_len(1 + repeats * REPEAT, &mut payload);
    payload.append(&mut compressed);
    sealed(&payload, VERSION)
}

/// A value, whatever it is, with a footer of this version and the checksum that is right.
#[must_use]
pub fn sealed(value: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [value, &version.to_le_bytes()].concat();
    let crc = crc64(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// How long the string of [`bomb`] is.
#[must_use]
pub fn bomb_len(len: usize) -> usize {
    1 + len.div_ceil(REPEAT) * REPEAT
}

fn write_len(len: usize, out: &mut Vec<u8>) {
    out.push(0x80);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

/// CRC-64 as Valkey has it (Jones, reflected, from 0).
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
