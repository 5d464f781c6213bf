//! What a script returns as a reply.

use fastness_resp::{Protocol, ReplyBuf};
use mlua::{LuaString, Table, Value};

use crate::coroutine::{Killed, Link};
use crate::sandbox::native::{number_in, to_integer};

/// Tables in one another that a reply may have; a deeper one is an error in its place.
const DEPTH_MAX: usize = 1_000;
/// Largest reply, in bytes.
const REPLY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// The run was killed.
    Killed,
    /// It would be too large, or Lua's memory is used up.
    Failed,
}

impl From<Killed> for NoReply {
    fn from(_: Killed) -> NoReply {
        NoReply::Killed
    }
}

impl From<mlua::Error> for NoReply {
    fn from(_: mlua::Error) -> NoReply {
        NoReply::Failed
    }
}

/// What an error table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorFacts {
    pub(crate) line: Vec<u8>,
    /// Where it was raised.
    pub(crate) place: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) is_counted: bool,
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(string) => Some(string.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// Reads an error table.
pub(crate) fn error_facts(table: &Table) -> mlua::Result<ErrorFacts> {
    let field = |name: &str| table.raw_get::<Value>(name).map(|value| bytes(&value));
    let ignored: Value = table.raw_get("ignore_error_stats_update")?;
    Ok(ErrorFacts {
        line: field("err")?.unwrap_or_else(|| b"ERR unknown error".to_vec()),
        place: field("source")?.zip(field("line")?),
        is_counted: !matches!(ignored, Value::Boolean(true)),
    })
}

/// What a table stands for.
enum Shape {
    /// `err`: the error line.
    Error(Vec<u8>),
    /// `ok`
    Status(LuaString),
    /// `double`
    Double(f64),
    /// `big_number`
    BigNumber(LuaString),
    /// `verbatim_string`: its format and its text.
    Verbatim(LuaString, LuaString),
    /// `map`
    Map(Table),
    /// `set`
    Set(Table),
    /// Anything else.
    Array,
}

/// Finds what a table stands for; the first field that it has counts. Texts go through C's strings in Valkey.
fn shape(table: &Table) -> mlua::Result<Shape> {
    let field = |name: &str| table.raw_get::<Value>(name);
    if let Value::String(_) = field("err")? {
        return Ok(Shape::Error(error_facts(table)?.line));
    }
    if let Value::String(status) = field("ok")? {
        return Ok(Shape::Status(status));
    }
    if let Some(number) = number_in(&field("double")?) {
        return Ok(Shape::Double(number));
    }
    if let Value::String(digits) = field("big_number")? {
        return Ok(Shape::BigNumber(digits));
    }
    if let Value::Table(verbatim) = field("verbatim_string")?
        && let (Value::String(format), Value::String(text)) = (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
    {
        return Ok(Shape::Verbatim(format, text));
    }
    if let Value::Table(pairs) = field("map")? {
        return Ok(Shape::Map(pairs));
    }
    match field("set")? {
        Value::Table(members) => Ok(Shape::Set(members)),
        _ => Ok(Shape::Array),
    }
}

/// Writes a value that a script returned. `client` is the version in which the client reads, `script` the one that the
/// script has chosen, on which booleans depend.
pub(crate) struct Writer<'a> {
    pub(crate) link: &'a Link,
    pub(crate) reply: ReplyBuf,
    pub(crate) script: Protocol,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(link: &'a Link, client: Protocol, script: Protocol) -> Writer<'a> {
        Writer { link, reply: ReplyBuf::new(client), script }
    }

    /// Appends the reply for a value.
    pub(crate) fn write(&mut self, value: &Value, depth: usize) -> Result<(), NoReply> {
        self.link.work(1)?;
        match value {
            Value::String(string) => self.reply.bulk(&*string.as_bytes()),
            Value::Boolean(yes) => match (self.script, *yes) {
                (Protocol::Resp2, true) => self.reply.integer(1),
                (Protocol::Resp2, false) => self.reply.null(),
                (Protocol::Resp3, yes) => self.reply.bool(yes),
            },
            Value::Integer(number) => self.reply.integer(*number),
            Value::Number(number) => self.reply.integer(to_integer(*number)),
            Value::Table(_) if depth == DEPTH_MAX => self.reply.error("ERR reached lua stack limit"),
            Value::Table(table) => self.table(table, depth)?,
            _ => self.reply.null(),
        }
        if self.reply.len() > REPLY_BYTES_MAX { Err(NoReply::Failed) } else { Ok(()) }
    }

    /// Appends the reply for a table. What recurses keeps little on the stack.
    fn table(&mut self, table: &Table, depth: usize) -> Result<(), NoReply> {
        match shape(table)? {
            Shape::Array => self.array(table, depth),
            Shape::Map(pairs) => self.pairs(&pairs, depth, true),
            Shape::Set(members) => self.pairs(&members, depth, false),
            shape => {
                self.leaf(shape);
                Ok(())
            }
        }
    }

    fn leaf(&mut self, shape: Shape) {
        match shape {
            Shape::Error(line) => self.reply.error(&line),
            Shape::Status(status) => self.reply.simple(c_text(&status.as_bytes())),
            Shape::Double(number) => self.reply.double(number),
            Shape::BigNumber(digits) => {
                let digits = String::from_utf8_lossy(c_text(&digits.as_bytes())).replace(['\r', '\n'], " ");
                self.reply.big_number(&digits);
            }
            Shape::Verbatim(format, text) => {
                let mut padded = [b' '; 3];
                for (to, from) in padded.iter_mut().zip(c_text(&format.as_bytes())) {
                    *to = *from;
                }
                self.reply.verbatim(padded, &text.as_bytes());
            }
            Shape::Map(_) | Shape::Set(_) | Shape::Array => {}
        }
    }

    fn array(&mut self, table: &Table, depth: usize) -> Result<(), NoReply> {
        // Counted first: a deferred length would move what was written for every table.
        let mut length = 0;
        while !table.raw_get::<Value>(length + 1)?.is_nil() {
            self.link.work(1)?;
            length += 1;
        }
        self.reply.array(length);
        for index in 1..=length {
            self.write(&table.raw_get(index)?, depth + 1)?;
        }
        Ok(())
    }

    fn pairs(&mut self, table: &Table, depth: usize, is_map: bool) -> Result<(), NoReply> {
        let mut count = 0;
        for pair in table.pairs::<Value, Value>() {
            pair?;
            self.link.work(1)?;
            count += 1;
        }
        if is_map {
            self.reply.map(count)
        } else {
            self.reply.set(count)
        }
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.write(&key, depth + 1)?;
            if is_map {
                self.write(&value, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// The bytes before the first NUL.
fn c_text(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}
