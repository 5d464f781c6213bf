//! Patterns of keys: `~pattern`, `%R~pattern`, `%W~pattern`.

use fastness_engine::command::KeyFlags;
use fastness_engine::command::spec::key_flag;
use fastness_engine::glob;

use crate::rule_error::RuleProblem;
use crate::words;

/// What may be done with a key, or has to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyAccess {
    reads: bool,
    writes: bool,
}

impl KeyAccess {
    /// What a command needs that does this with a key. A command that only asks about the key itself (EXISTS) needs
    /// neither, but a pattern that matches.
    pub(crate) fn needed_for(flags: KeyFlags) -> KeyAccess {
        let writes = KeyFlags(key_flag::UPDATE | key_flag::INSERT | key_flag::DELETE);
        KeyAccess { reads: flags.has(KeyFlags(key_flag::ACCESS)), writes: flags.has_any(writes) }
    }

    fn covers(self, needed: KeyAccess) -> bool {
        self.reads >= needed.reads && self.writes >= needed.writes
    }
}

/// A pattern with what may be done with the keys that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPattern {
    pub(crate) pattern: Vec<u8>,
    access: KeyAccess,
}

impl KeyPattern {
    /// Reads a rule that starts with `~` or `%`.
    pub(crate) fn parse(rule: &[u8]) -> Result<KeyPattern, RuleProblem> {
        let (access, pattern) = match rule {
            [b'~', pattern @ ..] => (KeyAccess { reads: true, writes: true }, pattern),
            [b'%', letters @ ..] => access(letters)?,
            _ => return Err(RuleProblem::Syntax),
        };
        if words::has_spaces(pattern) {
            return Err(RuleProblem::Syntax);
        }
        Ok(KeyPattern { pattern: pattern.to_vec(), access })
    }

    /// Adds what another rule with the same pattern allows.
    pub(crate) fn extend(&mut self, other: &KeyPattern) {
        self.access.reads |= other.access.reads;
        self.access.writes |= other.access.writes;
    }

    /// Whether it allows this with the key.
    pub(crate) fn allows(&self, key: &[u8], needed: KeyAccess) -> bool {
        self.access.covers(needed) && glob::matches(&self.pattern, key)
    }

    /// Whether it allows this with every key.
    pub(crate) fn allows_every_key(&self, needed: KeyAccess) -> bool {
        self.access.covers(needed) && self.pattern == b"*"
    }

    /// Whether it allows this with every key that starts with `prefix`: it is a text without special characters, which
    /// `prefix` starts with, and `*`. Other patterns may match all of these keys, too; that is not found out.
    pub(crate) fn allows_keys_with_prefix(&self, prefix: &[u8], needed: KeyAccess) -> bool {
        let Some(text) = self.pattern.strip_suffix(b"*") else { return false };
        let is_plain = !text.iter().any(|byte| b"*?[]\\".contains(byte));
        self.access.covers(needed) && is_plain && prefix.starts_with(text)
    }

    /// Appends the rule.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        let sign: &[u8] = match (self.access.reads, self.access.writes) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            (true, true) | (false, false) => b"~",
        };
        text.extend_from_slice(sign);
        text.extend_from_slice(&self.pattern);
    }
}

/// What the letters after `%` allow, and the pattern. Without `~` the pattern is empty: it matches the empty key alone.
fn access(letters: &[u8]) -> Result<(KeyAccess, &[u8]), RuleProblem> {
    let mut access = KeyAccess { reads: false, writes: false };
    for (at, letter) in letters.iter().enumerate() {
        match letter {
            b'r' | b'R' if !access.reads => access.reads = true,
            b'w' | b'W' if !access.writes => access.writes = true,
            b'~' if at > 0 => return Ok((access, &letters[at + 1..])),
            _ => return Err(RuleProblem::Syntax),
        }
    }
    if letters.is_empty() { Err(RuleProblem::Syntax) } else { Ok((access, &[])) }
}
