//! What the typed calls share: the words of a command, and its reply as the type that the command has.

use std::collections::BTreeSet;

use bytes::Bytes;
use tonic::Code;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::slots::key_slot;
use crate::verdict::CallKind;

/// A command, word by word.
pub(crate) struct Words {
    words: Vec<Bytes>,
    /// The slot of the first key.
    slot: Option<u16>,
}

impl Words {
    /// A command without arguments.
    pub(crate) fn new(name: &'static str) -> Words {
        Words { words: vec![Bytes::from_static(name.as_bytes())], slot: None }
    }

    /// With a key as an argument.
    pub(crate) fn key(mut self, key: impl AsRef<[u8]>) -> Words {
        self.slot = self.slot.or_else(|| Some(key_slot(key.as_ref())));
        self.arg(key)
    }

    /// With keys as arguments, at least one.
    pub(crate) fn keys<K: AsRef<[u8]>>(self, keys: impl IntoIterator<Item = K>) -> Result<Words, ClientError> {
        let before = self.words.len();
        let words = keys.into_iter().fold(self, Words::key);
        words.longer_than(before)
    }

    /// With one more argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<[u8]>) -> Words {
        self.words.push(Bytes::copy_from_slice(arg.as_ref()));
        self
    }

    /// With a number as an argument.
    pub(crate) fn number(mut self, number: impl ToString) -> Words {
        self.words.push(Bytes::from(number.to_string()));
        self
    }

    /// With more arguments.
    pub(crate) fn args<A: AsRef<[u8]>>(mut self, args: impl IntoIterator<Item = A>) -> Words {
        self.words.extend(args.into_iter().map(|arg| Bytes::copy_from_slice(arg.as_ref())));
        self
    }

    /// With more arguments, at least one.
    pub(crate) fn some<A: AsRef<[u8]>>(self, args: impl IntoIterator<Item = A>) -> Result<Words, ClientError> {
        let before = self.words.len();
        self.args(args).longer_than(before)
    }

    fn longer_than(self, len: usize) -> Result<Words, ClientError> {
        if self.words.len() > len { Ok(self) } else { Err(ClientError::invalid("at least one of them is needed")) }
    }
}

impl Client {
    /// Runs a command that may change data, and reads its reply.
    pub(crate) async fn typed_write<T>(
        &self,
        words: Words,
        read: impl FnOnce(&ReplyValue) -> Option<T>,
    ) -> Result<T, ClientError> {
        let reply = self.run_command(CallKind::Write, words.words, words.slot).await?;
        read(&reply).ok_or_else(|| unexpected_write(&reply))
    }

    /// Runs a command that changes nothing, and reads its reply.
    pub(crate) async fn typed_read<T>(
        &self,
        words: Words,
        read: impl FnOnce(&ReplyValue) -> Option<T>,
    ) -> Result<T, ClientError> {
        let reply = self.run_command(CallKind::Read, words.words, words.slot).await?;
        read(&reply).ok_or_else(|| unexpected_read(&reply))
    }
}

/// A reply of another kind than the command has: of a write, which has happened.
fn unexpected_write(reply: &ReplyValue) -> ClientError {
    ClientError::OutcomeUnknown { message: format!("a reply of an unexpected kind: {reply:?}") }
}

/// The same of a read.
fn unexpected_read(reply: &ReplyValue) -> ClientError {
    let message = format!("a reply of an unexpected kind: {reply:?}");
    ClientError::Refused { code: Code::Internal, reason: String::new(), message, metadata: Default::default() }
}

/// A number of things.
pub(crate) fn count(reply: &ReplyValue) -> Option<u64> {
    u64::try_from(reply.as_integer()?).ok()
}

/// Whether something is so: 1 or 0.
pub(crate) fn flag(reply: &ReplyValue) -> Option<bool> {
    reply.as_integer().map(|number| number > 0)
}

/// A floating-point number, as such or as text.
pub(crate) fn decimal(reply: &ReplyValue) -> Option<f64> {
    match reply {
        ReplyValue::Double(number) => Some(*number),
        ReplyValue::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// A string of bytes.
pub(crate) fn bytes(reply: &ReplyValue) -> Option<Bytes> {
    match reply {
        ReplyValue::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

/// The reply of a command that has nothing to tell.
pub(crate) fn done(reply: &ReplyValue) -> Option<()> {
    matches!(reply, ReplyValue::Status(_)).then_some(())
}

/// What may be absent.
pub(crate) fn optional<T>(
    read: impl FnOnce(&ReplyValue) -> Option<T>,
) -> impl FnOnce(&ReplyValue) -> Option<Option<T>> {
    |reply| if *reply == ReplyValue::Null { Some(None) } else { read(reply).map(Some) }
}

/// All values of an array or a set; none if it is absent.
pub(crate) fn each<T>(read: impl Fn(&ReplyValue) -> Option<T>) -> impl FnOnce(&ReplyValue) -> Option<Vec<T>> {
    move |reply| match reply {
        ReplyValue::Null => Some(Vec::new()),
        reply => reply.as_values()?.iter().map(read).collect(),
    }
}

/// Different strings of bytes.
pub(crate) fn distinct(reply: &ReplyValue) -> Option<BTreeSet<Bytes>> {
    reply.as_values()?.iter().map(bytes).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn commands_are_written_word_by_word() {
        let words = Words::new("SADD").key("s").some(["a", "b"]).unwrap();
        assert_eq!(words.words, ["SADD", "s", "a", "b"].map(Bytes::from));
        assert!(matches!(Words::new("SADD").arg("s").some([""; 0]), Err(ClientError::Invalid { .. })));
        assert_eq!(Words::new("LPOP").number(-7).words, ["LPOP", "-7"].map(Bytes::from));
        assert!(Words::new("SUNION").keys([""; 0]).is_err());
        let words = Words::new("SINTERCARD").number(2).keys(["a", "b"]).unwrap();
        assert_eq!(
            (words.words, words.slot),
            (["SINTERCARD", "2", "a", "b"].map(Bytes::from).to_vec(), Some(key_slot(b"a")))
        );
    }

    #[test]
    fn replies_are_read() {
        let text = |text: &'static str| ReplyValue::Bytes(text.into());
        assert_eq!((count(&ReplyValue::Integer(3)), count(&ReplyValue::Integer(-1))), (Some(3), None));
        assert_eq!((flag(&ReplyValue::Integer(0)), flag(&ReplyValue::Null)), (Some(false), None));
        assert_eq!((decimal(&ReplyValue::Double(1.5)), decimal(&text("-2.5"))), (Some(1.5), Some(-2.5)));
        assert_eq!((decimal(&text("x")), decimal(&ReplyValue::Null)), (None, None));
        assert_eq!((bytes(&text("a")), bytes(&ReplyValue::Integer(1))), (Some("a".into()), None));
        assert_eq!((done(&ReplyValue::Status("OK".to_owned())), done(&ReplyValue::Null)), (Some(()), None));
        assert_eq!((optional(count)(&ReplyValue::Null), optional(count)(&text("a"))), (Some(None), None));
        let array = |values: &[ReplyValue]| ReplyValue::Array(values.to_vec());
        assert_eq!(each(bytes)(&array(&[text("b"), text("a")])).unwrap(), ["b", "a"]);
        assert_eq!(each(bytes)(&ReplyValue::Null).unwrap(), [""; 0]);
        assert_eq!((each(bytes)(&array(&[ReplyValue::Null])), each(bytes)(&text("a"))), (None, None));
        let both = BTreeSet::from(["a", "b"].map(Bytes::from));
        assert_eq!(distinct(&ReplyValue::Set(vec![text("b"), text("a")])), Some(both));
        assert_eq!(distinct(&ReplyValue::Null), None);
    }

    #[test]
    fn a_write_with_another_reply_has_happened() {
        let reply = ReplyValue::Null;
        assert!(unexpected_write(&reply).may_have_happened() && !unexpected_read(&reply).may_have_happened());
    }
}
