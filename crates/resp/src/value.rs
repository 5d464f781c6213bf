//! Parses replies, for tests, the load generator and front ends other than RESP.
//!
//! Nothing is allocated for a declared length, and nesting is bounded, so any input can be parsed safely.

use memchr::memchr;

use crate::number::parse_int;
use crate::reply::ReplyBuf;

/// Deepest nesting that is accepted.
pub const DEPTH_MAX: usize = 64;

/// One reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+`
    Simple(Vec<u8>),
    /// `-`, and `!` of RESP3.
    Error(Vec<u8>),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1` and `_`
    Null,
    /// `*-1`
    NullArray,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `,`
    Double(f64),
    /// `#`
    Bool(bool),
    /// `(`
    BigNumber(Vec<u8>),
    /// `=`
    Verbatim([u8; 3], Vec<u8>),
    /// `|`: pairs that describe the reply after them.
    Attribute(Vec<(Value, Value)>, Box<Value>),
}

/// Why bytes are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No type starts with this byte.
    #[error("no reply starts with byte {0}")]
    UnknownType(u8),
    /// A length or number is invalid.
    #[error("not a number")]
    InvalidNumber,
    /// A line or string does not end with CR LF, or a line is too long.
    #[error("a line does not end")]
    InvalidLine,
    /// Nesting deeper than [`DEPTH_MAX`].
    #[error("nested too deeply")]
    TooDeep,
}

/// Parses one reply at the start of `buf`. Returns the reply and its length, or `None` if it is not complete yet.
///
/// # Errors
/// [`ValueError`] if the bytes are not a reply.
pub fn parse(buf: &[u8]) -> Result<Option<(Value, usize)>, ValueError> {
    let mut reader = Reader { buf, at: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Invalid(error)) => Err(error),
    }
}

enum Stop {
    Incomplete,
    Invalid(ValueError),
}

impl From<ValueError> for Stop {
    fn from(error: ValueError) -> Stop {
        Stop::Invalid(error)
    }
}

struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(ValueError::TooDeep.into());
        }
        let kind = *self.buf.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        let line = self.line()?;
        Ok(match kind {
            b'+' => Value::Simple(line.to_vec()),
            b'-' => Value::Error(line.to_vec()),
            b':' => Value::Integer(parse_int(line).ok_or(ValueError::InvalidNumber)?),
            b'$' if line == b"-1" => Value::Null,
            b'$' => Value::Bulk(self.blob(line)?.to_vec()),
            b'!' => Value::Error(self.blob(line)?.to_vec()),
            b'=' => self.verbatim(line)?,
            b'_' if line.is_empty() => Value::Null,
            b'*' if line == b"-1" => Value::NullArray,
            b'*' => Value::Array(self.values(line, depth)?),
            b'~' => Value::Set(self.values(line, depth)?),
            b'>' => Value::Push(self.values(line, depth)?),
            b'%' => Value::Map(self.pairs(line, depth)?),
            b'|' => Value::Attribute(self.pairs(line, depth)?, Box::new(self.value(depth + 1)?)),
            b'#' if line == b"t" => Value::Bool(true),
            b'#' if line == b"f" => Value::Bool(false),
            b',' => Value::Double(double(line).ok_or(ValueError::InvalidNumber)?),
            b'(' => Value::BigNumber(line.to_vec()),
            b'_' | b'#' => return Err(ValueError::InvalidLine.into()),
            other => return Err(ValueError::UnknownType(other).into()),
        })
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.buf[self.at..];
        let len = memchr(b'\r', rest).ok_or(Stop::Incomplete)?;
        match rest.get(len + 1) {
            None => Err(Stop::Incomplete),
            Some(b'\n') => {
                self.at += len + 2;
                Ok(&rest[..len])
            }
            Some(_) => Err(ValueError::InvalidLine.into()),
        }
    }

    fn blob(&mut self, line: &[u8]) -> Result<&'a [u8], Stop> {
        let len = length(line)?;
        let rest = &self.buf[self.at..];
        if rest.len() < len.saturating_add(2) {
            return Err(Stop::Incomplete);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(ValueError::InvalidLine.into());
        }
        self.at += len + 2;
        Ok(&rest[..len])
    }

    fn verbatim(&mut self, line: &[u8]) -> Result<Value, Stop> {
        match self.blob(line)? {
            [a, b, c, b':', text @ ..] => Ok(Value::Verbatim([*a, *b, *c], text.to_vec())),
            _ => Err(ValueError::InvalidLine.into()),
        }
    }

    fn values(&mut self, line: &[u8], depth: usize) -> Result<Vec<Value>, Stop> {
        // Not `with_capacity(len)`: the length is only declared.
        let mut values = Vec::new();
        for _ in 0..length(line)? {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, line: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let mut pairs = Vec::new();
        for _ in 0..length(line)? {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }
}

fn length(line: &[u8]) -> Result<usize, ValueError> {
    parse_int(line).and_then(|len| usize::try_from(len).ok()).ok_or(ValueError::InvalidNumber)
}

fn double(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

impl Value {
    /// Writes the value in the buffer's protocol version. Types that RESP2 does not have are written as Valkey does.
    pub fn encode(&self, out: &mut ReplyBuf) {
        match self {
            Value::Simple(text) => out.simple(text),
            Value::Error(text) => out.error(text),
            Value::Integer(number) => out.integer(*number),
            Value::Bulk(bytes) => out.bulk(bytes),
            Value::Null => out.null(),
            Value::NullArray => out.null_array(),
            Value::Array(values) => {
                out.array(values.len());
                values.iter().for_each(|value| value.encode(out));
            }
            Value::Set(values) => {
                out.set(values.len());
                values.iter().for_each(|value| value.encode(out));
            }
            Value::Push(values) => {
                out.push(values.len());
                values.iter().for_each(|value| value.encode(out));
            }
            Value::Map(pairs) => {
                out.map(pairs.len());
                encode_pairs(pairs, out);
            }
            Value::Double(number) => out.double(*number),
            Value::Bool(yes) => out.bool(*yes),
            Value::BigNumber(digits) => out.big_number(&String::from_utf8_lossy(digits)),
            Value::Verbatim(format, text) => out.verbatim(*format, text),
            Value::Attribute(pairs, value) => {
                if out.attribute(pairs.len()) {
                    encode_pairs(pairs, out);
                }
                value.encode(out);
            }
        }
    }

    /// The bytes of a string of any kind.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(bytes) | Value::Bulk(bytes) | Value::BigNumber(bytes) | Value::Verbatim(_, bytes) => {
                Some(bytes)
            }
            _ => None,
        }
    }

    /// An error's text, the error code first.
    #[must_use]
    pub fn as_error(&self) -> Option<&[u8]> {
        match self {
            Value::Error(text) => Some(text),
            _ => None,
        }
    }
}

fn encode_pairs(pairs: &[(Value, Value)], out: &mut ReplyBuf) {
    for (key, value) in pairs {
        key.encode(out);
        value.encode(out);
    }
}
