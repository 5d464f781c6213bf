//! Lua values as JSON.

use mlua::{Table, Value};

use super::number;
use super::settings::{ENCODED_DEPTH_MAX, NotNumbers, Settings};
use crate::coroutine::Link;
use crate::library::STRING_BYTES_MAX;
use crate::sandbox::native::{Raise, number_in, text, type_name};

struct Encoder<'a> {
    settings: &'a Settings,
    link: &'a Link,
    out: Vec<u8>,
}

/// The JSON text of a value.
pub(super) fn encode(settings: &Settings, link: &Link, value: &Value) -> Result<Vec<u8>, Raise> {
    let mut encoder = Encoder { settings, link, out: Vec::new() };
    encoder.value(value, 0)?;
    Ok(encoder.out)
}

fn refused<T>(value: &Value, reason: &str) -> Result<T, Raise> {
    text(format!("Cannot serialise {}: {reason}", type_name(value)))
}

impl Encoder<'_> {
    fn string(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 2);
        self.out.push(b'"');
        for &byte in bytes {
            match byte {
                b'"' | b'\\' | b'/' => self.out.extend_from_slice(&[b'\\', byte]),
                0x08 => self.out.extend_from_slice(b"\\b"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                0x0c => self.out.extend_from_slice(b"\\f"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                0..=0x1f | 0x7f => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }

    fn number(&mut self, number: f64) -> Result<(), Raise> {
        if !number.is_finite() {
            match self.settings.encode_invalid.get() {
                NotNumbers::Refuse => return refused(&Value::Number(number), "must not be NaN or Inf"),
                NotNumbers::Allow if number.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                NotNumbers::Allow => {}
                NotNumbers::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        number::write(number, self.settings.precision.get() as usize, &mut self.out);
        Ok(())
    }

    /// The length of a table that is an array; `None` if it is an object.
    fn array_length(&self, table: &Table) -> Result<Option<i64>, Raise> {
        let (mut largest, mut items) = (0_i64, 0_i64);
        for pair in table.pairs::<Value, Value>() {
            self.link.work(1)?;
            match pair?.0 {
                Value::Integer(index) if index >= 1 => largest = largest.max(index),
                Value::Number(index) if index >= 1.0 && index.floor() == index => largest = i64::MAX,
                _ => return Ok(None),
            }
            items += 1;
        }
        let ratio = self.settings.sparse_ratio.get();
        if ratio > 0 && largest > items.saturating_mul(ratio) && largest > self.settings.sparse_safe.get() {
            if !self.settings.sparse_convert.get() {
                return text("Cannot serialise table: excessively sparse array");
            }
            return Ok(None);
        }
        Ok(Some(largest).filter(|largest| *largest > 0))
    }

    fn array(&mut self, table: &Table, length: i64, depth: usize) -> Result<(), Raise> {
        self.out.push(b'[');
        for index in 1..=length {
            if index > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get(index)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> Result<(), Raise> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(name) => self.string(&name.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(number_in(&key).unwrap_or_default())?;
                    self.out.push(b'"');
                }
                _ => return refused(&key, "table key must be a number or string"),
            }
            drop(key);
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Raise> {
        self.link.work(1)?;
        match value {
            Value::String(string) => self.string(&string.as_bytes()),
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(yes) => self.out.extend_from_slice(if *yes { b"true" } else { b"false" }),
            Value::Table(table) => {
                let depth = depth + 1;
                if depth > ENCODED_DEPTH_MAX || depth as i64 > self.settings.encode_depth.get() {
                    return text(format!("Cannot serialise, excessive nesting ({depth})"));
                }
                match self.array_length(table)? {
                    Some(length) => self.array(table, length, depth)?,
                    None => self.object(table, depth)?,
                }
            }
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(data) if data.0.is_null() => self.out.extend_from_slice(b"null"),
            _ => return refused(value, "type not supported"),
        }
        if self.out.len() > STRING_BYTES_MAX {
            return text("resulting string too large");
        }
        Ok(())
    }
}
