//! Reads the stored form of a user, which [`User::rules`] prints.
//!
//! Another version with other commands and categories may have written it. What this table does not know is left out,
//! in a way that rights never grow:
//!
//! - `+command`, `+@category`: it allowed what does not exist here.
//! - `-command`: it denied what does not exist here. `-command|sub`, where the command has no subcommands here: the
//!   whole command is denied.
//! - `-@category`: which commands it denied is unknown, so all are denied, and only what follows is allowed.
//!
//! Unlike the arguments of ACL SETUSER, words of a stored selector are not quoted: blanks alone separate them. A
//! parenthesis inside a pattern is no end, because the first word of a selector is the only one that starts with `(`.
//!
//! Two different users have the same form: `~*` is printed for all keys, and for the pattern `*` (`%RW~*`), which does
//! not match the empty key. Beside other patterns it is read as the pattern, alone as all keys, as Valkey reads it.

use fastness_engine::command::CommandTable;

use crate::limits::RULE_BYTES_MAX;
use crate::rule_error::{RuleError, RuleProblem};
use crate::selector::Selector;
use crate::user::User;

impl User {
    /// Reads what [`User::rules`] returned, maybe of another version: commands and categories that the table does not
    /// have are left out, and the user may do less then.
    ///
    /// # Errors
    /// Everything else that is wrong.
    pub fn from_stored(table: &'static CommandTable, text: &[u8]) -> Result<User, RuleError> {
        let opens = |word: &&[u8]| word.first() == Some(&b'(');
        let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
        let (root, selectors) = words.split_at(words.iter().position(opens).unwrap_or(words.len()));
        let mut user = User::new(table);
        for word in root {
            let applied = match user.apply(unambiguous(word, root)) {
                Err(RuleProblem::Unknown) => leave_out(&mut user.root, table, word),
                applied => applied,
            };
            applied.map_err(|problem| RuleError::new(word, problem))?;
        }
        for part in selectors.chunk_by(|_, next| !opens(next)) {
            let stored = read_selector(table, part).and_then(|selector| user.add_selector(selector));
            stored.map_err(|problem| RuleError::new(&part.join(&b' '), problem))?;
        }
        user.seal();
        Ok(user)
    }
}

/// Reads a selector, with its parentheses.
fn read_selector(table: &CommandTable, part: &[&[u8]]) -> Result<Selector, RuleProblem> {
    let text = part.join(&b' ');
    if text.len() > RULE_BYTES_MAX {
        return Err(RuleProblem::TooLong);
    }
    let text = text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")"));
    let text = text.ok_or(RuleProblem::UnmatchedParenthesis)?;
    let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    let mut selector = Selector::new(table);
    for word in &words {
        match selector.apply(table, unambiguous(word, &words)) {
            Err(RuleProblem::Unknown) => leave_out(&mut selector, table, word)?,
            applied => applied?,
        }
    }
    Ok(selector)
}

/// The rule that a word stands for among those of its selector.
fn unambiguous<'a>(word: &'a [u8], all: &[&[u8]]) -> &'a [u8] {
    let is_key = |word: &&&[u8]| matches!(word, [b'~' | b'%', ..]);
    if word == b"~*" && all.iter().filter(is_key).count() > 1 { b"%RW~*" } else { word }
}

/// Leaves out a rule about an unknown command or category, so that rights do not grow.
fn leave_out(selector: &mut Selector, table: &CommandTable, rule: &[u8]) -> Result<(), RuleProblem> {
    match rule {
        [b'-', b'@', ..] => selector.apply(table, b"nocommands"),
        [b'-', name @ ..] => {
            let command = name.split(|byte| *byte == b'|').next().unwrap_or_default();
            let is_whole = table.named(command).is_some_and(|spec| !spec.is_container());
            if is_whole { selector.apply(table, &rule[..1 + command.len()]) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}
