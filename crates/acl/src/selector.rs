//! A selector: rules that hold together. A request is allowed if one selector of the user allows all of it.

use fastness_engine::command::{CommandTable, KeyFlags};
use fastness_engine::glob;

use crate::command_rights::CommandRights;
use crate::database_rights::DatabaseRights;
use crate::key_pattern::{KeyAccess, KeyPattern};
use crate::limits::PATTERNS_MAX;
use crate::rule_error::RuleProblem;
use crate::words;

/// Commands, keys, channels and databases. Its texts are those of ACL GETUSER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub(crate) commands: CommandRights,
    all_keys: bool,
    /// Empty if all keys are allowed.
    keys: Vec<KeyPattern>,
    all_channels: bool,
    /// Empty if all channels are allowed.
    channels: Vec<Vec<u8>>,
    pub(crate) databases: DatabaseRights,
}

impl Selector {
    /// No commands, keys and channels, all databases.
    pub(crate) fn new(table: &CommandTable) -> Selector {
        Selector {
            commands: CommandRights::none(table),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
            databases: DatabaseRights::All,
        }
    }

    /// All commands, keys, channels and databases.
    pub(crate) fn all(table: &CommandTable) -> Selector {
        let mut selector = Selector { all_keys: true, all_channels: true, ..Selector::new(table) };
        selector.commands.start(table, true);
        selector
    }

    /// Reads a rule in parentheses. Like Valkey, it makes an empty selector of one with a quote that is not closed.
    pub(crate) fn parse(table: &CommandTable, rule: &[u8]) -> Result<Selector, RuleProblem> {
        let mut selector = Selector::new(table);
        if !words::is_selector(rule) {
            return Err(RuleProblem::Syntax);
        }
        for word in words::split(&rule[1..rule.len() - 1]).unwrap_or_default() {
            selector.apply(table, &word)?;
        }
        Ok(selector)
    }

    /// Applies a rule about commands, keys, channels or databases.
    pub(crate) fn apply(&mut self, table: &CommandTable, rule: &[u8]) -> Result<(), RuleProblem> {
        let word = words::up_to_zero(rule);
        match word.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.set_keys(true),
            b"resetkeys" => self.set_keys(false),
            b"allchannels" | b"&*" => self.set_channels(true),
            b"resetchannels" => self.set_channels(false),
            b"alldbs" => self.databases = DatabaseRights::All,
            b"resetdbs" => self.databases = DatabaseRights::Only(Vec::new()),
            b"allcommands" => self.commands.start(table, true),
            b"nocommands" => self.commands.start(table, false),
            [b'd', b'b', b'=', ..] => self.databases = DatabaseRights::parse(&word[b"db=".len()..])?,
            [b'~' | b'%', ..] => self.add_key(rule)?,
            [b'&', ..] => self.add_channel(&rule[1..])?,
            [b'+' | b'-', ..] => self.commands.apply(table, word)?,
            _ => return Err(RuleProblem::Syntax),
        }
        if self.count() > PATTERNS_MAX { Err(RuleProblem::TooManyPatterns) } else { Ok(()) }
    }

    fn set_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn add_key(&mut self, rule: &[u8]) -> Result<(), RuleProblem> {
        if self.all_keys {
            return Err(RuleProblem::AfterAllKeys);
        }
        let added = KeyPattern::parse(rule)?;
        match self.keys.iter_mut().find(|known| known.pattern == added.pattern) {
            Some(known) => known.extend(&added),
            None => self.keys.push(added),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleProblem> {
        if self.all_channels {
            return Err(RuleProblem::AfterAllChannels);
        }
        if words::has_spaces(pattern) {
            return Err(RuleProblem::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// Number of patterns, first arguments and databases.
    pub(crate) fn count(&self) -> usize {
        self.keys.len() + self.channels.len() + self.databases.count() + self.commands.count()
    }

    /// Whether it allows everything.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.all_keys && self.all_channels && self.databases.are_all() && self.commands.are_all()
    }

    /// Whether it allows all keys.
    pub(crate) fn has_all_keys(&self) -> bool {
        self.all_keys
    }

    /// Whether it allows a command to do this with the key.
    pub(crate) fn allows_key(&self, key: &[u8], flags: KeyFlags) -> bool {
        let needed = KeyAccess::needed_for(flags);
        self.all_keys || self.keys.iter().any(|pattern| pattern.allows(key, needed))
    }

    /// Whether it allows a command to do this with every key.
    pub(crate) fn allows_every_key(&self, flags: KeyFlags) -> bool {
        let needed = KeyAccess::needed_for(flags);
        self.all_keys || self.keys.iter().any(|pattern| pattern.allows_every_key(needed))
    }

    /// Whether it allows a command to do this with every key that starts with `prefix`.
    pub(crate) fn allows_keys_with_prefix(&self, prefix: &[u8], flags: KeyFlags) -> bool {
        let needed = KeyAccess::needed_for(flags);
        self.all_keys || self.keys.iter().any(|pattern| pattern.allows_keys_with_prefix(prefix, needed))
    }

    /// Whether it allows all channels.
    pub(crate) fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    /// Whether it allows the channel, or the pattern of channels, which must equal one of its own.
    pub(crate) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let matches = |known: &Vec<u8>| if is_pattern { known == channel } else { glob::matches(known, channel) };
        self.all_channels || self.channels.iter().any(matches)
    }

    /// The rules about commands, such as `-@all +get`.
    #[must_use]
    pub fn commands(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.commands.write(&mut text);
        text
    }

    /// The patterns of keys, such as `~a %R~b`.
    #[must_use]
    pub fn keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        joined(self.keys.iter().map(|pattern| {
            let mut rule = Vec::new();
            pattern.write(&mut rule);
            rule
        }))
    }

    /// The patterns of channels, such as `&a &b`.
    #[must_use]
    pub fn channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        joined(self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()))
    }

    /// The databases: `alldbs`, `db=0,1`, or empty for none.
    #[must_use]
    pub fn databases(&self) -> Vec<u8> {
        let mut text = Vec::new();
        match &self.databases {
            DatabaseRights::All => text.extend_from_slice(b"alldbs"),
            some => some.write(&mut text),
        }
        text
    }

    /// Appends all rules as ACL LIST prints them.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        let parts = [
            self.keys(),
            if self.all_channels { Vec::new() } else { b"resetchannels".to_vec() },
            self.channels(),
            match &self.databases {
                DatabaseRights::All => Vec::new(),
                DatabaseRights::Only(databases) if databases.is_empty() => b"resetdbs".to_vec(),
                DatabaseRights::Only(_) => self.databases(),
            },
            self.commands(),
        ];
        text.extend_from_slice(&joined(parts.into_iter().filter(|part| !part.is_empty())));
    }
}

/// Joins rules with blanks.
fn joined(rules: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    rules.collect::<Vec<_>>().join(&b' ')
}
