//! The elements of Valkey's RDB files and of DUMP's payloads: frame, lengths, strings, LZF, checksum.
//!
//! A payload is `type, value, version (2 bytes), CRC-64 (8 bytes)`, numbers little-endian. A string is a length and its
//! bytes; or one of three integers; or bytes compressed by LZF, which are read and never written.
//!
//! Whatever Valkey refuses is refused: a wrong checksum, versions that it does not read, and contradictory contents. No
//! memory is allocated for lengths that a payload only claims, and the expanded size is bounded
//! ([`RESTORED_BYTES_MAX`](fastness_types::limits::RESTORED_BYTES_MAX)). Unlike Valkey, a value that claims to be so
//! long that it would extend into the footer is refused too.

use fastness_types::limits::VALUE_BYTES_MAX;

/// The RDB version of Valkey 9.
pub(crate) const VERSION: u16 = 80;

/// The versions that are read: those of Redis before Valkey was forked, and Valkey's own.
const READ: [std::ops::RangeInclusive<u16>; 2] = [1..=11, 80..=VERSION];
/// Version and checksum.
pub(crate) const FOOTER_BYTES: usize = 10;

/// Checks a payload, which may expand to `bytes_max` bytes; returns the RDB type of its value, and the value. Bytes
/// after the value are ignored, as in Valkey.
pub(crate) fn open_within(payload: &[u8], bytes_max: usize) -> Result<(u8, Input<'_>), PayloadError> {
    let mut input = open_body(payload, bytes_max)?;
    let [kind] = input.array()?;
    Ok((kind, input))
}

/// Checks a payload, which may expand to `bytes_max` bytes; returns everything before its footer.
pub(crate) fn open_body(payload: &[u8], bytes_max: usize) -> Result<Input<'_>, PayloadError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).map(|at| payload.split_at(at));
    let Some((body, footer)) = body else { return Err(PayloadError::Footer) };
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let crc = u64::from_le_bytes(footer[2..].try_into().expect("ten bytes less two"));
    if !READ.iter().any(|versions| versions.contains(&version)) || crc != crc64(&payload[..body.len() + 2]) {
        return Err(PayloadError::Footer);
    }
    Ok(Input { rest: body, left: bytes_max })
}

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// It has an unsupported version, is truncated, or is damaged.
    Footer,
    /// The checksum is right, but the contents are invalid.
    Format,
    /// It expands to more than [`RESTORED_BYTES_MAX`](fastness_types::limits::RESTORED_BYTES_MAX).
    TooLarge,
}

pub(crate) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write_len(text.len(), out);
    out.extend_from_slice(text);
}

pub(crate) fn write_len(len: usize, out: &mut Vec<u8>) {
    match len {
        len @ 0..=0x3f => out.push(len as u8),
        len @ 0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        len => {
            out.push(0x80);
            out.extend_from_slice(&u32::try_from(len).expect("values are at most 512 MB").to_be_bytes());
        }
    }
}

/// As [`write_len`], of a number that is no length of data.
pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    match u32::try_from(number) {
        Ok(number) => write_len(number as usize, out),
        Err(_) => {
            out.push(0x81);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// The rest of a payload, and how many more bytes it may expand to.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], PayloadError> {
        take(&mut self.rest, len).ok_or(PayloadError::Format)
    }

    /// A length, as before a string or a list.
    pub(crate) fn len(&mut self) -> Result<usize, PayloadError> {
        let len = self.number()?;
        usize::try_from(len).ok().filter(|len| *len <= VALUE_BYTES_MAX).ok_or(PayloadError::Format)
    }

    /// A number in the form of a length.
    pub(crate) fn number(&mut self) -> Result<u64, PayloadError> {
        let first = self.take(1)?[0];
        Ok(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.take(1)?[0]),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.array()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.array()?),
            // This marks another form of a string; where no string is expected, Valkey reads it as a length.
            3 => u64::from(first & 0x3f),
            _ => return Err(PayloadError::Format),
        })
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        self.take(N)?.try_into().map_err(|_| PayloadError::Format)
    }

    /// A string in any of its forms.
    pub(crate) fn text(&mut self) -> Result<Vec<u8>, PayloadError> {
        let text = match self.rest.first() {
            Some(0xc0) => decimal(i64::from(self.array::<2>()?[1] as i8)),
            Some(0xc1) => {
                let [_, number @ ..] = self.array::<3>()?;
                decimal(i64::from(i16::from_le_bytes(number)))
            }
            Some(0xc2) => {
                let [_, number @ ..] = self.array::<5>()?;
                decimal(i64::from(i32::from_le_bytes(number)))
            }
            Some(0xc3) => {
                self.take(1)?;
                let (compressed, len) = (self.len()?, self.len()?);
                let compressed = self.take(compressed)?;
                self.spend(len)?;
                return lzf(compressed, len).ok_or(PayloadError::Format);
            }
            Some(0xc4..) => return Err(PayloadError::Format),
            _ => {
                let len = self.len()?;
                let text = self.take(len)?;
                self.spend(len)?;
                return Ok(text.to_vec());
            }
        };
        self.spend(text.len())?;
        Ok(text)
    }

    /// Counts bytes against the bound of the expanded size.
    fn spend(&mut self, bytes: usize) -> Result<(), PayloadError> {
        self.left = self.left.checked_sub(bytes).ok_or(PayloadError::TooLarge)?;
        Ok(())
    }
}

pub(crate) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

pub(crate) fn decimal(number: i64) -> Vec<u8> {
    itoa::Buffer::new().format(number).as_bytes().to_vec()
}

/// Decompresses LZF. A control byte below 32 is followed by that many bytes plus one; any other repeats earlier output:
/// three bits of length (7: another byte of length follows), 13 bits of distance.
pub(crate) fn lzf(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len == 0 {
        // Any input is accepted: Valkey's decompressor returns 0 for an error, which equals the expected length here.
        return Some(Vec::new());
    }
    // No more capacity than the input can fill: a repeat makes at most 264 bytes of three.
    let mut out = Vec::with_capacity(len.min(input.len().saturating_mul(88)));
    while let Some((&control, rest)) = input.split_first() {
        input = rest;
        if control < 32 {
            out.extend_from_slice(take(&mut input, usize::from(control) + 1)?);
        } else {
            let mut repeat = usize::from(control >> 5);
            if repeat == 7 {
                repeat += usize::from(take(&mut input, 1)?[0]);
            }
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(take(&mut input, 1)?[0])) + 1;
            let from = out.len().checked_sub(distance)?;
            repeat_from(&mut out, from, repeat + 2);
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Appends a copy of the `count` bytes from `from` on, which may include bytes that this call appends.
pub(crate) fn repeat_from(out: &mut Vec<u8>, from: usize, count: usize) {
    let end = out.len() + count;
    if from + 1 == out.len() {
        return out.resize(end, out[from]);
    }
    while out.len() < end {
        let available = (out.len() - from).min(end - out.len());
        out.extend_from_within(from..from + available);
    }
}

/// Appends version and checksum.
pub(crate) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The checksum of Valkey's files, computed sixteen bytes at a time, because the shard waits for it: up to 512 MB.
static CRC: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_REDIS);

/// A checksum of bytes that come piece by piece.
pub(crate) type RunningCrc = crc::Digest<'static, u64, crc::Table<16>>;

/// Starts a checksum.
pub(crate) fn running_crc() -> RunningCrc {
    CRC.digest()
}

pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}
