//! Changes of strings in the keyspace; long ones are set and changed without a copy.

use crate::keyspace::text::Text;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, ValueRef};
use fastness_resp::number;
use fastness_types::WallMs;
use fastness_types::limits::VALUE_BYTES_MAX;
use std::ops::Range;
use std::sync::Arc;

/// A text that grows beyond this, bytes, is kept with spare capacity, so that growing it again is cheap.
const GROW_INLINE_MAX: usize = 1024;
/// The longest text that OBJECT ENCODING may report as `embstr`, bytes.
const EMBEDDED_MAX: usize = 113;

/// The form in which a text is stored. Whether it is `raw` or `embstr` only matters to OBJECT ENCODING, and is decided
/// as in Valkey: by what fits into 128 bytes with the key when the value is set, including space for the deadline of
/// the value that it replaces.
fn new_value<'t>(key: &[u8], text: &'t [u8], replaces_deadline: bool, inline_max: u32) -> NewValue<'t> {
    const SHORT_KEY: usize = 32;
    if let Some(number) = number::parse_int(text) {
        return NewValue::Int(number);
    }
    let headers = if key.len() < SHORT_KEY { 0 } else { 2 } + if replaces_deadline { 8 } else { 0 };
    if key.len() + text.len() + headers > EMBEDDED_MAX {
        NewValue::raw_text(text, inline_max)
    } else {
        NewValue::Text(text)
    }
}

impl Keyspace {
    /// Whether a text is stored outside of its entry, where it can be shared with readers.
    #[inline]
    #[must_use]
    pub fn is_long(&self, text: &[u8]) -> bool {
        text.len() > self.inline_max() as usize && text.len() > EMBEDDED_MAX
    }

    /// Sets a string.
    pub fn set(&mut self, key: &Key<'_>, text: &[u8], expiry: ExpiryChange, now: WallMs) {
        let inline_max = self.inline_max();
        self.put_with(key, |replaces_deadline| new_value(key.bytes, text, replaces_deadline, inline_max), expiry, now);
    }

    /// Appends to a string; a missing key counts as empty. A value of another type does not change.
    pub fn append(&mut self, key: &Key<'_>, tail: &[u8], now: WallMs) {
        if self.find(key).is_none() {
            return self.set(key, tail, ExpiryChange::Drop, now);
        }
        self.grow_text(key, now, |text| text.extend_from_slice(tail), usize::MAX..usize::MAX, tail.len());
    }

    /// Changes a string in place with `write`, which overwrites only `range` and appends at most `growth` bytes.
    fn grow_text(
        &mut self,
        key: &Key<'_>,
        now: WallMs,
        write: impl FnOnce(&mut Vec<u8>),
        range: Range<usize>,
        growth: usize,
    ) {
        let Some(entry) = self.find(key) else { return };
        let mut buffer = itoa::Buffer::new();
        let mut text = Vec::new();
        match entry.value() {
            ValueRef::Long(_) => {
                let undo = |text: &Text, record: &mut Vec<u8>| text.write_undo(range, record);
                self.change_in_place(key, now, undo, |text: &mut Text| write(text.to_mut()));
                return;
            }
            ValueRef::Text(old) => {
                text.reserve(old.len() + growth);
                text.extend_from_slice(old);
            }
            ValueRef::Int(old) => text.extend_from_slice(number::int_text(old, &mut buffer)),
            ValueRef::Packed(_) | ValueRef::Object(_) => return,
        }
        write(&mut text);
        if text.len() <= GROW_INLINE_MAX {
            return self.put(key, NewValue::RawText(&text), ExpiryChange::Keep, now);
        }
        let is_long = text.len() > self.inline_max() as usize;
        let text = if is_long { Text::shared(text.into()) } else { Text::own(text) };
        self.put(key, NewValue::long(text), ExpiryChange::Keep, now);
    }

    /// Sets a string to a [long](Keyspace::is_long) text that others read too.
    pub fn set_shared(&mut self, key: &Key<'_>, text: Arc<Vec<u8>>, expiry: ExpiryChange, now: WallMs) {
        self.put_with(key, |_| NewValue::long(Text::shared(text)), expiry, now);
    }

    /// Overwrites a part of a string; the bytes between its end and `offset` become 0. A value of another type does not
    /// change.
    pub fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8], now: WallMs) {
        let Some(end) = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(bytes.len())) else {
            return;
        };
        if end > VALUE_BYTES_MAX {
            return;
        }
        let write = |text: &mut Vec<u8>| {
            if text.len() < end {
                text.resize(end, 0);
            }
            text[end - bytes.len()..end].copy_from_slice(bytes);
        };
        if self.find(key).is_none() {
            // The allocator provides zeroed memory without touching it, so a text that consists of padding costs only
            // its end.
            let mut text = vec![0; end];
            write(&mut text);
            let value = if end > self.inline_max() as usize {
                NewValue::long(Text::shared(text.into()))
            } else {
                NewValue::RawText(&text)
            };
            return self.put(key, value, ExpiryChange::Drop, now);
        }
        self.grow_text(key, now, write, end - bytes.len()..end, end);
    }
}

#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
