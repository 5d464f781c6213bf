//! Reading an image back: records of whole keys, and values that arrive in parts.
//!
//! A value in parts is built up beside the keyspace and becomes a key, or a field, once it is whole; so an image that stops within
//! one has fewer keys than it says. Nothing is reserved for a length that is only claimed.

use std::collections::BTreeMap;

use fastness_types::WallMs;
use fastness_types::limits::VALUE_BYTES_MAX;

use super::record::{
    FIELDS, HAS_DEADLINE, HASH, INT, ImageError, KIND_BITS, LARGE_HASH, PART, RAW_TEXT, Reader, START, TEXT, unzigzag,
};
use crate::engine::Engine;
use crate::keyspace::{Entry, ExpiryChange, NewValue};
use crate::value::Object;
use crate::value::hash::{FieldTable, Pair};
use crate::value::text::Text;

/// The values that are not whole yet, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    open: BTreeMap<u64, Open>,
}

/// A value of which some parts have arrived.
#[derive(Debug)]
struct Open {
    /// 0: a key's.
    parent: u64,
    name: Vec<u8>,
    name_len: u64,
    deadline: Option<WallMs>,
    kind: u8,
    total: u64,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Bytes(Vec<u8>),
    /// The fields of a large hash. Those that have a start of their own are added when they are whole.
    Fields(FieldTable),
}

impl Open {
    fn is_whole(&self) -> bool {
        let reached = match &self.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Fields(fields) => fields.len(),
        };
        self.name.len() as u64 == self.name_len && reached as u64 == self.total
    }
}

fn expiry(deadline: Option<WallMs>) -> ExpiryChange {
    deadline.map_or(ExpiryChange::Drop, ExpiryChange::At)
}

impl Engine {
    /// Adds the records of one chunk to an engine that does not have their keys. `stamp`: the time of the image's point, from which the
    /// times of access run. [`Engine::end_image_load`] follows the last chunk.
    ///
    /// # Errors
    /// Bytes that are not records of this version, or parts that do not fit; what stood before them has been added.
    pub fn load_image(&mut self, stamp: WallMs, chunk: &[u8]) -> Result<(), ImageError> {
        self.advance_stamp(stamp);
        let mut reader = Reader(chunk);
        while !reader.0.is_empty() {
            let key = reader.bytes()?;
            let head = reader.byte()?;
            if head & !(KIND_BITS | HAS_DEADLINE) != 0 {
                return Err(ImageError::Unknown(head));
            }
            let deadline = match head & HAS_DEADLINE {
                0 => None,
                _ => Some(WallMs(reader.varint()?)),
            };
            match head & KIND_BITS {
                START => self.load_start(key, deadline, stamp, &mut reader)?,
                PART | FIELDS if deadline.is_some() || !key.is_empty() => return Err(ImageError::Unknown(head)),
                PART => self.load_part(stamp, &mut reader)?,
                FIELDS => self.load_fields(stamp, &mut reader)?,
                kind => self.load_value(key, kind, expiry(deadline), stamp, &mut reader)?,
            }
        }
        Ok(())
    }

    /// All chunks have been loaded.
    ///
    /// # Errors
    /// A value of which some parts are missing.
    pub fn end_image_load(&mut self) -> Result<(), ImageError> {
        match self.loader.open.pop_first() {
            Some((id, _)) => Err(ImageError::Part { id, what: "parts of it are missing at the end" }),
            None => Ok(()),
        }
    }

    /// What follows the head of a whole key.
    fn load_value(
        &mut self,
        key: &[u8],
        kind: u8,
        expiry: ExpiryChange,
        stamp: WallMs,
        reader: &mut Reader<'_>,
    ) -> Result<(), ImageError> {
        let value = match kind {
            HASH | LARGE_HASH => return self.load_hash(key, kind, expiry, stamp, reader),
            TEXT => NewValue::Text(reader.bytes()?),
            RAW_TEXT => NewValue::RawText(reader.bytes()?),
            INT => NewValue::Int(unzigzag(reader.varint()?)),
            unknown => return Err(ImageError::Unknown(unknown)),
        };
        let key = self.keyspace.key(key);
        self.keyspace.put(&key, value, expiry, stamp);
        Ok(())
    }

    fn load_hash<'a>(
        &mut self,
        key: &[u8],
        kind: u8,
        expiry: ExpiryChange,
        stamp: WallMs,
        reader: &mut Reader<'a>,
    ) -> Result<(), ImageError> {
        let key = self.keyspace.key(key);
        let mut fields: Vec<(Pair<'a>, Option<WallMs>)> = Vec::new();
        for _ in 0..reader.varint()? {
            fields.push(if kind == LARGE_HASH { reader.field()? } else { (reader.pair()?, None) });
        }
        if kind == LARGE_HASH {
            self.keyspace.put_fields(&key, fields.into_iter(), stamp);
        } else {
            self.keyspace.set_fields(&key, fields.iter().map(|(pair, _)| *pair), ExpiryChange::Drop, stamp);
        }
        self.keyspace.set_expiry(&key, expiry.after(None));
        Ok(())
    }

    fn load_start(
        &mut self,
        name: &[u8],
        deadline: Option<WallMs>,
        stamp: WallMs,
        reader: &mut Reader<'_>,
    ) -> Result<(), ImageError> {
        let (id, parent, name_len) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let (kind, total) = (reader.byte()?, reader.varint()?);
        let wrong = |what| Err(ImageError::Part { id, what });
        if id == 0 || self.loader.open.contains_key(&id) {
            return wrong("it starts twice");
        }
        let of_hash = |open: &Open| matches!(open.value, Value::Fields(_));
        if parent != 0 && !self.loader.open.get(&parent).is_some_and(of_hash) {
            return wrong("it is a field's of a hash that has not started");
        }
        if name_len < name.len() as u64 || name_len > VALUE_BYTES_MAX as u64 {
            return wrong("its name is longer than it may be");
        }
        let value = match kind {
            LARGE_HASH if parent == 0 && total > 0 => {
                Value::Fields(FieldTable::new(self.keyspace.seed(), self.keyspace.inline_max()))
            }
            TEXT | RAW_TEXT if total <= VALUE_BYTES_MAX as u64 => Value::Bytes(Vec::new()),
            INT | HASH if parent == 0 && total <= VALUE_BYTES_MAX as u64 => Value::Bytes(Vec::new()),
            TEXT | RAW_TEXT | INT | HASH | LARGE_HASH => return wrong("it cannot have this kind and length"),
            unknown => return Err(ImageError::Unknown(unknown)),
        };
        let open = Open { parent, name: name.to_vec(), name_len, deadline, kind, total, value };
        self.loader.open.insert(id, open);
        self.load_whole(id, stamp)
    }

    fn load_part(&mut self, stamp: WallMs, reader: &mut Reader<'_>) -> Result<(), ImageError> {
        let (id, bytes) = (reader.varint()?, reader.bytes()?);
        let wrong = |what| ImageError::Part { id, what };
        let open = self.loader.open.get_mut(&id).ok_or(wrong("a part of it, which has not started or is whole"))?;
        let name_left = open.name_len - open.name.len() as u64;
        if name_left > 0 {
            if bytes.len() as u64 > name_left {
                return Err(wrong("its name is longer than it may be"));
            }
            open.name.extend_from_slice(bytes);
        } else {
            let Value::Bytes(value) = &mut open.value else { return Err(wrong("bytes of a hash")) };
            if bytes.len() as u64 > open.total - value.len() as u64 {
                return Err(wrong("it is longer than it says"));
            }
            value.extend_from_slice(bytes);
        }
        self.load_whole(id, stamp)
    }

    fn load_fields(&mut self, stamp: WallMs, reader: &mut Reader<'_>) -> Result<(), ImageError> {
        let (id, count) = (reader.varint()?, reader.varint()?);
        let wrong = |what| ImageError::Part { id, what };
        let open = self.loader.open.get_mut(&id).ok_or(wrong("fields of it, which has not started or is whole"))?;
        let Value::Fields(fields) = &mut open.value else { return Err(wrong("fields of a string")) };
        for _ in 0..count {
            let ((field, value), deadline) = reader.field()?;
            let before = fields.len() as u64;
            fields.set(field, value, expiry(deadline), &mut None);
            if fields.len() as u64 == before {
                return Err(wrong("a field stands in it twice"));
            }
            if before == open.total {
                return Err(wrong("it has more fields than it says"));
            }
        }
        self.load_whole(id, stamp)
    }

    /// Adds a value to the keyspace, or to its hash, if all of it has arrived.
    fn load_whole(&mut self, id: u64, stamp: WallMs) -> Result<(), ImageError> {
        if !self.loader.open.get(&id).is_some_and(Open::is_whole) {
            return Ok(());
        }
        let Some(open) = self.loader.open.remove(&id) else { return Ok(()) };
        let wrong = |what| Err(ImageError::Part { id, what });
        let inline_max = self.keyspace.inline_max() as usize;
        if open.parent != 0 {
            let Some(Open { value: Value::Fields(fields), total, .. }) = self.loader.open.get_mut(&open.parent) else {
                return wrong("its hash is whole already");
            };
            if fields.find(&open.name).is_some() || fields.len() as u64 == *total {
                return wrong("its hash has this field already");
            }
            if let Value::Bytes(text) = open.value {
                let entry = if text.len() > inline_max {
                    Entry::new(&open.name, NewValue::of(Object::Text(Text::shared(text.into()))), open.deadline, 0)
                } else {
                    Entry::new(&open.name, NewValue::Text(&text), open.deadline, 0)
                };
                fields.put_back(entry);
            }
            return self.load_whole(open.parent, stamp);
        }
        let key = self.keyspace.key(&open.name);
        if self.keyspace.find(&key).is_some() {
            return wrong("its key stands in the image twice");
        }
        let value = match open.value {
            Value::Fields(fields) => NewValue::of(Object::Hash(Box::new(fields))),
            Value::Bytes(text) if open.kind == RAW_TEXT && text.len() > inline_max => {
                NewValue::of(Object::Text(Text::shared(text.into())))
            }
            Value::Bytes(ref text) if open.kind == RAW_TEXT => NewValue::RawText(text),
            Value::Bytes(ref text) if open.kind == TEXT => NewValue::Text(text),
            Value::Bytes(ref body) => {
                let mut reader = Reader(body);
                self.load_value(&open.name, open.kind, expiry(open.deadline), stamp, &mut reader)?;
                return if reader.0.is_empty() { Ok(()) } else { wrong("it is longer than its value") };
            }
        };
        self.keyspace.put(&key, value, expiry(open.deadline), stamp);
        Ok(())
    }
}
