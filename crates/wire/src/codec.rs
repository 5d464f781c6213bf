//! The codec of all services: prost's, with a bound on what the requests of the data API take once they are decoded.
//!
//! An element of a list that has no bytes takes two bytes of a message, and as part of a decoded request up to some
//! hundred: a list, its growth, what is made of it. So the elements of a request are counted in its encoded form,
//! before anything is decoded. Responses, and messages of other services, are decoded as they are.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::v1;

/// What the elements of one request may take beside its bytes, by [`ELEMENT_BYTES`] and [`OPERATION_BYTES`].
pub const ELEMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an argument, a key or a field of a request takes beside its own bytes.
pub const ELEMENT_BYTES: usize = 80;
/// What an operation or a comparison of a batch or a transaction takes beside its elements.
pub const OPERATION_BYTES: usize = 512;

/// The fields of a message that are lists, or contain some.
struct Shape(&'static [(u32, Element)]);

/// One element of a field.
struct Element {
    bytes: usize,
    /// Its own fields, if it is a message that contains lists.
    shape: Option<&'static Shape>,
}

const fn list(field: u32, bytes: usize) -> (u32, Element) {
    (field, Element { bytes, shape: None })
}

const fn message(field: u32, bytes: usize, shape: &'static Shape) -> (u32, Element) {
    (field, Element { bytes, shape: Some(shape) })
}

static FIRST_FIELD: Shape = Shape(&[list(1, ELEMENT_BYTES)]);
static SECOND_FIELD: Shape = Shape(&[list(2, ELEMENT_BYTES)]);
static PAIRS: Shape = Shape(&[list(2, 2 * ELEMENT_BYTES)]);
static OPERATION: Shape = Shape(&[
    message(3, 0, &FIRST_FIELD),
    message(6, 0, &SECOND_FIELD),
    message(7, 0, &PAIRS),
    message(8, 0, &SECOND_FIELD),
    message(9, 0, &FIRST_FIELD),
]);
static BATCH: Shape = Shape(&[message(1, OPERATION_BYTES, &OPERATION)]);
static TRANSACTION: Shape = Shape(&[
    list(1, OPERATION_BYTES),
    message(2, OPERATION_BYTES, &OPERATION),
    message(3, OPERATION_BYTES, &OPERATION),
]);
static WATCH: Shape = Shape(&[list(2, ELEMENT_BYTES), list(3, ELEMENT_BYTES)]);

/// The lists of a request; `None`: it has none, or is no request of the data API.
fn shape_of<T: 'static>() -> Option<&'static Shape> {
    let shapes: [(TypeId, &'static Shape); 9] = [
        (TypeId::of::<v1::DeleteRequest>(), &FIRST_FIELD),
        (TypeId::of::<v1::ExecuteRequest>(), &FIRST_FIELD),
        (TypeId::of::<v1::HashGetRequest>(), &SECOND_FIELD),
        (TypeId::of::<v1::HashDeleteRequest>(), &SECOND_FIELD),
        (TypeId::of::<v1::HashSetRequest>(), &PAIRS),
        (TypeId::of::<v1::PipelineRequest>(), &OPERATION),
        (TypeId::of::<v1::BatchRequest>(), &BATCH),
        (TypeId::of::<v1::TxnRequest>(), &TRANSACTION),
        (TypeId::of::<v1::WatchRequest>(), &WATCH),
    ];
    shapes.into_iter().find(|(id, _)| *id == TypeId::of::<T>()).map(|(_, shape)| shape)
}

/// Adds what the elements in an encoded message take, as far as it can be read: the decoder reads no further either.
/// `false`: more than is left, or a group, which these messages do not have.
fn count(mut bytes: &[u8], shape: &Shape, left: &mut usize) -> bool {
    while bytes.has_remaining() {
        let Ok((field, wire_type)) = decode_key(&mut bytes) else { return true };
        let skipped = match wire_type {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0).ok(),
            WireType::SixtyFourBit => Some(8),
            WireType::ThirtyTwoBit => Some(4),
            WireType::LengthDelimited => decode_varint(&mut bytes).ok().and_then(|len| usize::try_from(len).ok()),
            WireType::StartGroup | WireType::EndGroup => return false,
        };
        let Some((content, rest)) = skipped.and_then(|len| bytes.split_at_checked(len)) else { return true };
        bytes = rest;
        let element = shape.0.iter().find(|(number, _)| *number == field).map(|(_, element)| element);
        let Some(element) = element.filter(|_| wire_type == WireType::LengthDelimited) else { continue };
        let Some(after) = left.checked_sub(element.bytes) else { return false };
        *left = after;
        if element.shape.is_some_and(|shape| !count(content, shape, left)) {
            return false;
        }
    }
    true
}

/// See the module.
#[derive(Debug, Clone)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> BoundedCodec<T, U> {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder { inner: ProstDecoder::new(BufferSettings::default()), shape: shape_of::<U>() }
    }
}

/// The decoder of [`BoundedCodec`].
pub struct BoundedDecoder<U> {
    inner: ProstDecoder<U>,
    shape: Option<&'static Shape>,
}

impl<U> std::fmt::Debug for BoundedDecoder<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundedDecoder").field("counts", &self.shape.is_some()).finish_non_exhaustive()
    }
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(shape) = self.shape {
            // A message is in one piece.
            let bytes = &src.chunk()[..src.remaining().min(src.chunk().len())];
            let mut left = ELEMENTS_BYTES_MAX;
            if !count(bytes, shape, &mut left) {
                let text = format!(
                    "the message has too many arguments, keys, fields or operations: they take more than \
                     {ELEMENTS_BYTES_MAX} bytes, at {ELEMENT_BYTES} each and {OPERATION_BYTES} for an operation"
                );
                return Err(Status::out_of_range(text));
            }
        }
        self.inner.decode(src)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;
    use crate::v1::pipeline_request::Operation;

    /// What the elements of a message are counted as.
    fn counted<T: Message + 'static>(message: &T) -> usize {
        let mut left = ELEMENTS_BYTES_MAX;
        assert!(count(&message.encode_to_vec(), shape_of::<T>().unwrap(), &mut left));
        ELEMENTS_BYTES_MAX - left
    }

    fn execute(args: usize) -> v1::ExecuteRequest {
        v1::ExecuteRequest { args: vec![Bytes::new(); args], ..Default::default() }
    }

    #[test]
    fn elements_are_counted_wherever_a_request_has_them() {
        let keys = vec![Bytes::from_static(b"k"); 5];
        assert_eq!(counted(&execute(7)), 7 * ELEMENT_BYTES);
        assert_eq!(counted(&v1::DeleteRequest { keys: keys.clone(), options: None }), 5 * ELEMENT_BYTES);
        let get = v1::HashGetRequest { key: "k".into(), fields: keys.clone(), options: None };
        assert_eq!(counted(&get), 5 * ELEMENT_BYTES);
        let delete = v1::HashDeleteRequest { key: "k".into(), fields: keys.clone(), options: None };
        assert_eq!(counted(&delete), 5 * ELEMENT_BYTES);
        let fields = vec![v1::HashField { name: "a".into(), value: "b".into() }; 3];
        let set = v1::HashSetRequest { key: "k".into(), fields, options: None };
        assert_eq!(counted(&set), 6 * ELEMENT_BYTES);
        let operations = [
            Operation::Execute(execute(7)),
            Operation::HashGet(get),
            Operation::HashDelete(delete),
            Operation::HashSet(set),
            Operation::Get(v1::GetRequest { key: "k".into(), with_ttl: true, options: None }),
        ];
        let all: Vec<_> = operations.into_iter().map(|one| v1::PipelineRequest { operation: Some(one) }).collect();
        let elements = (7 + 5 + 5 + 6) * ELEMENT_BYTES;
        assert_eq!(all.iter().map(counted).sum::<usize>(), elements);
        assert_eq!(counted(&v1::BatchRequest { operations: all.clone() }), elements + 5 * OPERATION_BYTES);
        let compares = vec![v1::Compare { key: "k".into(), ..Default::default() }; 2];
        let txn = v1::TxnRequest { compares, operations: all.clone(), otherwise: all, options: None };
        assert_eq!(counted(&txn), 2 * elements + 12 * OPERATION_BYTES);
        let watch = v1::WatchRequest { keys: keys.clone(), prefixes: keys, ..Default::default() };
        assert_eq!(counted(&watch), 10 * ELEMENT_BYTES);
    }

    #[test]
    fn a_message_with_too_many_elements_or_a_group_is_refused_and_a_damaged_one_left_to_the_decoder() {
        let fits = |bytes: &[u8]| {
            let mut left = ELEMENTS_BYTES_MAX;
            count(bytes, &FIRST_FIELD, &mut left)
        };
        let most = ELEMENTS_BYTES_MAX / ELEMENT_BYTES;
        assert!(fits(&execute(most).encode_to_vec()));
        assert!(!fits(&execute(most + 1).encode_to_vec()));
        let long = v1::ExecuteRequest { args: vec![Bytes::from(vec![b'\n'; 1 << 20])], ..Default::default() };
        assert!(fits(&long.encode_to_vec()), "what a value contains is not counted");
        assert!(!fits(&[0x0b, 0x0c]), "a group could hide what follows it");
        for damaged in [&[0x0a][..], &[0x0a, 5, 1], &[0xff; 11], &[0x09, 1, 2]] {
            assert!(fits(damaged) && v1::ExecuteRequest::decode(damaged).is_err(), "{damaged:?}");
        }
    }
}
