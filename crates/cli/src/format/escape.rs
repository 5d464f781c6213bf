//! Replies without control characters: data must not be able to move the cursor, change the title of a window, or
//! pretend to be another output.

use std::fmt::Write;

/// Whether a character is shown as it is. Not: control characters, and those that change the direction or the order of
/// what is shown.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// A string in quotes, which can be typed as an argument.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                c if is_shown(c) => out.push(c),
                c => push_escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_escaped(&mut out, chunk.invalid());
    }
    out.push('"');
    out
}

/// A text of one line.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if is_shown(c) => out.push(c),
                c => push_escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_escaped(&mut out, chunk.invalid());
    }
    out
}

/// A text of several lines; tabs stay.
#[must_use]
pub fn lines(bytes: &[u8]) -> String {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.split(|byte| *byte == b'\t').map(text).collect::<Vec<_>>().join("\t")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use fastness_resp::request::split_line;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(quoted(b"a\x1b[2J\x07\x00\x7f"), r#""a\x1b[2J\a\x00\x7f""#);
        assert_eq!(quoted("m\u{fc}sli \u{9b}1m \u{202e}x".as_bytes()), "\"m\u{fc}sli \\xc2\\x9b1m \\xe2\\x80\\xaex\"");
        assert_eq!(quoted(b"\xff\xc3"), r#""\xff\xc3""#);
        assert_eq!(text(b"OK\x1b]0;x\x07\r\n"), r"OK\x1b]0;x\x07\x0d\x0a");
        assert_eq!(lines(b"a:1\r\nb\t2\x1b\n"), "a:1\nb\t2\\x1b\n");
    }

    #[test]
    fn a_quoted_string_can_be_typed() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"it's \"x\"", "\u{fc}\u{202e}\u{1f600}".as_bytes()] {
            assert_eq!(split_line(quoted(bytes).as_bytes()), Some(vec![bytes.to_vec()]));
        }
    }
}
