//! What a script returns as a reply.

use fastness_resp::{Protocol, ReplyBuf};
use mlua::{Table, Value};

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

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), NoReply> {
        let field = |name: &str| table.raw_get::<Value>(name);
        if let Value::String(_) = field("err")? {
            let facts = error_facts(table)?;
            self.reply.error(&facts.line);
            return Ok(());
        }
        if let Value::String(status) = field("ok")? {
            // It goes through C's strings.
            let status = status.as_bytes();
            self.reply.simple(c_text(&status));
            return Ok(());
        }
        if let Some(number) = number_in(&field("double")?) {
            self.reply.double(number);
            return Ok(());
        }
        if let Value::String(digits) = field("big_number")? {
            let digits = digits.as_bytes();
            let digits = String::from_utf8_lossy(c_text(&digits)).replace(['\r', '\n'], " ");
            self.reply.big_number(&digits);
            return Ok(());
        }
        if let Value::Table(verbatim) = field("verbatim_string")?
            && let (Value::String(format), Value::String(text)) =
                (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
        {
            let mut padded = [b' '; 3];
            for (to, from) in padded.iter_mut().zip(c_text(&format.as_bytes())) {
                *to = *from;
            }
            self.reply.verbatim(padded, &text.as_bytes());
            return Ok(());
        }
        if let Value::Table(map) = field("map")? {
            return self.pairs(&map, depth, true);
        }
        if let Value::Table(set) = field("set")? {
            return self.pairs(&set, depth, false);
        }
        self.array(table, depth)
    }

    fn array(&mut self, table: &Table, depth: usize) -> Result<(), NoReply> {
        // Counted first: a deferred length would move what was written for every table.
        let mut length = 0;
        while !table.raw_get::<Value>(length + 1)?.is_nil() {
            self.link.work(1)?;
            length += 1;
        }
        self.reply.array(length);
        (1..=length).try_for_each(|index| self.write(&table.raw_get(index)?, depth + 1))
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
