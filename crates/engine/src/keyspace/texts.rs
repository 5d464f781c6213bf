//! Long strings: what is set, or grows, without a copy.

use super::entry::NewValue;
use super::slots::{ExpiryChange, Key, Keyspace};
use crate::value::Object;
use crate::value::text::Text;
use fastness_types::WallMs;
use fastness_types::limits::VALUE_BYTES_MAX;
use std::sync::Arc;

impl Keyspace {
    /// Sets a string to a [long](Keyspace::is_long) text that others read as well.
    pub fn set_shared(&mut self, key: &Key<'_>, text: Arc<Vec<u8>>, expiry: ExpiryChange, now: WallMs) {
        self.put_with(key, |_| NewValue::of(Object::Text(Text::shared(text))), expiry, now);
    }

    /// Overwrites a part of a string; what lies between its end and `offset` becomes zero bytes. A value of another
    /// type stays as it is.
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
            // Zeroed by whoever gives the memory, which need not touch it: a text that is all hole costs no more than its end.
            let mut text = vec![0; end];
            write(&mut text);
            let value = if end > self.inline_max as usize {
                NewValue::of(Object::Text(Text::shared(text.into())))
            } else {
                NewValue::RawText(&text)
            };
            return self.put(key, value, ExpiryChange::Drop, now);
        }
        self.grow_text(key, now, write, end - bytes.len()..end, end);
    }
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
