//! Makes inputs from others. The same generator makes the same input.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Bytes at which decoders change their mind.
const EDGES: [u8; 16] = [0, 1, 2, 9, 10, 13, 31, 32, 63, 64, 127, 128, 192, 253, 254, 255];
/// Numbers at which decoders change their mind, as text.
const NUMBERS: [&str; 17] = [
    "0",
    "-1",
    "1",
    "-0",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1e400",
];

/// Makes inputs for one target.
#[derive(Debug)]
pub struct Mutator {
    random: SmallRng,
    words: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Mutator {
    /// `words`: what inputs often contain. Inputs have at most `bytes_max` bytes.
    #[must_use]
    pub fn new(seed: u64, words: Vec<Vec<u8>>, bytes_max: usize) -> Mutator {
        Mutator { random: SmallRng::seed_from_u64(seed), words, bytes_max }
    }

    /// Makes the next input in `input`, from one or two of `corpus`. One in sixteen is only a few random bytes.
    pub fn next(&mut self, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
        input.clear();
        match corpus.choose(&mut self.random) {
            Some(base) if self.random.random_ratio(15, 16) => input.extend_from_slice(base),
            _ => {
                let length = self.random.random_range(0..=64.min(self.bytes_max));
                input.extend((0..length).map(|_| self.random.random::<u8>()));
            }
        }
        // Most inputs differ in little from one that is valid.
        let changes = 1 << self.random.random_range(0..4);
        for _ in 0..self.random.random_range(1..=changes) {
            self.change(corpus, input);
        }
        input.truncate(self.bytes_max);
    }

    fn change(&mut self, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        match self.random.random_range(0..14) {
            0 | 1 => self.replace(at, input, |random, byte| byte ^ 1 << random.random_range(0..8)),
            2 => self.replace(at, input, |random, _| random.random()),
            3 => self.replace(at, input, |random, _| *EDGES.choose(random).unwrap_or(&0)),
            4 => self.replace(at, input, |random, byte| byte.wrapping_add_signed(random.random_range(-3..=3))),
            5 => {
                let byte = self.random.random();
                input.insert(at, byte);
            }
            6 => {
                let end = self.end_after(at, input.len());
                input.drain(at..end);
            }
            7 => {
                let end = self.end_after(at, input.len());
                let copy = input[at..end].to_vec();
                let to = self.random.random_range(0..=input.len());
                input.splice(to..to, copy);
            }
            8 => input.truncate(at),
            9 => self.number(at, input),
            10 | 11 => self.word(at, input),
            12 => self.join(at, corpus, input),
            _ => self.varint(at, input),
        }
    }

    fn replace(&mut self, at: usize, input: &mut [u8], with: impl FnOnce(&mut SmallRng, u8) -> u8) {
        if let Some(byte) = input.get_mut(at) {
            *byte = with(&mut self.random, *byte);
        }
    }

    /// The end of a short piece that starts at `at`.
    fn end_after(&mut self, at: usize, length: usize) -> usize {
        let longest = (length - at).min(1 << self.random.random_range(0..7));
        at + self.random.random_range(0..=longest)
    }

    /// Replaces the digits at or after `at`, or inserts a number.
    fn number(&mut self, at: usize, input: &mut Vec<u8>) {
        let start = input[at..].iter().position(u8::is_ascii_digit).map_or(at, |digits| at + digits);
        let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS.choose(&mut self.random).copied().unwrap_or("0");
        input.splice(start..start + digits, number.bytes());
    }

    /// Inserts a word, or replaces one: what is between blanks or ends of lines.
    fn word(&mut self, at: usize, input: &mut Vec<u8>) {
        let Some(word) = self.words.choose(&mut self.random) else { return };
        let is_blank = |byte: &u8| byte.is_ascii_whitespace();
        let end = if self.random.random_bool(0.5) {
            input[at..].iter().position(is_blank).map_or(input.len(), |length| at + length)
        } else {
            at
        };
        let start = if end > at { input[..at].iter().rposition(is_blank).map_or(0, |blank| blank + 1) } else { at };
        input.splice(start..end, word.iter().copied());
    }

    /// Continues with the end of another input.
    fn join(&mut self, at: usize, corpus: &[Vec<u8>], input: &mut Vec<u8>) {
        let Some(other) = corpus.choose(&mut self.random) else { return };
        let from = self.random.random_range(0..=other.len());
        input.truncate(at);
        input.extend_from_slice(&other[from..]);
    }

    /// Writes a large number, in one of the forms of lengths.
    fn varint(&mut self, at: usize, input: &mut Vec<u8>) {
        let number: u64 = self.random.random::<u64>() >> self.random.random_range(0..64);
        let bytes = match self.random.random_range(0..4) {
            0 => number.to_le_bytes()[..2].to_vec(),
            1 => number.to_le_bytes()[..4].to_vec(),
            2 => number.to_be_bytes()[4..].to_vec(),
            _ => {
                let (mut rest, mut bytes) = (number, Vec::new());
                while rest >= 0x80 {
                    bytes.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
                bytes
            }
        };
        let end = (at + bytes.len()).min(input.len());
        input.splice(at..end, bytes);
    }
}
