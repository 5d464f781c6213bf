//! The digest of one key or part of a value; see [`crate::digest`].

use fastness_types::WallMs;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A digest of one key or part that is being computed, from a name and a text given in pieces.
#[derive(Debug)]
pub struct Running(SipHasher13);

impl Running {
    /// Starts with the length of the name, whose bytes follow.
    #[must_use]
    pub fn of_name(len: usize) -> Running {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(len as u64);
        Running(hasher)
    }

    /// Adds the next bytes of the name, or of the text.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Ends the name of a key; `of` is the number of its type.
    pub fn key_is_whole(&mut self, deadline: Option<WallMs>, of: u8) {
        // No deadline and deadline 0 differ in the number of bytes written.
        if let Some(at) = deadline {
            self.0.write_u8(1);
            self.0.write_u64(at.0);
        } else {
            self.0.write_u8(0);
        }
        self.0.write_u8(of);
    }

    /// Ends the name of a part.
    pub fn part_is_whole(&mut self, deadline: Option<WallMs>) {
        self.0.write_u64(deadline.map_or(0, |at| at.0));
        self.0.write_u8(u8::from(deadline.is_some()));
    }

    /// Starts the text of a string.
    pub fn text_follows(&mut self, raw: bool) {
        self.0.write_u8(u8::from(raw));
    }

    /// Adds the whole text of a string.
    pub fn text(&mut self, text: &[u8], raw: bool) {
        self.text_follows(raw);
        self.bytes(text);
    }

    /// Adds the sum of the digests of a value's parts.
    pub fn parts(&mut self, sum: u128) {
        self.0.write(&sum.to_le_bytes());
    }

    /// The digest.
    #[must_use]
    pub fn end(self) -> u128 {
        self.0.finish128().as_u128()
    }
}
