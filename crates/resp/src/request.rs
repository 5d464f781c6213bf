//! Parses one command at the start of a read buffer, multibulk or inline, with Valkey's limits and error texts.
//!
//! A multibulk command may follow an **attribute**, written as in RESP3: `|`, a number of pairs, then names and values
//! as bulk strings. It describes the command after it; the caller interprets it. Valkey accepts no attributes in
//! requests. Here both protocol versions accept them: HELLO selects how replies are written, and requests are the same
//! in both.
//!
//! Invariants:
//! - Nothing is allocated for a declared length: a command uses memory only for the bytes received.
//! - The result, including errors, does not depend on how the bytes are split into reads.
//! - Parsing resumes: between [`Parsed::Incomplete`] and the next call the buffer may only grow at its end, so a
//!   command of a million arguments is scanned once, however it arrives.

use std::borrow::Cow;

use memchr::memchr;

use crate::Args;
use crate::number::parse_int;
use crate::span::{COMMAND_BYTES_MAX, Span};

/// Longest inline command and longest length line, bytes (Valkey's `PROTO_INLINE_MAX_SIZE`).
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// [`ArgSpans`] that use more memory than this, in bytes, do not keep it for the next command.
pub const HEAP_BYTES_KEPT: usize = 1024;
/// Largest number of pairs of one attribute.
pub const ATTRIBUTE_PAIRS_MAX: usize = 8;
/// Longest name or value in an attribute, bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 64;

/// Limits of a connection's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of arguments of one command.
    pub args_max: usize,
    /// Longest argument, bytes.
    pub bulk_bytes_max: usize,
    /// Whether the client is authenticated. Before that, Valkey allows 10 arguments of 16 KiB and has other error
    /// texts.
    pub authenticated: bool,
}

impl Limits {
    /// Valkey's defaults.
    pub const DEFAULT: Limits =
        Limits { args_max: i32::MAX as usize, bulk_bytes_max: 512 * 1024 * 1024, authenticated: true };
    /// Limits of a connection that must authenticate and has not done so.
    pub const UNAUTHENTICATED: Limits = Limits { authenticated: false, ..Limits::DEFAULT };
    const UNAUTHENTICATED_ARGS_MAX: usize = 10;
    const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16_384;
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// Result of parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The command is not complete yet.
    Incomplete {
        /// Length of the buffer at which parsing is worth another try: a lower bound, computed from declared lengths.
        needed: usize,
    },
    /// One complete command. It may be empty (a blank line, `*0`): it is skipped without a reply.
    Complete {
        /// Its length, in bytes.
        consumed: usize,
    },
}

/// The request is not RESP, or exceeds a limit. The client gets the error, and the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An inline command over [`LINE_BYTES_MAX`].
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// An inline command with an unclosed quote, or with a letter directly after a closing quote.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A line after `*` over [`LINE_BYTES_MAX`].
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooBig,
    /// Not a number after `*`, or over the limit.
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// More arguments than are allowed before authentication.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// A line after `$` over [`LINE_BYTES_MAX`].
    #[error("Protocol error: too big bulk count string")]
    LengthLineTooBig,
    /// Another byte in the place of `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// Not a number after `$`, negative, or over the limit.
    #[error("Protocol error: invalid bulk length")]
    InvalidLength,
    /// A longer argument than is allowed before authentication.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedLength,
    /// An argument is not followed by CR LF.
    #[error("Protocol error: invalid CRLF in request")]
    MissingLineEnd,
    /// Not a number after `|`, or not one from 1 to [`ATTRIBUTE_PAIRS_MAX`].
    #[error("Protocol error: invalid attribute count")]
    InvalidAttributeCount,
    /// A name or value in an attribute over [`ATTRIBUTE_BYTES_MAX`].
    #[error("Protocol error: too big attribute")]
    AttributeTooBig,
    /// Another byte in the place of the command's `*` after an attribute.
    #[error("Protocol error: expected '*' after an attribute, got '{}'", char::from(*.0))]
    ExpectedCommand(u8),
}

impl ProtocolError {
    /// The text as bytes, as Valkey puts it into the reply after `-ERR `.
    #[must_use]
    pub fn text(&self) -> Cow<'static, [u8]> {
        match self {
            ProtocolError::ExpectedBulk(byte) => quoting(b"Protocol error: expected '$', got '", *byte),
            ProtocolError::ExpectedCommand(byte) => {
                quoting(b"Protocol error: expected '*' after an attribute, got '", *byte)
            }
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }
}

/// A text that ends with a byte of the request, which need not be valid UTF-8.
fn quoting(text: &[u8], byte: u8) -> Cow<'static, [u8]> {
    Cow::Owned([text, &[byte, b'\'']].concat())
}

/// The positions of one command's arguments, and the state of an incomplete command. One per connection, reused.
#[derive(Debug, Default)]
pub struct ArgSpans {
    spans: Vec<Span>,
    /// Positions of the preceding attribute's names and values, alternating.
    attribute: Vec<Span>,
    /// Arguments of an inline command without their quotes; empty for a multibulk command.
    unquoted: Vec<u8>,
    inline: bool,
    /// Where parsing resumes, if the last call returned [`Parsed::Incomplete`] within a multibulk command.
    at: usize,
    /// Number of arguments that are still missing.
    missing: usize,
}

impl ArgSpans {
    /// Spans with space for a typical command.
    #[must_use]
    pub fn new() -> ArgSpans {
        ArgSpans { spans: Vec::with_capacity(8), ..ArgSpans::default() }
    }

    /// Drops an incomplete command: the next call starts at the start of the buffer.
    pub fn reset(&mut self) {
        self.spans.clear();
        self.attribute.clear();
        self.unquoted.clear();
        self.inline = false;
        self.at = 0;
        self.missing = 0;
        if self.heap_bytes() > HEAP_BYTES_KEPT {
            self.spans = Vec::new();
            self.unquoted = Vec::new();
        }
    }

    /// Memory used besides the struct itself, in bytes.
    #[inline]
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        (self.spans.capacity() + self.attribute.capacity()) * size_of::<Span>() + self.unquoted.capacity()
    }

    /// The arguments of the command that [`parse`] found at the start of `buf`.
    #[must_use]
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        Args::spans(if self.inline { &self.unquoted } else { buf }, &self.spans)
    }

    /// Names and values of the attribute before the command, alternating; empty for most commands.
    #[inline]
    #[must_use]
    pub fn attribute<'a>(&'a self, buf: &'a [u8]) -> Option<Args<'a>> {
        (!self.attribute.is_empty()).then(|| Args::spans(buf, &self.attribute))
    }

    /// Argument `i`, if `buf` contains it unchanged (not so in an inline command).
    #[inline]
    #[must_use]
    pub fn arg_in<'b>(&self, buf: &'b [u8], i: usize) -> Option<&'b [u8]> {
        if self.inline { None } else { self.spans.get(i).map(|span| span.of(buf)) }
    }

    /// Whether the command is empty and therefore skipped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// Parses one command at the start of `buf`. After [`Parsed::Complete`] its arguments are `spans.args(buf)`, and the
/// next call starts a new command. The module's invariants say what may happen to `buf` between calls.
///
/// # Errors
/// [`ProtocolError`]: nothing more can be read from the connection.
pub fn parse(buf: &[u8], spans: &mut ArgSpans, limits: &Limits) -> Result<Parsed, ProtocolError> {
    if spans.missing == 0 {
        spans.reset();
        let ended = match buf.first() {
            None => return Ok(Parsed::Incomplete { needed: 1 }),
            Some(b'*') => begin(buf, 0, spans, limits)?,
            Some(b'|') => begin_with_attribute(buf, spans, limits)?,
            Some(_) => return parse_inline(buf, spans),
        };
        if let Some(parsed) = ended {
            return Ok(parsed);
        }
    }
    read_bulks(buf, spans, limits)
}

/// Starts a multibulk command at `at`. `Some`: the command is finished already.
#[inline]
fn begin(buf: &[u8], at: usize, spans: &mut ArgSpans, limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
    match read_count(buf, at, limits)? {
        Line::Incomplete => Ok(Some(Parsed::Incomplete { needed: buf.len() + 1 })),
        Line::Number { number: 0, end } => Ok(Some(Parsed::Complete { consumed: end })),
        Line::Number { number, end } => {
            spans.at = end;
            spans.missing = number;
            Ok(None)
        }
    }
}

/// As [`begin`], after an attribute. An incomplete attribute is parsed again from its start when more bytes arrive,
/// because it is short.
#[cold]
fn begin_with_attribute(buf: &[u8], spans: &mut ArgSpans, limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
    let Some(line) = line_at(buf, 0).map_err(|error| error.or(ProtocolError::InvalidAttributeCount))? else {
        return Ok(Some(Parsed::Incomplete { needed: buf.len() + 1 }));
    };
    let pairs = parse_int(&line[1..]).and_then(|pairs| usize::try_from(pairs).ok());
    let pairs = pairs.filter(|pairs| (1..=ATTRIBUTE_PAIRS_MAX).contains(pairs));
    let pairs = pairs.ok_or(ProtocolError::InvalidAttributeCount)?;
    let mut at = line.len() + 2;
    for _ in 0..2 * pairs {
        let (len, start) = match read_length(buf, at, limits)? {
            Line::Incomplete => return Ok(Some(Parsed::Incomplete { needed: buf.len().max(at) + 1 })),
            Line::Number { number, end } => (number, end),
        };
        if len > ATTRIBUTE_BYTES_MAX {
            return Err(ProtocolError::AttributeTooBig);
        }
        let end = start + len;
        if buf.len() < end + 2 {
            return Ok(Some(Parsed::Incomplete { needed: end + 2 }));
        }
        if &buf[end..end + 2] != b"\r\n" {
            return Err(ProtocolError::MissingLineEnd);
        }
        spans.attribute.push(Span::new(start, len));
        at = end + 2;
    }
    match buf.get(at) {
        None => Ok(Some(Parsed::Incomplete { needed: at + 1 })),
        Some(b'*') => begin(buf, at, spans, limits),
        Some(other) => Err(ProtocolError::ExpectedCommand(*other)),
    }
}

fn read_bulks(buf: &[u8], spans: &mut ArgSpans, limits: &Limits) -> Result<Parsed, ProtocolError> {
    while spans.missing > 0 {
        let (len, start) = match read_length(buf, spans.at, limits)? {
            Line::Incomplete => return Ok(Parsed::Incomplete { needed: buf.len().max(spans.at) + 1 }),
            Line::Number { number, end } => (number, end),
        };
        let end = start + len;
        if end + 2 > COMMAND_BYTES_MAX {
            return Err(ProtocolError::InvalidLength);
        }
        if buf.len() < end + 2 {
            return Ok(Parsed::Incomplete { needed: end + 2 });
        }
        if &buf[end..end + 2] != b"\r\n" {
            return Err(ProtocolError::MissingLineEnd);
        }
        spans.spans.push(Span::new(start, len));
        spans.at = end + 2;
        spans.missing -= 1;
    }
    Ok(Parsed::Complete { consumed: spans.at })
}

/// One length line.
enum Line {
    Incomplete,
    Number { number: usize, end: usize },
}

fn read_count(buf: &[u8], at: usize, limits: &Limits) -> Result<Line, ProtocolError> {
    let Some(line) = line_at(buf, at).map_err(|error| error.or(ProtocolError::CountLineTooBig))? else {
        return Ok(Line::Incomplete);
    };
    let end = at + line.len() + 2;
    let number = parse_int(&line[1..]).ok_or(ProtocolError::InvalidCount)?;
    if number <= 0 {
        return Ok(Line::Number { number: 0, end });
    }
    let number = usize::try_from(number).map_err(|_| ProtocolError::InvalidCount)?;
    if number > limits.args_max {
        return Err(ProtocolError::InvalidCount);
    }
    if !limits.authenticated && number > Limits::UNAUTHENTICATED_ARGS_MAX {
        return Err(ProtocolError::UnauthenticatedCount);
    }
    Ok(Line::Number { number, end })
}

#[inline]
fn read_length(buf: &[u8], at: usize, limits: &Limits) -> Result<Line, ProtocolError> {
    // The most common line: `$`, one to three digits, CR LF.
    if let [b'$', first @ b'1'..=b'9', rest @ ..] = &buf[at.min(buf.len())..] {
        let mut number = usize::from(first - b'0');
        for (i, byte) in rest.iter().take(3).enumerate() {
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                b'\r' if rest.get(i + 1) == Some(&b'\n') && number <= limits.bulk_bytes_max => {
                    return Ok(Line::Number { number, end: at + i + 4 });
                }
                _ => break,
            }
        }
    }
    read_any_length(buf, at, limits)
}

fn read_any_length(buf: &[u8], at: usize, limits: &Limits) -> Result<Line, ProtocolError> {
    let line = line_at(buf, at).map_err(|error| match error {
        // What the line is comes first.
        LineError::NoLineFeed if buf[at] != b'$' => ProtocolError::ExpectedBulk(buf[at]),
        error => error.or(ProtocolError::LengthLineTooBig),
    })?;
    let Some(line) = line else { return Ok(Line::Incomplete) };
    match line.first() {
        Some(b'$') => {}
        other => return Err(ProtocolError::ExpectedBulk(other.copied().unwrap_or(b'\r'))),
    }
    let number = parse_int(&line[1..]).and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|number| *number <= limits.bulk_bytes_max).ok_or(ProtocolError::InvalidLength)?;
    if !limits.authenticated && number > Limits::UNAUTHENTICATED_BULK_BYTES_MAX {
        return Err(ProtocolError::UnauthenticatedLength);
    }
    Ok(Line::Number { number, end: at + line.len() + 2 })
}

/// Why a line with a number cannot be read.
enum LineError {
    TooBig,
    /// A CR without LF.
    NoLineFeed,
}

impl LineError {
    /// The error of the request; `too_big` is that of a line of this kind that is too long.
    fn or(self, too_big: ProtocolError) -> ProtocolError {
        match self {
            LineError::TooBig => too_big,
            LineError::NoLineFeed => ProtocolError::MissingLineEnd,
        }
    }
}

/// The line that starts at `at`, without its CR LF; `None` if its end has not arrived. A CR must be followed by LF, as
/// in Valkey since 9.1.2: older versions skipped any byte there, and a proxy that did not would have seen other
/// commands.
fn line_at(buf: &[u8], at: usize) -> Result<Option<&[u8]>, LineError> {
    let rest = &buf[at.min(buf.len())..];
    match memchr(b'\r', &rest[..rest.len().min(LINE_BYTES_MAX + 1)]) {
        Some(len) => match rest.get(len + 1) {
            Some(b'\n') => Ok(Some(&rest[..len])),
            Some(_) => Err(LineError::NoLineFeed),
            None => Ok(None),
        },
        None if rest.len() > LINE_BYTES_MAX => Err(LineError::TooBig),
        None => Ok(None),
    }
}

fn parse_inline(buf: &[u8], spans: &mut ArgSpans) -> Result<Parsed, ProtocolError> {
    let Some(newline) = memchr(b'\n', &buf[..buf.len().min(LINE_BYTES_MAX + 1)]) else {
        return match buf.len() > LINE_BYTES_MAX {
            true => Err(ProtocolError::InlineTooBig),
            false => Ok(Parsed::Incomplete { needed: buf.len() + 1 }),
        };
    };
    let line = &buf[..newline];
    spans.inline = true;
    split_inline(line.strip_suffix(b"\r").unwrap_or(line), spans).ok_or(ProtocolError::UnbalancedQuotes)?;
    Ok(Parsed::Complete { consumed: newline + 1 })
}

/// The arguments of a line that somebody has typed: words and quoted texts, as in an inline command. `None` if the
/// quotes do not match, or if the line is longer than a command may be.
#[must_use]
pub fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    if line.len() > COMMAND_BYTES_MAX {
        return None;
    }
    let mut spans = ArgSpans { inline: true, ..ArgSpans::default() };
    split_inline(line, &mut spans)?;
    Some(spans.args(line).to_owned_args())
}

/// Splits a line into arguments as Valkey's `sdssplitargs` does; `None` if the quotes do not match.
fn split_inline(line: &[u8], spans: &mut ArgSpans) -> Option<()> {
    // `sdssplitargs` works on a C string: it ends at the first NUL.
    let mut rest = &line[..memchr(0, line).unwrap_or(line.len())];
    loop {
        while let [first, tail @ ..] = rest
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some(());
        }
        let start = spans.unquoted.len();
        rest = split_one(rest, &mut spans.unquoted)?;
        spans.spans.push(Span::new(start, spans.unquoted.len() - start));
    }
}

/// Appends one argument to `out` and returns the rest of the line.
fn split_one<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [first, ..] if is_space(*first) => return Some(rest),
            [b'"', quoted @ ..] => return double_quoted(quoted, out),
            [b'\'', quoted @ ..] => return single_quoted(quoted, out),
            [first, tail @ ..] => {
                out.push(*first);
                rest = tail;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) * 16 + hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                out.push(unescape(*escaped));
                rest = tail;
            }
            [b'"', tail @ ..] => return ends_argument(tail).then_some(tail),
            [first, tail @ ..] => {
                out.push(*first);
                rest = tail;
            }
            [] => return None,
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return ends_argument(tail).then_some(tail),
            [first, tail @ ..] => {
                out.push(*first);
                rest = tail;
            }
            [] => return None,
        }
    }
}

/// Whether the argument may end here: after a closing quote, only a blank or the end of the line may follow.
fn ends_argument(tail: &[u8]) -> bool {
    tail.first().is_none_or(|byte| is_space(*byte))
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// Appends a command as clients send it: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    args.iter().for_each(|arg| encode_bulk(arg.as_ref(), out));
}

/// How many bytes [`encode`] appends.
#[must_use]
pub fn encoded_len(args: Args<'_>) -> usize {
    let header = |count: usize| 4 + count.checked_ilog10().unwrap_or_default() as usize;
    header(args.len()) + args.iter().map(|arg| header(arg.len()) + arg.len() + 2).sum::<usize>()
}

/// Appends an attribute for the command that is appended next; names and values alternate.
pub fn encode_attribute<A: AsRef<[u8]>>(pairs: &[(A, A)], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'|');
    out.extend_from_slice(digits.format(pairs.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    pairs.iter().flat_map(|(name, value)| [name, value]).for_each(|text| encode_bulk(text.as_ref(), out));
}

fn encode_bulk(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
