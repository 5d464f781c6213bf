//! What the commands of fields with deadlines have in common: `FIELDS numfields field ...` behind their options, and
//! times.

use crate::command::parse::integer;
use crate::error::CommandError;
use fastness_resp::Args;

/// The refusal of a number that is not that of the fields behind it.
pub(super) fn numfields() -> CommandError {
    CommandError::Fixed("ERR numfields should be greater than 0 and match the provided number of fields")
}

/// Refuses another word in the place of FIELDS.
pub(super) fn expect_fields(word: &[u8]) -> Result<(), CommandError> {
    if word.eq_ignore_ascii_case(b"fields") { Ok(()) } else { Err(CommandError::Syntax) }
}

/// The arguments behind their number, which is that of groups of `size`; `mismatch` if it is not.
pub(super) fn counted(args: Args<'_>, size: usize, mismatch: CommandError) -> Result<Args<'_>, CommandError> {
    let count = usize::try_from(integer(args.get(0))?).ok().filter(|count| *count > 0);
    let rest = args.skip(1);
    if count.and_then(|count| count.checked_mul(size)) == Some(rest.len()) { Ok(rest) } else { Err(mismatch) }
}

/// The options before the word FIELDS, and the arguments behind it, their number first. As Valkey, the word is looked
/// for from argument `from` on, and there is an argument behind it.
pub(super) fn split(args: Args<'_>, from: usize, options_at: usize) -> Result<(Args<'_>, Args<'_>), CommandError> {
    let is_word = |at: &usize| args.get(*at).eq_ignore_ascii_case(b"fields");
    let at = (from..args.len() - 1).find(is_word).ok_or_else(numfields)?;
    Ok((args.take(at).skip(options_at), args.skip(at + 1)))
}

/// The least number that the commands of fields take for a time. (Those of keys take 1.)
pub(super) const LEAST_TIME: i64 = 0;
