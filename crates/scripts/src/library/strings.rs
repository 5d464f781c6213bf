//! The functions of `string` that use patterns, and `string.rep`.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Value};

use super::STRING_BYTES_MAX;
use super::pattern::{Capture, Matcher};
use crate::coroutine::Link;
use crate::sandbox::native::{Arguments, Raise, Registry, function_of_sandbox, text};

/// A position in a string, counted from 1 or backwards from its end, as one counted from 0, within the string.
fn position(number: i64, length: usize) -> usize {
    let from_start = if number < 0 { number.saturating_add(length as i64).max(-1) } else { number - 1 };
    usize::try_from(from_start).unwrap_or(0).min(length)
}

fn capture(lua: &Lua, subject: &[u8], capture: Capture) -> Result<Value, Raise> {
    match capture {
        Capture::Open(_) => text("unfinished capture"),
        Capture::Position(at) => Ok(Value::Number((at + 1) as f64)),
        Capture::Part(from, to) => Ok(Value::String(lua.create_string(&subject[from..to])?)),
    }
}

/// Appends the captures; the whole match if there are none and it is given.
fn push_captures(
    lua: &Lua,
    subject: &[u8],
    captures: &[Capture],
    whole: Option<(usize, usize)>,
    values: &mut MultiValue,
) -> Result<(), Raise> {
    if let (true, Some((from, to))) = (captures.is_empty(), whole) {
        values.push_back(Value::String(lua.create_string(&subject[from..to])?));
    }
    for one in captures {
        values.push_back(capture(lua, subject, *one)?);
    }
    Ok(())
}

/// A pattern without its anchor, and whether it had one.
fn unanchored(pattern: &[u8]) -> (&[u8], bool) {
    match pattern.split_first() {
        Some((b'^', rest)) => (rest, true),
        _ => (pattern, false),
    }
}

/// `string.find` and `string.match`.
fn find(lua: &Lua, link: &Link, args: &Arguments, is_find: bool) -> Result<MultiValue, Raise> {
    let (subject, pattern) = (args.string(lua, 1)?, args.string(lua, 2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let at = position(args.integer_or(lua, 3, 1)?, subject.len());
    let is_plain = !matches!(args.get(4), Value::Nil | Value::Boolean(false));
    let mut values = MultiValue::new();
    // C's search for them ends at a NUL.
    let mut signs = pattern.iter().take_while(|byte| **byte != 0);
    if is_find && (is_plain || !signs.any(|byte| b"^$*+?.([%-".contains(byte))) {
        link.work((subject.len() - at) / 16)?;
        if let Some(found) = memchr::memmem::find(&subject[at..], &pattern) {
            values.push_back(Value::Number((at + found + 1) as f64));
            values.push_back(Value::Number((at + found + pattern.len()) as f64));
        } else {
            values.push_back(Value::Nil);
        }
        return Ok(values);
    }
    let (pattern, is_anchored) = unanchored(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, link);
    let found = if is_anchored { matcher.match_at(at)?.map(|end| (at, end)) } else { matcher.search(at)? };
    let Some((from, to)) = found else {
        values.push_back(Value::Nil);
        return Ok(values);
    };
    if is_find {
        values.push_back(Value::Number((from + 1) as f64));
        values.push_back(Value::Number(to as f64));
    }
    push_captures(lua, &subject, matcher.captures(), (!is_find).then_some((from, to)), &mut values)?;
    Ok(values)
}

/// Where the search after a match continues: an empty match is not found twice.
fn after(from: usize, to: usize) -> usize {
    if to > from { to } else { to + 1 }
}

/// For `string.gmatch`: the captures of the next match from a position on, after where the search continues.
fn gmatch_next(lua: &Lua, link: &Link, args: &Arguments) -> Result<MultiValue, Raise> {
    let (subject, pattern) = (args.string(lua, 1)?, args.string(lua, 2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let at = args.integer(lua, 3)? as usize;
    let mut matcher = Matcher::new(&subject, &pattern, link);
    let mut values = MultiValue::new();
    match matcher.search(at)? {
        None => values.push_back(Value::Number((subject.len() + 1) as f64)),
        Some((from, to)) => {
            values.push_back(Value::Number(after(from, to) as f64));
            push_captures(lua, &subject, matcher.captures(), Some((from, to)), &mut values)?;
        }
    }
    Ok(values)
}

/// For `string.gsub` with a function or table: the next match from a position on, and its captures.
fn gsub_next(lua: &Lua, link: &Link, args: &Arguments) -> Result<MultiValue, Raise> {
    let (subject, pattern) = (args.string(lua, 1)?, args.string(lua, 2)?);
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let at = args.integer(lua, 3)? as usize;
    let (pattern, is_anchored) = unanchored(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, link);
    let found = match (is_anchored, at) {
        (true, 0) => matcher.match_at(0)?.map(|end| (0, end)),
        (true, _) => None,
        (false, _) => matcher.search(at)?,
    };
    let mut values = MultiValue::new();
    if let Some((from, to)) = found {
        values.push_back(Value::Number((from + 1) as f64));
        values.push_back(Value::Number(to as f64));
        push_captures(lua, &subject, matcher.captures(), Some((from, to)), &mut values)?;
    }
    Ok(values)
}

/// Appends the replacement of a match: its text, with captures for `%0` to `%9`.
fn replace(
    replacement: &[u8],
    subject: &[u8],
    found: (usize, usize),
    captures: &[Capture],
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    let mut bytes = replacement.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let sign = bytes.next().copied().unwrap_or(0);
        let index = match sign {
            b'0' => None,
            b'1'..=b'9' => Some(usize::from(sign - b'1')),
            _ => {
                out.push(sign);
                continue;
            }
        };
        match index.map(|index| (index, captures.get(index))) {
            None | Some((0, None)) => out.extend_from_slice(&subject[found.0..found.1]),
            Some((_, None)) => return text("invalid capture index"),
            Some((_, Some(Capture::Open(_)))) => return text("unfinished capture"),
            Some((_, Some(Capture::Position(at)))) => out.extend_from_slice((at + 1).to_string().as_bytes()),
            Some((_, Some(Capture::Part(from, to)))) => out.extend_from_slice(&subject[*from..*to]),
        }
    }
    Ok(())
}

/// `string.gsub` with a string as replacement.
fn gsub_text(lua: &Lua, link: &Link, args: &Arguments) -> Result<MultiValue, Raise> {
    let (subject, pattern) = (args.string(lua, 1)?, args.string(lua, 2)?);
    let replacement = args.string(lua, 3)?;
    let limit = args.integer_or(lua, 4, i64::MAX)?;
    let (subject, pattern, replacement) = (subject.as_bytes(), pattern.as_bytes(), replacement.as_bytes());
    let (pattern, is_anchored) = unanchored(&pattern);
    let mut matcher = Matcher::new(&subject, pattern, link);
    let (mut out, mut at, mut copied, mut count) = (Vec::new(), 0, 0, 0);
    while count < limit && at <= subject.len() {
        let found = if is_anchored { matcher.match_at(at)?.map(|end| (at, end)) } else { matcher.search(at)? };
        let Some((from, to)) = found else { break };
        out.extend_from_slice(&subject[copied..from]);
        replace(&replacement, &subject, (from, to), matcher.captures(), &mut out)?;
        link.work(replacement.len())?;
        if out.len() > STRING_BYTES_MAX {
            return text("resulting string too large");
        }
        count += 1;
        copied = to;
        at = after(from, to);
        if is_anchored {
            break;
        }
    }
    out.extend_from_slice(&subject[copied..]);
    Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(out)?), Value::Number(count as f64)]))
}

fn rep(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let string = args.string(lua, 1)?;
    let count = usize::try_from(args.integer(lua, 2)?).unwrap_or(0);
    let string = string.as_bytes();
    if string.len().saturating_mul(count) > STRING_BYTES_MAX {
        return text("resulting string too large");
    }
    let count = if string.is_empty() { 0 } else { count };
    Ok(Value::String(lua.create_string(string.repeat(count))?))
}

/// Adds the functions to what the sandbox builds `string` from.
pub(crate) fn add(registry: &Registry<'_>, link: &Rc<Link>) -> mlua::Result<()> {
    let own = Rc::clone(link);
    registry.add("find", move |lua, args| find(lua, &own, args, true))?;
    let own = Rc::clone(link);
    registry.add("match", move |lua, args| find(lua, &own, args, false))?;
    registry.add("rep", rep)?;
    let (lua, table) = (registry.lua, &registry.table);
    // What `string.gmatch` returns is called by the script itself.
    for (name, is_entered, body) in [
        ("gmatch_next", false, gmatch_next as fn(&Lua, &Link, &Arguments) -> Result<MultiValue, Raise>),
        ("gsub_next", true, gsub_next),
        ("gsub_text", true, gsub_text),
    ] {
        let own = Rc::clone(link);
        table.raw_set(name, function_of_sandbox(lua, is_entered, move |lua, args| body(lua, &own, args))?)?;
    }
    Ok(())
}
