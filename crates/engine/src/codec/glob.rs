//! Glob patterns as KEYS, SCAN MATCH, COMMAND LIST PATTERN and CONFIG GET take them: `*`, `?`, `[a-c]`, `[^a-c]`, and
//! `\` to quote.
//!
//! Matches exactly what Valkey's `stringmatchlen` matches, also where that is odd: a class that is never closed ends
//! with the pattern, the bounds of a range may stand in either order, the empty text matches the empty pattern alone,
//! and a quoted member of a class keeps its case even where case is ignored. A match takes at most text × pattern steps
//! and does not recurse: only the last `*` is ever retried, because a longer match of an earlier one would only leave
//! less text for the later ones.

/// Whether `text` as a whole matches.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte)
}

/// As [`matches()`], with upper and lower case equal.
#[must_use]
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase())
}

fn run(mut pattern: &[u8], mut text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    // The pattern after the last star, and the text at which it was last tried.
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

/// The pattern after its first element, if that element matches `byte`.
fn one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    match *pattern {
        [] => None,
        [b'?', ref rest @ ..] => Some(rest),
        [b'[', ref rest @ ..] => class(rest, byte, fold),
        [b'\\', quoted, ref rest @ ..] | [quoted, ref rest @ ..] => (fold(quoted) == fold(byte)).then_some(rest),
    }
}

/// The pattern after a class, if `byte` is in the class; `pattern` starts after the opening bracket.
fn class(mut pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let folded = fold(byte);
    let mut found = false;
    loop {
        pattern = match *pattern {
            [b'\\', quoted, ref rest @ ..] => {
                found |= quoted == byte;
                rest
            }
            [b']', ref rest @ ..] => return (found != negated).then_some(rest),
            [] => return (found != negated).then_some(pattern),
            [from, b'-', to, ref rest @ ..] => {
                let (from, to) = (fold(from.min(to)), fold(from.max(to)));
                found |= (from..=to).contains(&folded);
                rest
            }
            [member, ref rest @ ..] => {
                found |= fold(member) == folded;
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
            ("max*", "maxmemory", true),
            ("max*y", "maxmemory-policy", true),
            ("max*x", "maxmemory", false),
            ("m?x", "max", true),
            ("m[a-c]x", "max", true),
            ("m[^a-c]x", "max", false),
            ("m[^b]x", "max", true),
            ("a", "", false),
            ("", "a", false),
            ("[", "[", false),
            ("[a-]", "a", true),
            ("[a-]", "-", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn patterns_that_ignore_case() {
        for (pattern, text, expected) in [
            ("ob[J]*", "OBJect", true),
            ("MAX*", "maxmemory", true),
            ("m[A-C]x", "max", true),
            ("m\\Ax", "max", true),
            ("m[\\A]x", "max", false),
            ("m[\\a]x", "max", true),
        ] {
            assert_eq!(matches_any_case(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(2_000);
        assert!(!matches(format!("{pattern}b").as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
