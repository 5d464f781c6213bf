//! Loading an image: records of whole keys, and values that arrive in parts.
//!
//! A value in parts is assembled outside of the keyspace and becomes a key, or a part of another value, once it is
//! complete; an image that stops within a value therefore has fewer keys than its sum says. No memory is reserved for a
//! length that is only claimed.

use std::collections::BTreeMap;

use fastness_types::WallMs;
use fastness_types::limits::VALUE_BYTES_MAX;

use super::codec::{ImageError, LoadParts, Loaded, Loading, RecordReader};
use super::record::{FIELDS, HAS_DEADLINE, INT, KIND_BITS, LIBRARY, PART, RAW_TEXT, START, TEXT};
use crate::codec::varint;
use crate::keyspace::text::Text;
use crate::keyspace::{Entry, ExpiryChange, Key, Keyspace, NewValue, Packed};
use crate::types;

/// The values that are not complete yet, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    open: BTreeMap<u64, Open>,
}

/// A value of which some parts have arrived.
#[derive(Debug)]
struct Open {
    /// Id of the value of which this is a part; 0: it belongs to a key.
    parent: u64,
    name: Vec<u8>,
    name_len: u64,
    deadline: Option<WallMs>,
    kind: u8,
    total: u64,
    value: OpenValue,
}

/// The arrived parts of a value.
#[derive(Debug)]
enum OpenValue {
    Bytes(Vec<u8>),
    /// The parts of a large value. A part with records of its own is added when it is complete.
    Parts(Box<dyn LoadParts>),
}

impl Open {
    fn is_whole(&self) -> bool {
        let reached = match &self.value {
            OpenValue::Bytes(bytes) => bytes.len(),
            OpenValue::Parts(parts) => parts.len(),
        };
        self.name.len() as u64 == self.name_len && reached as u64 == self.total
    }
}

fn loading(keyspace: &Keyspace) -> Loading {
    Loading { seed: keyspace.seed(), inline_max: keyspace.inline_max() }
}

/// Sets a loaded value for a key that does not exist.
fn put(keyspace: &mut Keyspace, key: &Key<'_>, loaded: Loaded, expiry: ExpiryChange, timestamp: WallMs) {
    match loaded {
        Loaded::Packed(of, bytes) => {
            keyspace.put(key, NewValue::Packed(Packed { of, bytes: &bytes }), expiry, timestamp)
        }
        Loaded::Object(object) => keyspace.put(key, NewValue::of(object), expiry, timestamp),
        Loaded::Nothing => {}
    }
}

/// Loads the value of a whole key, which follows the head of its record.
fn load_value(
    keyspace: &mut Keyspace,
    key: &[u8],
    kind: u8,
    expiry: ExpiryChange,
    timestamp: WallMs,
    reader: &mut RecordReader<'_>,
) -> Result<(), ImageError> {
    let value = match kind {
        TEXT => NewValue::Text(reader.bytes()?),
        RAW_TEXT => NewValue::RawText(reader.bytes()?),
        INT => NewValue::Int(varint::unzigzag(reader.varint()?)),
        kind => {
            let form = types::record_form(kind).ok_or(ImageError::Unknown(kind))?;
            let loaded = (form.load)(reader, loading(keyspace))?;
            let key = keyspace.key(key);
            put(keyspace, &key, loaded, expiry, timestamp);
            return Ok(());
        }
    };
    let key = keyspace.key(key);
    keyspace.put(&key, value, expiry, timestamp);
    Ok(())
}

fn expiry(deadline: Option<WallMs>) -> ExpiryChange {
    deadline.map_or(ExpiryChange::Drop, ExpiryChange::At)
}

impl Loader {
    /// Adds the records of one chunk; see [`Engine::load_image`](crate::Engine::load_image).
    pub(crate) fn load(&mut self, keyspace: &mut Keyspace, timestamp: WallMs, chunk: &[u8]) -> Result<(), ImageError> {
        let mut reader = RecordReader(chunk);
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
                START => self.load_start(keyspace, key, deadline, timestamp, &mut reader)?,
                LIBRARY if deadline.is_some() => return Err(ImageError::Unknown(head)),
                LIBRARY => {
                    let (code, functions) = (reader.bytes()?, reader.bytes()?);
                    let loaded = keyspace.libraries().with(key, code, functions);
                    keyspace.set_libraries(loaded);
                }
                PART | FIELDS if deadline.is_some() || !key.is_empty() => return Err(ImageError::Unknown(head)),
                PART => self.load_part(keyspace, timestamp, &mut reader)?,
                FIELDS => self.load_fields(keyspace, timestamp, &mut reader)?,
                kind => load_value(keyspace, key, kind, expiry(deadline), timestamp, &mut reader)?,
            }
        }
        Ok(())
    }

    /// Checks that every value is complete after the last chunk.
    pub(crate) fn end(&mut self) -> Result<(), ImageError> {
        match self.open.pop_first() {
            Some((id, _)) => Err(ImageError::Part { id, what: "parts of it are missing at the end" }),
            None => Ok(()),
        }
    }

    fn load_start(
        &mut self,
        keyspace: &mut Keyspace,
        name: &[u8],
        deadline: Option<WallMs>,
        timestamp: WallMs,
        reader: &mut RecordReader<'_>,
    ) -> Result<(), ImageError> {
        let (id, parent, name_len) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let (kind, total) = (reader.byte()?, reader.varint()?);
        let wrong = |what| Err(ImageError::Part { id, what });
        if id == 0 || self.open.contains_key(&id) {
            return wrong("it starts twice");
        }
        let has_parts = |open: &Open| matches!(open.value, OpenValue::Parts(_));
        if parent != 0 && !self.open.get(&parent).is_some_and(has_parts) {
            return wrong("it is a part's of a value that has not started");
        }
        if name_len < name.len() as u64 || name_len > VALUE_BYTES_MAX as u64 {
            return wrong("its name is longer than it may be");
        }
        let is_short = total <= VALUE_BYTES_MAX as u64;
        let value = match (kind, types::record_form(kind)) {
            (TEXT | RAW_TEXT, _) if is_short => OpenValue::Bytes(Vec::new()),
            (INT, _) if parent == 0 && is_short => OpenValue::Bytes(Vec::new()),
            (_, Some(form)) if parent == 0 => match form.parts {
                Some(begin) if total > 0 => OpenValue::Parts(begin(loading(keyspace))),
                None if is_short => OpenValue::Bytes(Vec::new()),
                _ => return wrong("it cannot have this kind and length"),
            },
            (TEXT | RAW_TEXT | INT, _) | (_, Some(_)) => return wrong("it cannot have this kind and length"),
            (unknown, None) => return Err(ImageError::Unknown(unknown)),
        };
        let open = Open { parent, name: name.to_vec(), name_len, deadline, kind, total, value };
        self.open.insert(id, open);
        self.load_whole(keyspace, id, timestamp)
    }

    fn load_part(
        &mut self,
        keyspace: &mut Keyspace,
        timestamp: WallMs,
        reader: &mut RecordReader<'_>,
    ) -> Result<(), ImageError> {
        let (id, bytes) = (reader.varint()?, reader.bytes()?);
        let wrong = |what| ImageError::Part { id, what };
        let open = self.open.get_mut(&id).ok_or(wrong("a part of it, which has not started or is whole"))?;
        let name_left = open.name_len - open.name.len() as u64;
        if name_left > 0 {
            if bytes.len() as u64 > name_left {
                return Err(wrong("its name is longer than it may be"));
            }
            open.name.extend_from_slice(bytes);
        } else {
            match &mut open.value {
                OpenValue::Bytes(value) if bytes.len() as u64 > open.total - value.len() as u64 => {
                    return Err(wrong("it is longer than it says"));
                }
                OpenValue::Bytes(value) => value.extend_from_slice(bytes),
                OpenValue::Parts(parts) => {
                    if !parts.load_start(bytes) {
                        return Err(wrong("bytes of a value with parts"));
                    }
                }
            }
        }
        self.load_whole(keyspace, id, timestamp)
    }

    fn load_fields(
        &mut self,
        keyspace: &mut Keyspace,
        timestamp: WallMs,
        reader: &mut RecordReader<'_>,
    ) -> Result<(), ImageError> {
        let (id, count) = (reader.varint()?, reader.varint()?);
        let wrong = |what| ImageError::Part { id, what };
        let open = self.open.get_mut(&id).ok_or(wrong("parts of it, which has not started or is whole"))?;
        let OpenValue::Parts(parts) = &mut open.value else { return Err(wrong("parts of a string")) };
        for _ in 0..count {
            let before = parts.len() as u64;
            parts.load(reader)?;
            if parts.len() as u64 == before {
                return Err(wrong("a part stands in it twice"));
            }
            if before == open.total {
                return Err(wrong("it has more parts than it says"));
            }
        }
        self.load_whole(keyspace, id, timestamp)
    }

    /// Adds a value to the keyspace, or to the value that it is a part of, if it is complete.
    fn load_whole(&mut self, keyspace: &mut Keyspace, id: u64, timestamp: WallMs) -> Result<(), ImageError> {
        if !self.open.get(&id).is_some_and(Open::is_whole) {
            return Ok(());
        }
        let Some(open) = self.open.remove(&id) else { return Ok(()) };
        let wrong = |what| Err(ImageError::Part { id, what });
        let inline_max = keyspace.inline_max() as usize;
        if open.parent != 0 {
            let Some(Open { value: OpenValue::Parts(parts), total, .. }) = self.open.get_mut(&open.parent) else {
                return wrong("the value that it is a part of is whole already");
            };
            if parts.has(&open.name) || parts.len() as u64 == *total {
                return wrong("the value has this part already");
            }
            if let OpenValue::Bytes(text) = open.value {
                let entry = if text.len() > inline_max {
                    Entry::new(&open.name, NewValue::long(Text::shared(text.into())), open.deadline, 0)
                } else {
                    Entry::new(&open.name, NewValue::Text(&text), open.deadline, 0)
                };
                if !parts.add(entry) {
                    return wrong("the value has no such parts");
                }
            }
            return self.load_whole(keyspace, open.parent, timestamp);
        }
        let key = keyspace.key(&open.name);
        if keyspace.find(&key).is_some() {
            return wrong("its key stands in the image twice");
        }
        let value = match open.value {
            OpenValue::Parts(parts) => NewValue::of(parts.into_object()),
            OpenValue::Bytes(text) if open.kind == RAW_TEXT && text.len() > inline_max => {
                NewValue::long(Text::shared(text.into()))
            }
            OpenValue::Bytes(ref text) if open.kind == RAW_TEXT => NewValue::RawText(text),
            OpenValue::Bytes(ref text) if open.kind == TEXT => NewValue::Text(text),
            OpenValue::Bytes(ref body) => {
                let mut reader = RecordReader(body);
                load_value(keyspace, &open.name, open.kind, expiry(open.deadline), timestamp, &mut reader)?;
                return if reader.0.is_empty() { Ok(()) } else { wrong("it is longer than its value") };
            }
        };
        keyspace.put(&key, value, expiry(open.deadline), timestamp);
        Ok(())
    }
}
