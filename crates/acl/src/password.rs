//! Passwords: only their SHA-256 is kept.

use std::hint::black_box;

use ring::digest::{SHA256, digest};

use crate::rule_error::RuleProblem;

/// The SHA-256 of a password.
pub(crate) type PasswordHash = [u8; 32];

/// The hash of a password.
pub(crate) fn hash_of(password: &[u8]) -> PasswordHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, password).as_ref());
    hash
}

/// Reads a hash in lower-case hexadecimal.
pub(crate) fn parse(text: &[u8]) -> Result<PasswordHash, RuleProblem> {
    let mut hash = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(RuleProblem::BadHash);
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(hash)
}

fn digit(digit: u8) -> Result<u8, RuleProblem> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(RuleProblem::BadHash),
    }
}

/// Appends a hash as [`parse`] reads it.
pub(crate) fn write(hash: &PasswordHash, text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in hash {
        text.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Whether one of the hashes is that of the password. Takes the same time whichever it is, and wherever they differ.
pub(crate) fn matches(hashes: &[PasswordHash], password: &[u8]) -> bool {
    let given = hash_of(password);
    let mut found = false;
    for hash in hashes {
        let difference = hash.iter().zip(&given).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
        found |= black_box(difference) == 0;
    }
    found
}
