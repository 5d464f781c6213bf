//! The digest of one key or part of a value; see [`crate::digest`].

use fastness_types::WallMs;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// The digest of one key or part, from as many pieces as its name and its text come in.
#[derive(Debug)]
pub struct Running(SipHasher13);

impl Running {
    /// Its name has so many bytes, and follows.
    #[must_use]
    pub fn of_name(len: usize) -> Running {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(len as u64);
        Running(hasher)
    }

    /// The next bytes of its name, or of its text.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The whole name of a key has been given; `of` is the number of its type.
    pub fn key_is_whole(&mut self, deadline: Option<WallMs>, of: u8) {
        // No deadline and deadline 0 are told apart by the length of what is written.
        if let Some(at) = deadline {
            self.0.write_u8(1);
            self.0.write_u64(at.0);
        } else {
            self.0.write_u8(0);
        }
        self.0.write_u8(of);
    }

    /// The whole name of a part has been given.
    pub fn part_is_whole(&mut self, deadline: Option<WallMs>) {
        self.0.write_u64(deadline.map_or(0, |at| at.0));
        self.0.write_u8(u8::from(deadline.is_some()));
    }

    /// A string's text follows.
    pub fn text_follows(&mut self, raw: bool) {
        self.0.write_u8(u8::from(raw));
    }

    /// A string's text, whole.
    pub fn text(&mut self, text: &[u8], raw: bool) {
        self.text_follows(raw);
        self.bytes(text);
    }

    /// The sum of the digests of its parts.
    pub fn parts(&mut self, sum: u128) {
        self.0.write(&sum.to_le_bytes());
    }

    /// All of it has been given.
    #[must_use]
    pub fn end(self) -> u128 {
        self.0.finish128().as_u128()
    }
}
