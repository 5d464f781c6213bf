//! Arguments shared by the commands of fields with deadlines: `FIELDS numfields field ...` after their options.

use crate::command::parse::integer;
use crate::error::CommandError;
use fastness_resp::Args;

/// The error for a `numfields` that is not the number of the fields after it.
pub(super) fn numfields() -> CommandError {
    CommandError::Fixed("ERR numfields should be greater than 0 and match the provided number of fields")
}

/// The fields of a command that has no options: `FIELDS numfields field ...` directly after its key. The error
/// `mismatch` if their count is wrong.
pub(super) fn fields_after_key(args: Args<'_>, mismatch: CommandError) -> Result<Args<'_>, CommandError> {
    if !args.get(2).eq_ignore_ascii_case(b"fields") {
        return Err(CommandError::Syntax);
    }
    counted(args.skip(3), 1, mismatch)
}

/// The arguments after their count, which counts groups of `size` arguments; the error `mismatch` if it is wrong.
pub(super) fn counted(args: Args<'_>, size: usize, mismatch: CommandError) -> Result<Args<'_>, CommandError> {
    let count = usize::try_from(integer(args.get(0))?).ok().filter(|count| *count > 0);
    let rest = args.skip(1);
    if count.and_then(|count| count.checked_mul(size)) == Some(rest.len()) { Ok(rest) } else { Err(mismatch) }
}

/// Splits the arguments at the word FIELDS: the options before it, from `options_at` on, and the arguments after it,
/// their count first. As in Valkey, the word is searched for from argument `from` on and is never the last argument.
pub(super) fn split(args: Args<'_>, from: usize, options_at: usize) -> Result<(Args<'_>, Args<'_>), CommandError> {
    let is_word = |at: &usize| args.get(*at).eq_ignore_ascii_case(b"fields");
    let at = (from..args.len() - 1).find(is_word).ok_or_else(numfields)?;
    Ok((args.take(at).skip(options_at), args.skip(at + 1)))
}

/// The least number that the commands of fields take for a time. (Those of keys take 1.)
pub(super) const LEAST_TIME: i64 = 0;
