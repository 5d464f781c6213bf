//! Rules as words: a selector may be spread over several arguments of ACL SETUSER, and may contain quoted words.
//!
//! Valkey reads most of a rule as a C string, which ends at a zero byte.

use std::borrow::Cow;

use crate::limits::RULE_BYTES_MAX;

/// Why arguments are no rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MergeError<'a> {
    /// The selector that starts with this argument is not closed.
    Unmatched(&'a [u8]),
    /// The selector that starts with this argument is too long.
    TooLong(&'a [u8]),
}

/// The part of a text that C's string functions see.
pub(crate) fn up_to_zero(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..end]
}

/// White space in C's locale: ASCII's, and the vertical tab.
pub(crate) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Whether a text could not be told from several words: it has white space or a zero byte.
pub(crate) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| is_space(*byte) || *byte == 0)
}

/// Whether a rule is a whole selector.
pub(crate) fn is_selector(rule: &[u8]) -> bool {
    rule.first() == Some(&b'(') && rule.last() == Some(&b')') && rule.len() >= 2
}

/// Joins the arguments of each selector with blanks, and leaves other arguments as they are.
pub(crate) fn merged<'a>(rules: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Cow<'a, [u8]>>, MergeError<'a>> {
    let mut merged = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for rule in rules {
        let closes = rule.last() == Some(&b')');
        match open.take() {
            None if rule.first() == Some(&b'(') && !closes => open = Some((rule, rule.to_vec())),
            None => merged.push(Cow::Borrowed(rule)),
            Some((first, mut text)) => {
                text.push(b' ');
                text.extend_from_slice(up_to_zero(rule));
                if text.len() > RULE_BYTES_MAX {
                    return Err(MergeError::TooLong(first));
                }
                if closes {
                    merged.push(Cow::Owned(text));
                } else {
                    open = Some((first, text));
                }
            }
        }
    }
    match open {
        Some((first, _)) => Err(MergeError::Unmatched(first)),
        None => Ok(merged),
    }
}

/// Splits a text into words at white space. `"a b"` quotes with escapes (`\n`, `\x41`), `'a b'` without. `None` if a
/// quote is not closed.
pub(crate) fn split(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = up_to_zero(text);
    let mut words = Vec::new();
    loop {
        let start = rest.iter().position(|byte| !is_space(*byte));
        let Some(start) = start else { return Some(words) };
        let (word, after) = word(&rest[start..])?;
        words.push(word);
        rest = after;
    }
}

/// The first word, and what follows it.
fn word(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        text = match *text {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, text)),
            [b'"', ref rest @ ..] => double_quoted(rest, &mut word)?,
            [b'\'', ref rest @ ..] => single_quoted(rest, &mut word)?,
            [byte, ref rest @ ..] => {
                word.push(byte);
                rest
            }
        };
    }
}

/// Appends what stands before the closing quote, and returns what follows it.
fn double_quoted<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match *text {
            [] => return None,
            [b'"', ref rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, ref rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(high) << 4 | hex_digit(low), rest)
            }
            [b'\\', escaped, ref rest @ ..] => (unescaped(escaped), rest),
            [byte, ref rest @ ..] => (byte, rest),
        };
        word.push(byte);
        text = rest;
    }
}

/// As [`double_quoted`]; only the quote itself can be escaped.
fn single_quoted<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match *text {
            [] => return None,
            [b'\'', ref rest @ ..] => return Some(rest),
            [b'\\', b'\'', ref rest @ ..] => (b'\'', rest),
            [byte, ref rest @ ..] => (byte, rest),
        };
        word.push(byte);
        text = rest;
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(text: &str) -> Option<Vec<String>> {
        let words = split(text.as_bytes())?;
        Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn words_may_be_quoted() {
        assert_eq!(split_text(" +get\t~a  "), Some(vec!["+get".into(), "~a".into()]));
        assert_eq!(split_text(r#""+get" '~\'a'"#), Some(vec!["+get".into(), "~'a".into()]));
        assert_eq!(split_text(r#"~"a"b"\x41\n\q""#), Some(vec!["~abA\nq".into()]));
        assert_eq!(split_text(r#""""#), Some(vec![String::new()]));
        assert_eq!(split_text(""), Some(vec![]));
        for unclosed in [r#""+get"#, "'", r#""\"#, r#"a "b\""#, "'\\'"] {
            assert_eq!(split_text(unclosed), None, "{unclosed}");
        }
    }

    #[test]
    fn a_selector_may_be_spread_over_arguments() {
        let rules = |words: &'static [&'static str]| {
            let merged = merged(words.iter().map(|word| word.as_bytes()))?;
            Ok(merged.iter().map(|rule| String::from_utf8_lossy(rule).into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            rules(&["on", "(+get", "", "~a)", "(+set)"]),
            Ok(vec!["on".into(), "(+get  ~a)".into(), "(+set)".into()])
        );
        assert_eq!(rules(&["(", ")"]), Ok(vec!["( )".into()]));
        assert_eq!(rules(&["()", ")"]), Ok(vec!["()".into(), ")".into()]));
        assert_eq!(rules(&["on", "(+get", "~a"]), Err(MergeError::Unmatched(b"(+get")));
        assert_eq!(rules(&["("]), Err(MergeError::Unmatched(b"(")));
    }

    #[test]
    fn a_spread_selector_is_bounded() {
        let words = vec![&b"~aaaaaaaaaaaaaaaa"[..]; RULE_BYTES_MAX];
        assert_eq!(merged([&b"("[..]].into_iter().chain(words)), Err(MergeError::TooLong(b"(")));
    }
}
