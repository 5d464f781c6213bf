//! The functions that a library registers, as they are stored with its code, so that a replica can list them and call
//! them by name without running the code first.
//!
//! # Format (frozen)
//! A varint, the number of functions; of each: the length and bytes of its name; a varint, 0 or the length of its
//! description plus 1, and its bytes; a varint, its flags.

use crate::codec::varint;

/// What a function has declared: Valkey's `no-writes`.
pub const NO_WRITES: u64 = 1;
/// `allow-oom`.
pub const ALLOW_OOM: u64 = 1 << 1;
/// `allow-stale`.
pub const ALLOW_STALE: u64 = 1 << 2;
/// `no-cluster`.
pub const NO_CLUSTER: u64 = 1 << 3;
/// `allow-cross-slot-keys`.
pub const ALLOW_CROSS_SLOT_KEYS: u64 = 1 << 4;

/// One function of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFunction {
    /// Its name.
    pub name: Vec<u8>,
    /// Its description, if it has one.
    pub description: Option<Vec<u8>>,
    /// The sum of its flags.
    pub flags: u64,
}

/// Encodes the functions of a library.
#[must_use]
pub fn encode(functions: &[StoredFunction]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(&mut out, functions.len() as u64);
    for StoredFunction { name, description, flags } in functions {
        varint::write(&mut out, name.len() as u64);
        out.extend_from_slice(name);
        varint::write(&mut out, description.as_ref().map_or(0, |text| text.len() as u64 + 1));
        out.extend_from_slice(description.as_deref().unwrap_or_default());
        varint::write(&mut out, *flags);
    }
    out
}

/// Decodes what [`encode`] has written; `None`: it is something else.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Vec<StoredFunction>> {
    let count = varint::read(&mut bytes).ok()?;
    let mut functions = Vec::new();
    for _ in 0..count {
        let name = take(&mut bytes, None)?;
        let described = varint::read(&mut bytes).ok()?;
        let description = match described {
            0 => None,
            length => Some(take(&mut bytes, Some(length - 1))?),
        };
        functions.push(StoredFunction { name, description, flags: varint::read(&mut bytes).ok()? });
    }
    bytes.is_empty().then_some(functions)
}

fn take(bytes: &mut &[u8], length: Option<u64>) -> Option<Vec<u8>> {
    let length = match length {
        Some(length) => length,
        None => varint::read(bytes).ok()?,
    };
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken.to_vec())
}
