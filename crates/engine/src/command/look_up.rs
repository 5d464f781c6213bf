//! From a request's arguments to the command that it names, or to the text with which Valkey refuses it.

use super::table::{CommandSpec, CommandTable, Run};
use crate::error::CommandError;
use fastness_resp::Args;
use std::fmt;

/// How much of a request's words an error quotes, bytes.
const QUOTED_BYTES_MAX: usize = 128;

/// Why a request names no command that can run: Valkey's text, error code first. It quotes the request, so it need not
/// be UTF-8; write it with `reply.error(&error)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupError {
    text: Vec<u8>,
}

impl AsRef<[u8]> for LookupError {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for LookupError {}

impl From<CommandError> for LookupError {
    fn from(error: CommandError) -> LookupError {
        LookupError { text: error.line().into_owned() }
    }
}

impl CommandTable {
    /// The command that a request names, with as many arguments as it takes.
    ///
    /// # Errors
    /// Unknown command, unknown subcommand, wrong number of arguments, or a command that is refused in every form.
    #[inline]
    pub fn look_up(&self, args: Args<'_>) -> Result<&CommandSpec, LookupError> {
        let Some(spec) = args.try_get(0).and_then(|name| self.top_level(name)) else {
            return Err(unknown_command(args));
        };
        if spec.is_container() {
            return self.look_up_subcommand(spec, args);
        }
        check(spec, args)
    }

    fn look_up_subcommand<'a>(
        &'a self,
        container: &'a CommandSpec,
        args: Args<'_>,
    ) -> Result<&'a CommandSpec, LookupError> {
        let Some(name) = args.try_get(1) else {
            return if matches!(container.run, Run::Missing) && container.is_implemented {
                Err(CommandError::Arity(container.name).into())
            } else {
                check(container, args)
            };
        };
        match self.subcommand(container, name) {
            Some(spec) if !matches!(spec.run, Run::Missing) => check(spec, args),
            _ if container.is_implemented => Err(unknown_subcommand(container, name)),
            _ => Err(unknown_command(args)),
        }
    }
}

#[inline]
fn check<'a>(spec: &'a CommandSpec, args: Args<'_>) -> Result<&'a CommandSpec, LookupError> {
    match spec.run {
        Run::Missing => Err(unknown_command(args)),
        _ if !spec.takes(args.len()) => Err(CommandError::Arity(spec.name).into()),
        Run::Refused(text) => Err(CommandError::Fixed(text).into()),
        _ => Ok(spec),
    }
}

#[cold]
fn unknown_command(args: Args<'_>) -> LookupError {
    let mut text = b"ERR unknown command '".to_vec();
    if let Some(name) = args.try_get(0) {
        text.extend_from_slice(quoted(name, QUOTED_BYTES_MAX));
    }
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in args.skip(1).iter() {
        let used = text.len() - start;
        if used >= QUOTED_BYTES_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(quoted(arg, QUOTED_BYTES_MAX - used));
        text.extend_from_slice(b"' ");
    }
    LookupError { text }
}

#[cold]
fn unknown_subcommand(container: &CommandSpec, name: &[u8]) -> LookupError {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(quoted(name, QUOTED_BYTES_MAX));
    text.extend_from_slice(b"'. Try ");
    text.extend_from_slice(container.name.to_ascii_uppercase().as_bytes());
    text.extend_from_slice(b" HELP.");
    LookupError { text }
}

/// What an error shows of a word: Valkey prints it as a C string, so it ends at a zero byte.
fn quoted(word: &[u8], bytes_max: usize) -> &[u8] {
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    &word[..end.min(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    fn refusal(words: &[&[u8]]) -> String {
        table().look_up(Args::slices(words)).expect_err("the request is refused").to_string()
    }

    #[test]
    fn unknown_commands_are_quoted_as_valkey_quotes_them() {
        assert_eq!(
            refusal(&[b"noSuch", b"a", b"b"]),
            "ERR unknown command 'noSuch', with args beginning with: 'a' 'b' "
        );
        assert_eq!(refusal(&[b""]), "ERR unknown command '', with args beginning with: ");
        assert_eq!(refusal(&[b"client|id"]), "ERR unknown command 'client|id', with args beginning with: ");
        assert_eq!(refusal(&[b"fo\0o", b"a\0b", b"c"]), "ERR unknown command 'fo', with args beginning with: 'a' 'c' ");
    }

    #[test]
    fn long_words_are_cut() {
        let (b, c) = ("b".repeat(100), "c".repeat(100));
        assert_eq!(
            refusal(&[b"foo", b.as_bytes(), c.as_bytes(), b"d"]),
            format!("ERR unknown command 'foo', with args beginning with: '{b}' '{}' ", &c[..25])
        );
        assert_eq!(
            refusal(&["a".repeat(200).as_bytes(), b"x"]),
            format!("ERR unknown command '{}', with args beginning with: 'x' ", "a".repeat(128))
        );
    }

    #[test]
    fn subcommands_have_their_own_texts() {
        assert_eq!(refusal(&[b"command", b"foo"]), "ERR unknown subcommand 'foo'. Try COMMAND HELP.");
        assert_eq!(refusal(&[b"COMMAND", b"GETKEYS"]), "ERR wrong number of arguments for 'command|getkeys' command");
        assert_eq!(table().look_up(Args::slices(&[b"command"])).expect("COMMAND runs").name, "command");
    }

    #[test]
    fn what_is_not_implemented_is_an_unknown_command() {
        let missing =
            table().missing().find(|spec| !spec.name.contains('|')).expect("something is not implemented yet");
        assert!(refusal(&[missing.name.as_bytes()]).starts_with("ERR unknown command "), "{}", missing.name);
    }
}
