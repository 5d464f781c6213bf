//! Allowed differences between the product and Valkey, one line each, with the reason.
//!
//! A line is `command | comparison | reason`; a subcommand is written `container|sub`, so fields are separated by a bar
//! between blanks. Comparisons, from strict to lax:
//!
//! | comparison | means |
//! |---|---|
//! | `unordered` | arrays in any order |
//! | `between` | integers that depend on the clock: between two replies of the product |
//! | `kind` | the same kind of reply; errors with the same text |
//! | `recoded` | exact; afterwards both sides rewrite the value, so that its encoding is compared from then on |
//! | `drawn` | as `kind`, and arrays have as many members; afterwards both sides get the reference's set of the key |
//! | `skip` | not compared at all |
//!
//! A line `info:<field> | absent | reason` names a field of INFO that the product does not have; a `*` at its end
//! stands for any suffix.

use std::collections::BTreeMap;

/// How strictly two replies are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Byte for byte.
    Exact,
    /// See the module's documentation.
    Unordered,
    /// See the module's documentation.
    Between,
    /// See the module's documentation.
    Kind,
    /// See the module's documentation.
    Recoded,
    /// See the module's documentation.
    Drawn,
    /// See the module's documentation.
    Skip,
}

/// The lines of the file.
#[derive(Debug, Default)]
pub struct Exclusions {
    by_command: BTreeMap<String, Comparison>,
    absent_fields: Vec<String>,
}

impl Exclusions {
    /// Parses the file.
    ///
    /// # Panics
    /// If a line is malformed, has no reason, or names a command twice.
    #[must_use]
    pub fn parse(text: &str) -> Exclusions {
        let mut exclusions = Exclusions::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [command, comparison, reason] = fields[..] else { panic!("not three fields: {line}") };
            assert!(reason.len() > 10, "no reason: {line}");
            if let (Some(field), "absent") = (command.strip_prefix("info:"), comparison) {
                exclusions.absent_fields.push(field.to_owned());
                continue;
            }
            let comparison = match comparison {
                "unordered" => Comparison::Unordered,
                "between" => Comparison::Between,
                "kind" => Comparison::Kind,
                "recoded" => Comparison::Recoded,
                "drawn" => Comparison::Drawn,
                "skip" => Comparison::Skip,
                other => panic!("no such comparison: {other}"),
            };
            let before = exclusions.by_command.insert(command.to_owned(), comparison);
            assert!(before.is_none(), "twice: {command}");
        }
        exclusions
    }

    /// How replies to this command are compared.
    #[must_use]
    pub fn comparison(&self, command: &str) -> Comparison {
        self.by_command.get(command).copied().unwrap_or(Comparison::Exact)
    }

    /// The line that allows this field of INFO to be missing.
    #[must_use]
    pub fn absent_field(&self, field: &str) -> Option<&str> {
        let names = |line: &&String| match line.strip_suffix('*') {
            Some(start) => field.starts_with(start),
            None => field == line.as_str(),
        };
        self.absent_fields.iter().find(names).map(String::as_str)
    }

    /// The fields of INFO that may be missing, as their lines name them.
    pub fn absent_fields(&self) -> impl Iterator<Item = &str> {
        self.absent_fields.iter().map(String::as_str)
    }

    /// Every command with a line.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.by_command.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let exclusions = Exclusions::parse("# comment\n\nobject|idletime | kind | the clocks differ\n");
        assert_eq!(exclusions.comparison("object|idletime"), Comparison::Kind);
        assert_eq!(exclusions.comparison("get"), Comparison::Exact);
    }

    #[test]
    fn absent_fields() {
        let exclusions =
            Exclusions::parse("info:rdb_* | absent | there is no RDB file\ninfo:a | absent | as it is not there");
        assert_eq!(exclusions.absent_field("rdb_saves"), Some("rdb_*"));
        assert_eq!(exclusions.absent_field("ab"), None);
        assert_eq!(exclusions.commands().count(), 0);
    }

    #[test]
    #[should_panic(expected = "no reason")]
    fn a_reason_is_needed() {
        let _ = Exclusions::parse("get | kind | ");
    }
}
