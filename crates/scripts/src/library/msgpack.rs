//! The library `cmsgpack`: MessagePack.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::STRING_BYTES_MAX;
use crate::coroutine::Link;
use crate::sandbox::native::{Arguments, Raise, Registry, text, to_integer, without_position};

/// Tables in one another that are packed; a deeper one is packed as nil.
const PACKED_DEPTH_MAX: usize = 16;
/// Tables in one another that are unpacked: about what Lua's stack takes.
const UNPACKED_DEPTH_MAX: usize = 3_900;
/// Results of which handles can be kept.
const RESULTS_MAX: usize = 7_000;

/// What is said about more results or nesting than Lua's stack takes.
const TOO_MANY: &str = "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";

struct Packer<'a> {
    link: &'a Link,
    out: Vec<u8>,
}

impl Packer<'_> {
    fn header(&mut self, first: u8, number: u64, bytes: usize) {
        self.out.push(first);
        self.out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]);
    }

    /// The head of an array or map: `fixed` for up to 15 elements, `sized` with 16 bits, the one after it with 32.
    fn collection(&mut self, fixed: u8, sized: u8, length: usize) {
        match length {
            0..=15 => self.out.push(fixed | length as u8),
            16..=65_535 => self.header(sized, length as u64, 2),
            _ => self.header(sized + 1, length as u64, 4),
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        match bytes.len() {
            length @ 0..=31 => self.out.push(0xa0 | length as u8),
            length @ 32..=255 => self.header(0xd9, length as u64, 1),
            length @ 256..=65_535 => self.header(0xda, length as u64, 2),
            length => self.header(0xdb, length as u64, 4),
        }
        self.out.extend_from_slice(bytes);
    }

    fn integer(&mut self, number: i64) {
        let bits = number as u64;
        match number {
            -32..=127 => self.out.push(number as u8),
            128..=0xff => self.header(0xcc, bits, 1),
            0x100..=0xffff => self.header(0xcd, bits, 2),
            0x1_0000..=0xffff_ffff => self.header(0xce, bits, 4),
            0x1_0000_0000.. => self.header(0xcf, bits, 8),
            -128..=-33 => self.header(0xd0, bits, 1),
            -32_768..=-129 => self.header(0xd1, bits, 2),
            -2_147_483_648..=-32_769 => self.header(0xd2, bits, 4),
            _ => self.header(0xd3, bits, 8),
        }
    }

    fn number(&mut self, number: f64) {
        let whole = to_integer(number);
        if number.is_finite() && whole as f64 == number {
            return self.integer(whole);
        }
        let short = number as f32;
        if f64::from(short) == number {
            self.header(0xca, u64::from(short.to_bits()), 4);
        } else {
            self.header(0xcb, number.to_bits(), 8);
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Raise> {
        let (mut pairs, mut largest, mut is_array) = (0_usize, 0, true);
        for pair in table.pairs::<Value, Value>() {
            self.link.work(1)?;
            pairs += 1;
            match pair?.0 {
                Value::Integer(index @ 1..=0x7fff_ffff) => largest = largest.max(index as usize),
                _ => is_array = false,
            }
        }
        if is_array && largest == pairs {
            self.collection(0x90, 0xdc, pairs);
            return (1..=pairs).try_for_each(|index| self.value(&table.raw_get(index)?, depth + 1));
        }
        self.collection(0x80, 0xde, pairs);
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth + 1)?;
            self.value(&value, depth + 1)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Raise> {
        self.link.work(1)?;
        match value {
            Value::String(string) => self.string(&string.as_bytes()),
            Value::Boolean(yes) => self.out.push(0xc2 | u8::from(*yes)),
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number),
            Value::Table(table) if depth < PACKED_DEPTH_MAX => self.table(table, depth)?,
            _ => self.out.push(0xc0),
        }
        if self.out.len() > STRING_BYTES_MAX {
            return text("resulting string too large");
        }
        Ok(())
    }
}

/// What a byte sequence starts with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item<'a> {
    /// nil
    Nil,
    /// A boolean.
    Bool(bool),
    /// A number of any kind.
    Number(f64),
    /// A string.
    Bytes(&'a [u8]),
    /// An array of so many elements, which follow.
    Array(usize),
    /// A map of so many pairs, which follow.
    Map(usize),
}

/// Why bytes are not MessagePack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They end too early.
    Short,
    /// Their first byte starts nothing.
    Format,
}

/// Takes the next item off the bytes.
pub(crate) fn next_item<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed::Short)?;
    let number = |size: usize| {
        let field = rest.get(..size).ok_or(Malformed::Short)?;
        Ok::<u64, Malformed>(field.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let (item, length) = match first {
        0x00..=0x7f => (Item::Number(f64::from(first)), 0),
        0xe0..=0xff => (Item::Number(f64::from(first as i8)), 0),
        0x80..=0x8f => (Item::Map(usize::from(first & 15)), 0),
        0x90..=0x9f => (Item::Array(usize::from(first & 15)), 0),
        0xc0 => (Item::Nil, 0),
        0xc2 | 0xc3 => (Item::Bool(first == 0xc3), 0),
        0xca => (Item::Number(f64::from(f32::from_bits(number(4)? as u32))), 4),
        0xcb => (Item::Number(f64::from_bits(number(8)?)), 8),
        0xcc => (Item::Number(number(1)? as f64), 1),
        0xcd => (Item::Number(number(2)? as f64), 2),
        0xce => (Item::Number(number(4)? as f64), 4),
        // Valkey pushes it as a signed integer.
        0xcf => (Item::Number(number(8)? as i64 as f64), 8),
        0xd0 => (Item::Number(f64::from(number(1)? as i8)), 1),
        0xd1 => (Item::Number(f64::from(number(2)? as i16)), 2),
        0xd2 => (Item::Number(f64::from(number(4)? as i32)), 4),
        0xd3 => (Item::Number(number(8)? as i64 as f64), 8),
        0xdc => (Item::Array(number(2)? as usize), 2),
        0xdd => (Item::Array(number(4)? as usize), 4),
        0xde => (Item::Map(number(2)? as usize), 2),
        0xdf => (Item::Map(number(4)? as usize), 4),
        0xa0..=0xbf | 0xd9..=0xdb => {
            let size = match first {
                0xd9 => 1,
                0xda => 2,
                0xdb => 4,
                _ => 0,
            };
            let length = if size == 0 { usize::from(first & 31) } else { number(size)? as usize };
            let string = rest.get(size..size.saturating_add(length)).ok_or(Malformed::Short)?;
            (Item::Bytes(string), size + length)
        }
        _ => return Err(Malformed::Format),
    };
    *bytes = &rest[length..];
    Ok(item)
}

/// A table that is being filled.
struct OpenTable {
    table: Table,
    left: usize,
    filled: usize,
    /// A map's key that waits for its value; `None` in arrays, and before a key.
    key: Option<Value>,
    is_map: bool,
}

impl OpenTable {
    /// Adds an element; whether the table is complete.
    fn add(&mut self, value: Value) -> Result<bool, Raise> {
        if !self.is_map {
            self.filled += 1;
            self.left -= 1;
            self.table.raw_set(self.filled, value)?;
        } else if let Some(key) = self.key.take() {
            self.left -= 1;
            match key {
                Value::Nil => return without_position("table index is nil"),
                Value::Number(number) if number.is_nan() => return without_position("table index is NaN"),
                key => self.table.raw_set(key, value)?,
            }
        } else {
            self.key = Some(value);
        }
        Ok(self.left == 0)
    }
}

/// Unpacks one value.
fn unpack_value(lua: &Lua, link: &Link, bytes: &mut &[u8]) -> Result<Value, Raise> {
    let mut open: Vec<OpenTable> = Vec::new();
    loop {
        link.work(1)?;
        let item = next_item(bytes).map_err(|invalid| match invalid {
            Malformed::Short => Raise::Text(b"Missing bytes in input.".to_vec()),
            Malformed::Format => Raise::Text(b"Bad data format in input.".to_vec()),
        })?;
        let mut value = match item {
            Item::Nil => Value::Nil,
            Item::Bool(yes) => Value::Boolean(yes),
            Item::Number(number) => Value::Number(number),
            Item::Bytes(string) => Value::String(lua.create_string(string)?),
            Item::Array(0) | Item::Map(0) => Value::Table(lua.create_table()?),
            Item::Array(left) | Item::Map(left) => {
                if open.len() == UNPACKED_DEPTH_MAX {
                    return text(TOO_MANY);
                }
                let is_map = matches!(item, Item::Map(_));
                open.push(OpenTable { table: lua.create_table()?, left, filled: 0, key: None, is_map });
                continue;
            }
        };
        loop {
            let Some(top) = open.last_mut() else { return Ok(value) };
            if !top.add(value)? {
                break;
            }
            let Some(done) = open.pop() else { return Ok(Value::Nil) };
            value = Value::Table(done.table);
        }
    }
}

/// Unpacks up to `limit` values from `offset` on, with the offset after them; all of them if both are 0.
fn unpack(lua: &Lua, link: &Link, args: &Arguments, limit: i64, offset: i64) -> Result<MultiValue, Raise> {
    let string = args.string(lua, 1)?;
    let string = string.as_bytes();
    if offset < 0 || limit < 0 {
        let length = string.len();
        return text(format!("Invalid request to unpack with offset of {} and limit of {length}.", offset as i32));
    }
    let Some(mut rest) = string.get(usize::try_from(offset).unwrap_or(usize::MAX)..) else {
        let length = string.len();
        return text(format!("Start offset {} greater than input length {length}.", offset as i32));
    };
    let is_all = limit == 0 && offset == 0;
    let limit = if is_all { i64::MAX } else { limit };
    let mut values = MultiValue::new();
    while !rest.is_empty() && (values.len() as i64) < limit {
        if values.len() > RESULTS_MAX {
            return text(TOO_MANY);
        }
        values.push_back(unpack_value(lua, link, &mut rest)?);
    }
    if !is_all {
        let next = if rest.is_empty() { -1.0 } else { (string.len() - rest.len()) as f64 };
        values.push_front(Value::Number(next));
    }
    Ok(values)
}

/// The table `cmsgpack`.
pub(crate) fn table(lua: &Lua, link: &Rc<Link>) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    let packing = Rc::clone(link);
    registry.add("pack", move |lua, args| {
        if args.len() == 0 {
            return Err(Raise::Argument(0, "MessagePack pack needs input.".to_owned()));
        }
        let mut packer = Packer { link: &packing, out: Vec::new() };
        args.0.iter().try_for_each(|value| packer.value(value, 0))?;
        Ok(lua.create_string(packer.out)?)
    })?;
    let unpacking = Rc::clone(link);
    registry.add("unpack", move |lua, args| unpack(lua, &unpacking, args, 0, 0))?;
    let unpacking = Rc::clone(link);
    registry.add("unpack_one", move |lua, args| unpack(lua, &unpacking, args, 1, args.integer_or(lua, 2, 0)?))?;
    let unpacking = Rc::clone(link);
    registry.add("unpack_limit", move |lua, args| {
        unpack(lua, &unpacking, args, args.integer(lua, 2)?, args.integer_or(lua, 3, 0)?)
    })?;
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd."),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        registry.table.raw_set(name, value)?;
    }
    Ok(registry.table)
}
