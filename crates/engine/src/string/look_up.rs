//! Look-ups and replies shared by the commands of strings.

use crate::error::CommandError;
use crate::keyspace::{Entry, TypeNumber, ValueRef};

use fastness_resp::ReplyBuf;
use fastness_types::limits::VALUE_BYTES_MAX;

/// Refuses an entry that is not a string.
pub(crate) fn check_string(entry: &Entry) -> Result<(), CommandError> {
    if entry.value().of() == TypeNumber::STRING { Ok(()) } else { Err(CommandError::WrongType) }
}

/// Replies with a string.
#[inline]
pub(crate) fn reply_string(entry: &Entry, reply: &mut ReplyBuf) -> Result<(), CommandError> {
    match entry.value() {
        ValueRef::Text(text) => reply.bulk(text),
        ValueRef::Int(number) => reply.bulk_integer(number),
        ValueRef::Long(text) => match text.share() {
            Some(text) => reply.bulk_shared(text),
            None => reply.bulk(&**text),
        },
        ValueRef::Packed(_) | ValueRef::Object(_) => return Err(CommandError::WrongType),
    }
    Ok(())
}

/// Replies with a string, or with null without an entry.
#[inline]
pub(crate) fn reply_string_or_null(entry: Option<&Entry>, reply: &mut ReplyBuf) -> Result<(), CommandError> {
    match entry {
        Some(entry) => reply_string(entry, reply),
        None => {
            reply.null();
            Ok(())
        }
    }
}

/// A string's bytes, which are written into `buffer` if it is an integer.
pub(crate) fn text_of<'a>(entry: &'a Entry, buffer: &'a mut itoa::Buffer) -> Result<&'a [u8], CommandError> {
    entry.value().text(buffer).ok_or(CommandError::WrongType)
}

/// Refuses a string that would be too long.
pub(crate) fn check_length(bytes: usize, more: usize) -> Result<(), CommandError> {
    match bytes.checked_add(more) {
        Some(total) if total <= VALUE_BYTES_MAX => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}
