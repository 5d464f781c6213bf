//! What a command's arguments are, as COMMAND DOCS tells it: command line clients make hints of it, generators make
//! code.

use fastness_resp::ReplyBuf;
use std::collections::BTreeSet;

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key.
    Key,
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A floating-point number.
    Double,
    /// A glob-style pattern.
    Pattern,
    /// Seconds or milliseconds since 1970.
    UnixTime,
    /// A word that stands for itself.
    PureToken,
    /// One of its own arguments.
    Oneof,
    /// Its own arguments, together.
    Block,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::Oneof => "oneof",
            Kind::Block => "block",
        }
    }
}

/// One argument. Made by [`arg`] and the methods below: those of Valkey's commands in `argument_facts.rs`.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    name: &'static str,
    kind: Kind,
    shown: &'static str,
    /// Which of the command's key specifications finds it.
    key_spec: Option<u8>,
    /// The word in front of it.
    token: Option<&'static str>,
    since: Option<&'static str>,
    until: Option<&'static str>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    of: &'static [Argument],
}

/// An argument of this name.
#[must_use]
pub const fn arg(name: &'static str, kind: Kind) -> Argument {
    Argument {
        name,
        kind,
        shown: name,
        key_spec: None,
        token: None,
        since: None,
        until: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        of: &[],
    }
}

impl Argument {
    /// Is shown by another name.
    #[must_use]
    pub const fn shown(self, shown: &'static str) -> Argument {
        Argument { shown, ..self }
    }

    /// Is what this key specification finds.
    #[must_use]
    pub const fn key(self, spec: u8) -> Argument {
        Argument { key_spec: Some(spec), ..self }
    }

    /// Stands behind this word.
    #[must_use]
    pub const fn token(self, token: &'static str) -> Argument {
        Argument { token: Some(token), ..self }
    }

    /// Came with this version.
    #[must_use]
    pub const fn since(self, version: &'static str) -> Argument {
        Argument { since: Some(version), ..self }
    }

    /// Is not to be used from this version on.
    #[must_use]
    pub const fn until(self, version: &'static str) -> Argument {
        Argument { until: Some(version), ..self }
    }

    /// May be left out.
    #[must_use]
    pub const fn optional(self) -> Argument {
        Argument { optional: true, ..self }
    }

    /// May stand more than once.
    #[must_use]
    pub const fn multiple(self) -> Argument {
        Argument { multiple: true, ..self }
    }

    /// And its word with it each time.
    #[must_use]
    pub const fn multiple_token(self) -> Argument {
        Argument { multiple_token: true, ..self }
    }

    /// Consists of these.
    #[must_use]
    pub const fn of(self, of: &'static [Argument]) -> Argument {
        Argument { of, ..self }
    }

    /// What it is called in a synopsis.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.shown
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The word before it, or that it is.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        self.token.filter(|token| !token.is_empty())
    }

    /// Whether it may be omitted.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.optional
    }

    /// Whether it may be given more than once.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.multiple
    }

    /// Whether its word is repeated with it.
    #[must_use]
    pub fn repeats_word(&self) -> bool {
        self.multiple_token
    }

    /// Whether it is only accepted for clients of older versions.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.until.is_some()
    }

    /// The arguments that it consists of, or one of which it is.
    #[must_use]
    pub fn parts(&self) -> &'static [Argument] {
        self.of
    }

    fn texts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let is_made_of_others = matches!(self.kind, Kind::Oneof | Kind::Block);
        let before = [
            Some(("name", self.name)),
            Some(("type", self.kind.name())),
            (!is_made_of_others).then_some(("display_text", self.shown)),
        ];
        before.into_iter().flatten()
    }

    fn later_texts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let fields = [("token", self.token), ("since", self.since), ("deprecated_since", self.until)];
        fields.into_iter().filter_map(|(name, text)| Some((name, text?)))
    }

    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let flags = [(self.optional, "optional"), (self.multiple, "multiple"), (self.multiple_token, "multiple_token")];
        flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name)
    }

    fn write(&self, reply: &mut ReplyBuf) {
        let flags = self.flags().count();
        let others = [self.key_spec.is_some(), flags > 0, !self.of.is_empty()];
        let others = others.into_iter().filter(|there| *there).count();
        reply.map(self.texts().count() + self.later_texts().count() + others);
        self.texts().for_each(|field| write_text(field, reply));
        if let Some(spec) = self.key_spec {
            reply.bulk("key_spec_index");
            reply.integer(spec.into());
        }
        self.later_texts().for_each(|field| write_text(field, reply));
        if flags > 0 {
            reply.bulk("flags");
            reply.set(flags);
            self.flags().for_each(|flag| reply.simple(flag));
        }
        if !self.of.is_empty() {
            reply.bulk("arguments");
            write(self.of, reply);
        }
    }
}

fn write_text((field, text): (&str, &str), reply: &mut ReplyBuf) {
    reply.bulk(field);
    reply.bulk(text);
}

/// Appends arguments as COMMAND DOCS tells them.
pub(super) fn write(arguments: &[Argument], reply: &mut ReplyBuf) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| argument.write(reply));
}

/// The words that stand for themselves among these arguments, in upper case.
pub(super) fn tokens(arguments: &[Argument], found: &mut BTreeSet<&'static str>) {
    for argument in arguments {
        found.extend(argument.token.filter(|token| !token.is_empty()));
        tokens(argument.of, found);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::argument_facts::ARGUMENTS;
    use crate::command::table;

    #[test]
    fn rows_are_of_commands_in_their_order() {
        let names: Vec<&str> = table().all().iter().map(|spec| spec.name).collect();
        let mut at = 0;
        for (name, arguments) in ARGUMENTS {
            at += names[at..].iter().position(|known| known == name).unwrap_or_else(|| panic!("{name}: out of order"));
            assert!(!arguments.is_empty(), "{name}");
        }
    }
}
