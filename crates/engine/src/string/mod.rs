//! The string commands, one file each or per tight family.
//!
//! A command parses all of its arguments before it looks at data, looks at data before it changes any, and replies
//! once. Errors come in the order in which Valkey finds them, since clients see the first.

pub mod append;
pub mod delifeq;
pub mod get;
pub mod getex;
pub mod getrange;
pub mod incr;
pub mod incrbyfloat;
pub mod lcs;
pub(crate) mod long_double;
pub mod mset;
pub mod msetex;
pub mod options;
pub mod set;

use crate::error::CommandError;
use crate::keyspace::Entry;
use crate::value::{Object, Type, ValueRef};
use fastness_resp::ReplyBuf;
use fastness_types::limits::VALUE_BYTES_MAX;

/// Refuses an entry that is no string.
pub(crate) fn check_string(entry: &Entry) -> Result<(), CommandError> {
    match entry.value().kind() {
        Type::String => Ok(()),
        Type::Hash => Err(CommandError::WrongType),
    }
}

/// Replies with a string.
#[inline]
pub(crate) fn reply_string(entry: &Entry, reply: &mut ReplyBuf) -> Result<(), CommandError> {
    match entry.value() {
        ValueRef::Text(text) => reply.bulk(text),
        ValueRef::Int(number) => reply.bulk_integer(number),
        ValueRef::Object(Object::Text(text)) => match text.share() {
            Some(text) => reply.bulk_shared(text),
            None => reply.bulk(&**text),
        },
        ValueRef::Flat(_) | ValueRef::Object(Object::Hash(_)) => return Err(CommandError::WrongType),
    }
    Ok(())
}

/// Replies with a string, or with null for no entry.
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

/// A string's bytes, written into `buffer` if it is an integer.
pub(crate) fn text_of<'a>(entry: &'a Entry, buffer: &'a mut itoa::Buffer) -> Result<&'a [u8], CommandError> {
    entry.value().text(buffer).ok_or(CommandError::WrongType)
}

/// Refuses a string that would be too long.
fn check_length(bytes: usize, more: usize) -> Result<(), CommandError> {
    match bytes.checked_add(more) {
        Some(total) if total <= VALUE_BYTES_MAX => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}
