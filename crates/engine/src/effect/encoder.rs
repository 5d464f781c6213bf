//! Encoding of effects.

use super::items::Items;
use crate::codec::varint;
use crate::keyspace::Key;
use fastness_resp::shared_buf::SharedBuf;
use std::sync::Arc;

/// Encoded effects, with the keys that they touch. An effect starts with [`Encoder::head`] or [`Encoder::keyed`], whose
/// `count` arguments follow.
#[derive(Debug, Default)]
pub struct Encoder {
    pub(super) encoded: SharedBuf,
    /// Number of effects.
    pub(super) count: usize,
    /// The hash of every key that an effect touches, in order, with repetitions.
    pub(super) touched: Vec<u64>,
}

impl Encoder {
    /// Starts an effect of `count` arguments, which follow.
    pub fn head(&mut self, op: u16, count: u64) -> &mut Self {
        self.count += 1;
        varint::write(self.encoded.own(), u64::from(op) << 1);
        varint::write(self.encoded.own(), count);
        self
    }

    /// Starts an effect of `count` arguments, the first of which is the key.
    pub fn keyed(&mut self, op: u16, count: u64, key: Key<'_>) -> &mut Self {
        self.head(op, count).key_arg(key)
    }

    /// Adds a key, which the effect touches.
    pub fn key_arg(&mut self, key: Key<'_>) -> &mut Self {
        self.touched.push(key.hash);
        self.bytes_arg(key.bytes)
    }

    /// Notes that the effect touches what this hash stands for.
    pub fn touch(&mut self, hash: u64) {
        self.touched.push(hash);
    }

    /// Adds an argument.
    pub fn bytes_arg(&mut self, bytes: &[u8]) -> &mut Self {
        let own = self.encoded.own();
        varint::write(own, bytes.len() as u64);
        own.extend_from_slice(bytes);
        self
    }

    /// Adds an argument whose bytes are shared with memory.
    pub fn shared_arg(&mut self, text: &Arc<Vec<u8>>) -> &mut Self {
        varint::write(self.encoded.own(), text.len() as u64);
        self.encoded.push_shared(text);
        self
    }

    /// Adds arguments.
    pub fn items(&mut self, items: Items<'_>) -> &mut Self {
        items.iter().for_each(|item| _ = self.bytes_arg(item));
        self
    }

    /// Adds an argument that is a number.
    pub fn number_arg(&mut self, number: u64) -> &mut Self {
        varint::write(self.encoded.own(), varint::len(number));
        varint::write(self.encoded.own(), number);
        self
    }
}
