//! What a register of the simulation is, by its number: a value of each type, whose newest element is what was written
//! last. So the effects of all types are replicated, undone and restored in every run, and the ledger judges them
//! alike.

use fastness_resp::request;
use fastness_resp::value::Value;

/// Number of forms: registers with consecutive numbers have all of them.
pub const FORMS: usize = 6;

/// The only field of a hash or entry.
const FIELD: &[u8] = b"f";
/// A write by a script.
const SCRIPT: &[u8] = b"return redis.call('SET', KEYS[1], ARGV[1])";

/// The type of a register or counter, or how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterForm {
    /// A string.
    Text,
    /// A field of a hash.
    Field,
    /// The last element of a list.
    Last,
    /// The member of a sorted set with the highest score.
    Highest,
    /// The newest entry of a stream.
    Entry,
    /// A string that a script writes.
    Scripted,
}

impl RegisterForm {
    /// The form of a key: that of a register follows from its number, and one of the two counters of a client is a
    /// field.
    #[must_use]
    pub fn of(key: &str) -> RegisterForm {
        let number = key.split_once(":k").and_then(|(_, number)| number.parse::<usize>().ok());
        match number.map(|number| number % FORMS) {
            Some(1) => RegisterForm::Field,
            Some(2) => RegisterForm::Last,
            Some(3) => RegisterForm::Highest,
            Some(4) => RegisterForm::Entry,
            Some(5) => RegisterForm::Scripted,
            _ if key.ends_with(":n1") => RegisterForm::Field,
            _ => RegisterForm::Text,
        }
    }

    /// The command that writes a value; `number` rises with every write.
    pub fn write(self, key: &str, number: u64, value: &[u8], out: &mut Vec<u8>) {
        let key = key.as_bytes();
        match self {
            RegisterForm::Text => request::encode(&[b"SET", key, value], out),
            RegisterForm::Field => request::encode(&[b"HSET", key, FIELD, value], out),
            RegisterForm::Last => request::encode(&[b"RPUSH", key, value], out),
            RegisterForm::Highest => request::encode(&[b"ZADD", key, number.to_string().as_bytes(), value], out),
            RegisterForm::Entry => request::encode(&[b"XADD", key, b"*", FIELD, value], out),
            RegisterForm::Scripted => request::encode(&[b"EVAL", SCRIPT, b"1", key, value], out),
        }
    }

    /// The command that raises a counter.
    pub fn raise(self, key: &str, out: &mut Vec<u8>) {
        match self {
            RegisterForm::Field => request::encode(&[b"HINCRBY", key.as_bytes(), FIELD, b"1"], out),
            _ => request::encode(&[b"INCR", key.as_bytes()], out),
        }
    }

    /// The command that reads what was written last. [`newest`] finds it in the reply.
    pub fn read(self, key: &str, out: &mut Vec<u8>) {
        let key = key.as_bytes();
        match self {
            RegisterForm::Text | RegisterForm::Scripted => request::encode(&[b"GET", key], out),
            RegisterForm::Field => request::encode(&[b"HGET", key, FIELD], out),
            RegisterForm::Last => request::encode(&[b"LINDEX", key, b"-1"], out),
            RegisterForm::Highest => request::encode(&[b"ZRANGE", key, b"0", b"0", b"REV"], out),
            RegisterForm::Entry => request::encode(&[&b"XREVRANGE"[..], key, b"+", b"-", b"COUNT", b"1"], out),
        }
    }
}

/// What was written last, in the reply to [`RegisterForm::read`]: its innermost last element.
#[must_use]
pub fn newest(reply: &Value) -> Option<&[u8]> {
    match reply {
        Value::Array(elements) => elements.last().and_then(newest),
        value => value.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_all_forms_and_other_keys_are_strings() {
        let forms: Vec<RegisterForm> = (0..FORMS).map(|number| RegisterForm::of(&format!("c7:k{number}"))).collect();
        assert_eq!(
            forms,
            [
                RegisterForm::Text,
                RegisterForm::Field,
                RegisterForm::Last,
                RegisterForm::Highest,
                RegisterForm::Entry,
                RegisterForm::Scripted
            ]
        );
        let others = ["c7:n0", "c7:n1", "c7:x0", "a1:key"].map(RegisterForm::of);
        assert_eq!(others, [RegisterForm::Text, RegisterForm::Field, RegisterForm::Text, RegisterForm::Text]);
    }

    #[test]
    fn the_newest_element_is_found_in_every_reply() {
        let text = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let entry = Value::Array(vec![text("1-0"), Value::Array(vec![text("f"), text("5:x")])]);
        for reply in [text("5:x"), Value::Array(vec![text("5:x")]), Value::Array(vec![entry])] {
            assert_eq!(newest(&reply), Some(&b"5:x"[..]), "{reply:?}");
        }
        assert_eq!((newest(&Value::Null), newest(&Value::Array(vec![]))), (None, None));
    }
}
