//! Glob patterns as Valkey matches them in CONFIG GET: `*`, `?`, `[…]`, `\`.
//!
//! Linear in memory and O(pattern × text) in time: a `*` is tried again from one place only, so no pattern explodes.

/// Whether the whole text matches.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the newest `*`: pattern behind it, and the text it has not swallowed yet.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if let Some(len) = one(&pattern[p..], text[t]) {
            p += len;
            t += 1;
        } else if let Some((behind, swallowed)) = star {
            star = Some((behind, swallowed + 1));
            p = behind;
            t = swallowed + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the pattern's first element if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => class(set, byte).map(|len| len + 1),
        [first, ..] => (*first == byte).then_some(1),
        [] => None,
    }
}

/// The length of a class behind its `[`, the `]` included, if `byte` is in it.
fn class(set: &[u8], byte: u8) -> Option<usize> {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &set[at.min(set.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [low, b'-', high, ..] if *high != b']' => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                found |= *member == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn as_valkey_matches() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("max*", "maxmemory", true),
            ("max*y", "maxmemory-policy", true),
            ("max*x", "maxmemory", false),
            ("m?x", "max", true),
            ("m[a-c]x", "max", true),
            ("m[^a-c]x", "max", false),
            ("m[^b]x", "max", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a", "", false),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern} {text}");
        }
    }
}
