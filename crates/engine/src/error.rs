//! Errors of commands: a closed set, with Valkey's texts.

use std::borrow::Cow;
use std::fmt;

/// Why a command was refused, as the client sees it. Deterministic: it depends only on data, arguments and timestamp.
///
/// `Display` writes the whole error line of the protocol: the error code first, without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// Arguments are invalid or do not fit together.
    Syntax,
    /// The key holds a value of another type.
    WrongType,
    /// An argument or value is not a 64-bit integer.
    NotAnInteger,
    /// An argument or value is not a floating point number.
    NotAFloat,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// The sum is not finite.
    NanOrInfinity,
    /// The negative of DECRBY's argument is out of range.
    DecrementOverflow,
    /// The number of arguments is wrong; with the command's name.
    Arity(&'static str),
    /// An expiration time is invalid; with the command's name.
    InvalidExpire(&'static str),
    /// The offset of SETRANGE is negative.
    OffsetOutOfRange,
    /// The value would be longer than [`fastness_types::limits::VALUE_BYTES_MAX`].
    StringTooLong,
    /// The command may need memory, and more than `maxmemory` is in use.
    OutOfMemory,
    /// The key does not exist.
    NoSuchKey,
    /// Any other fixed text, error code first.
    Fixed(&'static str),
    /// A text that quotes an argument, error code first.
    Text(String),
    /// A text that quotes an argument that need not be UTF-8; see [`CommandError::quoting`].
    Bytes(Vec<u8>),
}

impl CommandError {
    /// The reply would exceed the bound of its command.
    pub const REPLY_TOO_LARGE: CommandError = CommandError::Fixed("ERR the reply would be too large");

    /// The effects would exceed so many bytes, which the command found before it changed anything.
    #[must_use]
    pub fn effects_too_long(bytes_max: usize) -> CommandError {
        CommandError::Text(format!("ERR the command's effects exceed {bytes_max} bytes; no data was changed"))
    }

    /// A text that quotes an argument. As in Valkey, which prints it as a C string, the argument ends at a zero byte,
    /// and line ends at the end of the text are omitted.
    #[must_use]
    pub fn quoting(before: &str, argument: &[u8], after: &str) -> CommandError {
        let end = argument.iter().position(|byte| *byte == 0).unwrap_or(argument.len());
        let mut line = [before.as_bytes(), &argument[..end], after.as_bytes()].concat();
        let text_end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        line.truncate(text_end);
        CommandError::Bytes(line)
    }

    /// The whole error line of the protocol, without the leading `-`.
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
