//! Numbers and bytes in the payload of an entry.

/// Why a payload is not a batch. Any of these in a committed entry stops the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The payload is truncated.
    #[error("a batch ends early")]
    Truncated,
    /// Written by a newer version.
    #[error("batch format version {0} is not known here")]
    Version(u8),
    /// A flag, kind or mode that this version does not know.
    #[error("batch field {0} has the unknown value {1}")]
    Unknown(&'static str, u8),
    /// A timestamp is lower than the preceding one, or out of range.
    #[error("the timestamps in a batch run backwards")]
    Timestamp,
    /// A mode unit without a mode, with effects, or with a version that is no number.
    #[error("a mode unit in a batch is malformed")]
    Mode,
    /// A time unit with anything but its timestamp.
    #[error("a time unit in a batch is malformed")]
    Time,
    /// A setting unit with effects or a mode, or whose record is no setting.
    #[error("a setting unit in a batch is malformed")]
    Setting,
    /// An idempotency record that is malformed, or belongs to a unit of a kind that has none.
    #[error("an idempotency record is malformed")]
    Record,
    /// Heads and effects do not add up.
    #[error("the lengths in a batch do not add up")]
    Length,
    /// A fragment that is malformed, or does not follow the one before.
    #[error("a fragment of a batch is malformed or out of place")]
    Fragment,
}

/// Appends a number as LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes numbers and bytes from the start of a slice.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BatchError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, BatchError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BatchError> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// Bytes after their length.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], BatchError> {
        let length = usize::try_from(self.varint()?).map_err(|_| BatchError::Length)?;
        self.take(length)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, BatchError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(BatchError::Length);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BatchError::Length)
    }
}
