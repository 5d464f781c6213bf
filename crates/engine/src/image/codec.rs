//! The elements of an image's records, and the interface through which a data type reads its records ([`RecordForm`]).

use crate::codec::digest::Running;
use crate::codec::varint::{self, VarintError};
use crate::keyspace::{Entry, Object, TypeNumber};
use fastness_types::HashSeed;
use std::fmt::Debug;

/// The bytes are not records of this version, or do not form values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The bytes end inside a record.
    #[error("the image ends inside a record")]
    Truncated,
    /// A varint does not fit into 64 bits.
    #[error("a number in the image is out of range")]
    Number,
    /// A kind of value, or a bit, is unknown to this version.
    #[error("unknown head {0:#04x} in the image: written by a newer version?")]
    Unknown(u8),
    /// A record starts or continues a value in a wrong place.
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
    /// The bytes end before it.
    pub fn byte(&mut self) -> Result<u8, ImageError> {
        let (first, rest) = self.0.split_first().ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next bytes, whose length precedes them.
    ///
    /// # Errors
    /// The bytes end within them.
    pub fn bytes(&mut self) -> Result<&'a [u8], ImageError> {
        let len = usize::try_from(self.varint()?).map_err(|_| ImageError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next number.
    ///
    /// # Errors
    /// The bytes end within it, or it does not fit into 64 bits.
    pub fn varint(&mut self) -> Result<u64, ImageError> {
        varint::read(&mut self.0).map_err(|error| match error {
            VarintError::Truncated => ImageError::Truncated,
            VarintError::Range => ImageError::Number,
        })
    }
}

/// Appends the length of bytes, and the bytes.
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::write(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Parameters of the values to be made.
#[derive(Debug, Clone, Copy)]
pub struct Loading {
    /// The cluster's hash seed.
    pub seed: HashSeed,
    /// Texts longer than this, bytes, are kept outside of their entries.
    pub inline_max: u32,
}

/// A loaded value.
#[derive(Debug)]
pub enum Loaded {
    /// A packed value, and its type.
    Packed(TypeNumber, Vec<u8>),
    /// A large value.
    Object(Object),
    /// A value without parts, which no key holds.
    Nothing,
}

/// A kind of record that belongs to one data type.
#[derive(Debug)]
pub struct RecordForm {
    /// Its number. Frozen.
    pub kind: u8,
    /// Reads the record of a whole key after its head.
    pub load: fn(&mut RecordReader<'_>, Loading) -> Result<Loaded, ImageError>,
    /// Creates an empty value, whose parts arrive in records of their own; `None`: a long value arrives as one run of
    /// bytes, which `load` reads.
    pub parts: Option<fn(Loading) -> Box<dyn LoadParts>>,
}

/// Operations on the packed values of one type.
#[derive(Debug)]
pub struct PackedForm {
    /// The encoding that OBJECT ENCODING reports for a value.
    pub(crate) encoding: fn(&[u8]) -> &'static str,
    /// The kind of their record in an image. Frozen.
    pub(crate) record_kind: u8,
    /// Adds a value to the digest of its key, after the name.
    pub(crate) digest: fn(&[u8], &mut Running),
    /// Writes the record of a value without the head.
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
    /// Number of parts that have arrived.
    fn len(&self) -> usize;

    /// Whether no part has arrived.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a part of this name has arrived.
    fn has(&self, name: &[u8]) -> bool;

    /// Reads one part; it replaces an earlier part of the same name.
    ///
    /// # Errors
    /// The bytes are not a part.
    fn load(&mut self, reader: &mut RecordReader<'_>) -> Result<(), ImageError>;

    /// Takes bytes of the start of the next part, which [`LoadParts::load`] reads the rest of. Returns false if the
    /// value has no such parts, or if they are too many.
    fn load_start(&mut self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Adds a part that arrived in records of its own. Returns false if the value has no such parts.
    fn add(&mut self, part: Entry) -> bool;

    /// The finished value.
    fn into_object(self: Box<Self>) -> Object;
}

/// Reads a record that is a number of parts, and these.
///
/// # Errors
/// The bytes are no parts.
pub fn load_parts<V: LoadParts>(mut value: V, reader: &mut RecordReader<'_>) -> Result<Loaded, ImageError> {
    for _ in 0..reader.varint()? {
        value.load(reader)?;
    }
    Ok(if value.is_empty() { Loaded::Nothing } else { Loaded::Object(Box::new(value).into_object()) })
}
