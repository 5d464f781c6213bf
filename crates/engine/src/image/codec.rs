//! What the records of an image are made of, and what a data type says of its own ([`RecordForm`]).

use crate::codec::digest::Running;
use crate::codec::varint::{self, VarintError};
use crate::keyspace::{Entry, Object, TypeNumber};
use fastness_types::HashSeed;
use std::fmt::Debug;

/// Bytes that are not records of this version, or do not add up to values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// They end inside a record.
    #[error("the image ends inside a record")]
    Truncated,
    /// A varint does not fit into 64 bits.
    #[error("a number in the image is out of range")]
    Number,
    /// A kind of value, or a bit, that this version does not know.
    #[error("unknown head {0:#04x} in the image: written by a newer version?")]
    Unknown(u8),
    /// A record that continues a value, or starts one, where it cannot be.
    #[error("value {id} of the image: {what}")]
    Part {
        /// The value's id.
        id: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads records.
#[derive(Debug)]
pub struct RecordReader<'a>(pub(super) &'a [u8]);

impl<'a> RecordReader<'a> {
    /// The next byte.
    ///
    /// # Errors
    /// There is none.
    pub fn byte(&mut self) -> Result<u8, ImageError> {
        let (first, rest) = self.0.split_first().ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next byte.
    ///
    /// # Errors
    /// There is none.
    pub fn bytes(&mut self) -> Result<&'a [u8], ImageError> {
        let len = usize::try_from(self.varint()?).map_err(|_| ImageError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next number.
    ///
    /// # Errors
    /// It is not whole, or does not fit into 64 bits.
    pub fn varint(&mut self) -> Result<u64, ImageError> {
        varint::read(&mut self.0).map_err(|error| match error {
            VarintError::Truncated => ImageError::Truncated,
            VarintError::Range => ImageError::Number,
        })
    }
}

/// Appends a length and that many bytes.
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What a value is made with.
#[derive(Debug, Clone, Copy)]
pub struct Loading {
    /// The cluster's.
    pub seed: HashSeed,
    /// Texts longer than this are kept outside of their entries.
    pub inline_max: u32,
}

/// A value that was read.
#[derive(Debug)]
pub enum Loaded {
    /// A small one, and its type.
    Packed(TypeNumber, Vec<u8>),
    /// A large one.
    Object(Object),
    /// One without any part, which no key holds.
    Nothing,
}

/// A kind of record, of one data type.
#[derive(Debug)]
pub struct RecordForm {
    /// Its number. Frozen.
    pub kind: u8,
    /// Reads what follows the head in the record of a whole key.
    pub load: fn(&mut RecordReader<'_>, Loading) -> Result<Loaded, ImageError>,
    /// Begins a value whose parts arrive in records of their own; `None`: as a run of bytes, which `load` reads.
    pub parts: Option<fn(Loading) -> Box<dyn LoadParts>>,
}

/// What is done with a packed value by those who do not know its type.
#[derive(Debug)]
pub struct PackedForm {
    /// As OBJECT ENCODING names it.
    pub(crate) encoding: &'static str,
    /// The kind of its record in an image. Frozen.
    pub(crate) record_kind: u8,
    /// Adds it to the digest of its key, which has been given the name.
    pub(crate) digest: fn(&[u8], &mut Running),
    /// Writes what follows the head in its record.
    pub(crate) write_record: fn(&[u8], &mut Vec<u8>),
}

impl PackedForm {
    /// See the field.
    pub(crate) fn record_kind(&self) -> u8 {
        self.record_kind
    }

    /// See the field.
    pub(crate) fn digest(&self, bytes: &[u8], digest: &mut Running) {
        (self.digest)(bytes, digest);
    }

    /// See the field.
    pub(crate) fn write_record(&self, bytes: &[u8], out: &mut Vec<u8>) {
        (self.write_record)(bytes, out);
    }
}

/// A value whose parts arrive in several records.
pub trait LoadParts: Debug + Send + Sync {
    /// Parts that have arrived.
    fn len(&self) -> usize;

    /// Whether none has.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a part of this name has arrived.
    fn has(&self, name: &[u8]) -> bool;

    /// Reads one part; one of a name that has arrived takes its place.
    ///
    /// # Errors
    /// The bytes are not a part.
    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError>;

    /// Adds a part that arrived by itself.
    fn add(&mut self, part: Entry);

    /// The value.
    fn into_object(self: Box<Self>) -> Object;
}
