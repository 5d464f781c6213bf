//! A member of a set, as its set stores it.

use fastness_resp::ReplyBuf;
use fastness_resp::number::{int_text, parse_int};

/// A member: sets of integers store them as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetMember<'a> {
    /// The decimal form of this integer.
    Int(i64),
    /// These bytes, which may be the decimal form of an integer as well.
    Text(&'a [u8]),
}

impl<'a> SetMember<'a> {
    /// The bytes, which are written into `buffer` if the member is stored as a number.
    #[must_use]
    pub fn text<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        Self: 'b,
    {
        match self {
            SetMember::Int(number) => int_text(number, buffer),
            SetMember::Text(text) => text,
        }
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }

    /// The integer of which the member is the decimal form, if it is one.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self {
            SetMember::Int(number) => Some(number),
            SetMember::Text(text) => parse_int(text),
        }
    }

    /// Replies with the member.
    pub fn write(self, reply: &mut ReplyBuf) {
        match self {
            SetMember::Int(number) => reply.bulk_integer(number),
            SetMember::Text(text) => reply.bulk(text),
        }
    }
}
