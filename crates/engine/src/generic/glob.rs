//! Glob patterns as KEYS, SCAN MATCH and COMMAND LIST PATTERN take them: `*`, `?`, `[a-c^]`, `\` to quote.
//!
//! Follows Valkey where patterns are odd: a class that is never closed ends with the pattern, a reversed range is
//! turned round, and the empty text matches the empty pattern alone. Runs in text × pattern steps at most, without
//! recursion: only the last `*` is ever tried again, because an earlier one could only give the later ones less text.

/// Whether `text` as a whole matches.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte)
}

/// The same for letters of either case.
#[must_use]
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn run(mut pattern: &[u8], mut text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    // What follows the last star, and the text from which it was last tried.
    let mut again: Option<(&[u8], &[u8])> = None;
    if text.is_empty() {
        return pattern.is_empty();
    }
    loop {
        if text.is_empty() {
            let rest = pattern.iter().position(|byte| *byte != b'*').map_or(&[][..], |at| &pattern[at..]);
            if rest.is_empty() {
                return true;
            }
        } else if pattern.first() == Some(&b'*') {
            let Some(at) = pattern.iter().position(|byte| *byte != b'*') else { return true };
            pattern = &pattern[at..];
            again = Some((pattern, text));
            continue;
        } else if let Some(rest) = one(pattern, text[0], fold) {
            pattern = rest;
            text = &text[1..];
            continue;
        }
        let Some((after_star, from)) = again else { return false };
        if from.len() <= 1 {
            return false;
        }
        (pattern, text) = (after_star, &from[1..]);
        again = Some((pattern, text));
    }
}

/// The pattern behind its first element, if that element matches `byte`.
fn one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    match *pattern {
        [] => None,
        [b'?', ref rest @ ..] => Some(rest),
        [b'[', ref rest @ ..] => class(rest, byte, fold),
        [b'\\', quoted, ref rest @ ..] | [quoted, ref rest @ ..] => (fold(quoted) == fold(byte)).then_some(rest),
    }
}

/// `pattern` stands behind the opening bracket.
fn class(mut pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let byte = fold(byte);
    let mut found = false;
    loop {
        pattern = match *pattern {
            [b'\\', quoted, ref rest @ ..] => {
                found |= fold(quoted) == byte;
                rest
            }
            [b']', ref rest @ ..] => return (found != negated).then_some(rest),
            [] => return (found != negated).then_some(pattern),
            [from, b'-', to, ref rest @ ..] => {
                let (from, to) = (fold(from.min(to)), fold(from.max(to)));
                found |= (from..=to).contains(&byte);
                rest
            }
            [member, ref rest @ ..] => {
                found |= fold(member) == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*aab", "aaaaab", true),
            ("?", "a", true),
            ("?", "", false),
            ("??", "a", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a", "ha", true),
            ("[]", "]", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
        assert!(matches_any_case(b"ob[J]*", b"OBJect"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(2_000);
        assert!(!matches(format!("{pattern}b").as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
