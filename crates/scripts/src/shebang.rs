//! The first line of a script or library: `#!lua …`.

use crate::options::ScriptError;
use crate::script::ScriptFlags;

/// The line and what comes after it, with its line end, so that line numbers stay what they are.
fn first_line(source: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', source)?;
    Some(source.split_at(end))
}

/// Splits a line into words as Valkey does: quoted words may contain blanks. `None` if a quote is not closed.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, length) = word(rest)?;
        words.push(word);
        rest = &rest[length..];
    }
}

/// One word and its length in the line.
fn word(line: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut word, mut quote, mut at) = (Vec::new(), None, 0);
    while let Some(&byte) = line.get(at) {
        at += 1;
        match (quote, byte) {
            (None, byte) if byte.is_ascii_whitespace() || byte == 0 => return Some((word, at)),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, byte) => word.push(byte),
            (Some(mark), byte) if byte == mark => {
                // A closing quote ends the word.
                let is_end = line.get(at).is_none_or(u8::is_ascii_whitespace);
                return is_end.then_some((word, at));
            }
            (Some(b'"'), b'\\') => at += escape(&line[at..], &mut word),
            (Some(b'\''), b'\\') if line.get(at) == Some(&b'\'') => {
                word.push(b'\'');
                at += 1;
            }
            (Some(_), byte) => word.push(byte),
        }
    }
    quote.is_none().then_some((word, at))
}

/// Appends what stands behind a backslash in double quotes; its length.
fn escape(rest: &[u8], word: &mut Vec<u8>) -> usize {
    let hex = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    if let (Some(b'x'), Some(high), Some(low)) = (rest.first(), hex(1), hex(2)) {
        word.push((high << 4 | low) as u8);
        return 3;
    }
    match rest.first() {
        Some(b'n') => word.push(b'\n'),
        Some(b'r') => word.push(b'\r'),
        Some(b't') => word.push(b'\t'),
        Some(b'b') => word.push(0x08),
        Some(b'a') => word.push(0x07),
        Some(byte) => word.push(*byte),
        None => return 0,
    }
    1
}

fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// The flags of a script, and its code without the first line if that is a `#!`.
pub(crate) fn script(source: &[u8]) -> Result<(ScriptFlags, &[u8]), ScriptError> {
    if !source.starts_with(b"#!") {
        return Ok((ScriptFlags { is_compatible: true, ..ScriptFlags::default() }, source));
    }
    let Some((line, code)) = first_line(source) else { return Err(ScriptError::new("Invalid script shebang")) };
    let words = words(line).unwrap_or_default();
    let Some((engine, options)) = words.split_first() else {
        return Err(ScriptError::new("Invalid engine in script shebang"));
    };
    let engine = engine.get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(ScriptError::new(format!("Could not find scripting engine '{}'", shown(engine))));
    }
    let mut flags = ScriptFlags::default();
    for option in options {
        let Some(list) = option.strip_prefix(b"flags=") else {
            return Err(ScriptError::new(format!("Unknown lua shebang option: {}", shown(option))));
        };
        if list.is_empty() {
            continue;
        }
        for flag in list.split(|byte| *byte == b',') {
            if !flags.set(flag) {
                return Err(ScriptError::new(format!("Unexpected flag in script shebang: {}", shown(flag))));
            }
        }
    }
    Ok((flags, code))
}

/// Whether a name may be that of a library or function.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What is wrong with a name that is none.
pub(crate) const WRONG_NAME: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// The name of a library, and its code without the first line.
pub(crate) fn library(code: &[u8]) -> Result<(Vec<u8>, &[u8]), ScriptError> {
    if !code.starts_with(b"#!") {
        return Err(ScriptError::new("Missing library metadata"));
    }
    let Some((line, rest)) = first_line(code) else { return Err(ScriptError::new("Invalid library metadata")) };
    let words = words(line).unwrap_or_default();
    let Some((engine, options)) = words.split_first() else { return Err(ScriptError::new("Invalid library metadata")) };
    let mut name: Option<&[u8]> = None;
    for option in options {
        match option.split_at_checked(5) {
            Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => {
                if name.replace(value).is_some() {
                    return Err(ScriptError::new("Invalid metadata value, name argument was given multiple times"));
                }
            }
            _ => return Err(ScriptError::new(format!("Invalid metadata value given: {}", shown(option)))),
        }
    }
    let Some(name) = name else { return Err(ScriptError::new("Library name was not given")) };
    if !is_name(name) {
        return Err(ScriptError::new(WRONG_NAME));
    }
    let engine = engine.get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(ScriptError::new(format!("Engine '{}' not found", shown(engine))));
    }
    Ok((name.to_vec(), rest))
}
