//! Patterns of KEYS, SCAN, CONFIG GET and of ACL rules.

use fastness_engine::glob;

use super::input::{inputs, linear, words};
use crate::Target;

pub(super) const GLOB: Target = Target {
    name: "glob",
    what: "glob patterns: what Valkey's stringmatchlen matches, of which this target has a copy in Rust",
    bytes_max: 64,
    share: 150,
    seeds: || {
        inputs(&[
            b"\x05h[ae]*hallo",
            b"\x06a*b*c?axbycd",
            b"\x05[^a-]b",
            b"\x04[\\]]]",
            b"\x03\\*a*",
            b"\x08[c-a][-a-*\0a",
            b"\x0a*a*a*a*a*baaaaaaaaaaaaaaaa",
            b"\x03[\xff-\x80",
        ])
    },
    words: || words(&["*", "?", "[a-c]", "[^", "]", "\\", "-", "**"]),
    memory: linear,
    run: compare,
};

fn compare(input: &[u8]) -> bool {
    let Some((length, rest)) = input.split_first() else { return false };
    let (pattern, text) = rest.split_at(usize::from(*length).min(rest.len()));
    let matches = glob::matches(pattern, text);
    assert_eq!(matches, valkey(pattern, text, false, &mut false), "{:?}", pattern.escape_ascii().to_string());
    let any_case = glob::matches_any_case(pattern, text);
    assert_eq!(any_case, valkey(pattern, text, true, &mut false), "{:?}", pattern.escape_ascii().to_string());
    matches
}

fn fold(byte: u8, any_case: bool) -> u8 {
    if any_case { byte.to_ascii_lowercase() } else { byte }
}

/// `stringmatchlen_impl` of Valkey, step by step, with unsigned bytes as on ARM: on x86, where C's `char` is signed,
/// the bounds of a range with bytes from 128 on have another order.
fn valkey(mut pattern: &[u8], mut text: &[u8], any_case: bool, skip_longer: &mut bool) -> bool {
    while let (Some(&first), Some(&byte)) = (pattern.first(), text.first()) {
        match first {
            b'*' => return star(pattern, text, any_case, skip_longer),
            b'?' => {}
            b'[' => match class(&pattern[1..], byte, any_case) {
                (true, rest) => {
                    pattern = rest;
                    text = &text[1..];
                    if text.is_empty() {
                        pattern = without_stars(pattern);
                        break;
                    }
                    continue;
                }
                (false, _) => return false,
            },
            _ => {
                if first == b'\\' && pattern.len() >= 2 {
                    pattern = &pattern[1..];
                }
                if fold(pattern[0], any_case) != fold(byte, any_case) {
                    return false;
                }
            }
        }
        (pattern, text) = (&pattern[1..], &text[1..]);
        if text.is_empty() {
            pattern = without_stars(pattern);
            break;
        }
    }
    pattern.is_empty() && text.is_empty()
}

fn without_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    &pattern[stars..]
}

fn star(pattern: &[u8], mut text: &[u8], any_case: bool, skip_longer: &mut bool) -> bool {
    let rest = without_stars(pattern);
    if rest.is_empty() {
        return true;
    }
    while !text.is_empty() {
        if valkey(rest, text, any_case, skip_longer) {
            return true;
        }
        if *skip_longer {
            return false;
        }
        text = &text[1..];
    }
    *skip_longer = true;
    false
}

/// Whether a byte is in a class, and the pattern after the class.
fn class(mut pattern: &[u8], byte: u8, any_case: bool) -> (bool, &[u8]) {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    loop {
        match *pattern {
            [b'\\', quoted, ..] => {
                found |= quoted == byte;
                pattern = &pattern[2..];
            }
            [b']', ..] => return (found != negated, &pattern[1..]),
            [] => return (found != negated, pattern),
            [from, b'-', to, ..] => {
                let (from, to) = if from > to { (to, from) } else { (from, to) };
                let range = fold(from, any_case)..=fold(to, any_case);
                found |= range.contains(&fold(byte, any_case));
                pattern = &pattern[3..];
            }
            [member, ..] => {
                found |= fold(member, any_case) == fold(byte, any_case);
                pattern = &pattern[1..];
            }
        }
    }
}
