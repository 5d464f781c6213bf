//! Why a command is refused: a closed set, with Valkey's texts, in this one file.

use std::borrow::Cow;
use std::fmt;

/// A refusal that a user sees. Deterministic: it depends on the data, the arguments and the timestamp alone.
///
/// `Display` gives the whole line as it goes over the wire, error code first, without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// Arguments that do not fit together.
    Syntax,
    /// The key holds another type than the command is made for.
    WrongType,
    /// Not a 64-bit integer.
    NotAnInteger,
    /// Not a float.
    NotAFloat,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// The sum is not finite.
    NanOrInfinity,
    /// DECRBY's argument has no negative.
    DecrementOverflow,
    /// Number of arguments; the command's name.
    Arity(&'static str),
    /// An expiry that is not a valid time; the command's name.
    InvalidExpire(&'static str),
    /// SETRANGE's offset.
    OffsetOutOfRange,
    /// The value would be longer than [`fastness_types::limits::VALUE_BYTES_MAX`].
    StringTooLong,
    /// A write while the memory in use is over `maxmemory`.
    OutOfMemory,
    /// The key does not exist, where that is an error.
    NoSuchKey,
    /// Any other fixed text, error code first.
    Fixed(&'static str),
    /// A text that quotes an argument, error code first.
    Text(String),
    /// The same for an argument that need not be UTF-8; see [`CommandError::quoting`].
    Bytes(Vec<u8>),
}

impl CommandError {
    /// A text around an argument. As in Valkey, which prints it as a C string, the argument ends at a zero byte;
    /// line ends behind the text are left out.
    #[must_use]
    pub fn quoting(before: &str, argument: &[u8], after: &str) -> CommandError {
        let end = argument.iter().position(|byte| *byte == 0).unwrap_or(argument.len());
        let mut line = [before.as_bytes(), &argument[..end], after.as_bytes()].concat();
        let text_end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        line.truncate(text_end);
        CommandError::Bytes(line)
    }

    /// The whole line as it goes over the wire, without the leading `-`.
    #[must_use]
    pub fn line(&self) -> Cow<'_, [u8]> {
        match self {
            CommandError::Bytes(line) => Cow::Borrowed(line),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            CommandError::Syntax => "ERR syntax error",
            CommandError::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            CommandError::NotAnInteger => "ERR value is not an integer or out of range",
            CommandError::NotAFloat => "ERR value is not a valid float",
            CommandError::Overflow => "ERR increment or decrement would overflow",
            CommandError::NanOrInfinity => "ERR increment would produce NaN or Infinity",
            CommandError::DecrementOverflow => "ERR decrement would overflow",
            CommandError::Arity(name) => return write!(f, "ERR wrong number of arguments for '{name}' command"),
            CommandError::InvalidExpire(name) => return write!(f, "ERR invalid expire time in '{name}' command"),
            CommandError::OffsetOutOfRange => "ERR offset is out of range",
            CommandError::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CommandError::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::Fixed(text) => text,
            CommandError::Text(text) => text,
            CommandError::Bytes(line) => return f.write_str(&String::from_utf8_lossy(line)),
        };
        f.write_str(text)
    }
}

impl std::error::Error for CommandError {}
