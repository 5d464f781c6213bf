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
        let mut user = User::new(table);
        let mut words = text.split(|byte| *byte == b' ').peekable();
        while let Some(word) = words.next() {
            if word.first() != Some(&b'(') {
                let applied = user.apply(word).or_else(|problem| match problem {
                    RuleProblem::Unknown => leave_out(&mut user.root, table, word),
                    other => Err(other),
                });
                applied.map_err(|problem| RuleError::new(word, problem))?;
                continue;
            }
            let mut selector = vec![word];
            while let Some(next) = words.next_if(|next| next.first() != Some(&b'(')) {
                selector.push(next);
            }
            let stored = read_selector(table, &selector).and_then(|selector| user.add_selector(selector));
            stored.map_err(|problem| RuleError::new(&selector.join(&b' '), problem))?;
        }
        user.seal();
        Ok(user)
    }
}

/// Reads a selector; the first word starts with a parenthesis.
fn read_selector(table: &CommandTable, words: &[&[u8]]) -> Result<Selector, RuleProblem> {
    let mut selector = Selector::new(table);
    let length: usize = words.iter().map(|word| word.len() + 1).sum();
    if length > RULE_BYTES_MAX {
        return Err(RuleProblem::TooLong);
    }
    let last = words.len() - 1;
    for (at, word) in words.iter().enumerate() {
        let word = if at == 0 { &word[1..] } else { word };
        let word = if at == last { word.strip_suffix(b")").ok_or(RuleProblem::UnmatchedParenthesis)? } else { word };
        match selector.apply(table, word) {
            Err(RuleProblem::Unknown) => leave_out(&mut selector, table, word)?,
            applied => applied?,
        }
    }
    Ok(selector)
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
