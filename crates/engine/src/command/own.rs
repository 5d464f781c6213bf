//! Commands that Valkey does not have. What the generated rows of `facts.rs` and `argument_facts.rs` say of Valkey's
//! commands, such a command brings with it ([`Command::with_facts`](super::Command::with_facts)), so that its facts
//! stand beside its code. It gets the place in the table that its name has there, and look-up, arity, ACL categories,
//! COMMAND, HELP and the docs treat it like the others; [`CommandSpec::is_own`](super::CommandSpec::is_own) marks it.
//!
//! A name is chosen that Valkey is unlikely to want: a later version's command of the same name would have to win.

use super::arguments::Argument;
use super::spec::Facts;

/// What COMMAND reports about a command that Valkey does not have.
#[derive(Debug)]
pub struct OwnFacts {
    /// Name, arity, flags, categories, key positions.
    pub facts: Facts,
    /// Its arguments, for COMMAND DOCS.
    pub arguments: &'static [Argument],
}

/// Adds a row in its place: rows are sorted by group and name.
///
/// # Panics
/// If there is a row of this name, because Valkey has such a command now.
pub(super) fn insert(rows: &mut Vec<Facts>, own: &OwnFacts) {
    assert!(rows.iter().all(|row| row.name != own.facts.name), "{}: there is one already", own.facts.name);
    let key = |row: &Facts| (row.group.name(), row.name);
    let at = rows.iter().position(|row| key(row) > key(&own.facts)).unwrap_or(rows.len());
    rows.insert(at, own.facts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::arguments::{Kind, arg};
    use crate::command::facts::FACTS;
    use crate::command::spec::{Group, category, fact, flag};
    use crate::command::{Command, CommandTable, commands};
    use fastness_resp::Args;

    const FIRST: OwnFacts = OwnFacts {
        facts: fact("client|kind", Group::Connection, -2, flag::LOADING, category::CONNECTION, &[], &[], "0.1.0"),
        arguments: &[arg("to", Kind::PureToken).token("TO")],
    };
    const LAST: OwnFacts = OwnFacts {
        facts: fact("zzz", Group::Transactions, 2, flag::FAST, category::FAST, &[], &[], "0.1.0"),
        arguments: &[],
    };
    const OWN: [Command; 2] = [
        Command::front_end("zzz", "<word>", "Does nothing.").with_facts(&LAST),
        Command::front_end("client|kind", "[TO]", "Does nothing.").with_facts(&FIRST),
    ];

    fn table() -> &'static CommandTable {
        Box::leak(Box::new(CommandTable::new(commands().chain(&OWN))))
    }

    #[test]
    fn valkeys_rows_stay_as_they_are() {
        let table = table();
        let valkeys: Vec<&str> = table.all().iter().filter(|spec| !spec.is_own).map(|spec| spec.name).collect();
        assert_eq!(valkeys, FACTS.iter().map(|row| row.name).collect::<Vec<_>>());
    }

    #[test]
    fn own_commands_stand_where_they_belong() {
        let table = table();
        let rows = table.all();
        assert!(rows.iter().map(|spec| (spec.group.name(), spec.name)).is_sorted());
        assert_eq!(
            rows.iter().filter(|spec| spec.is_own).map(|spec| spec.name).collect::<Vec<_>>(),
            ["client|kind", "stack.pop", "stack.push", "zzz"]
        );
        let client = table.named(b"CLIENT").expect("Valkey has it");
        assert!(table.subcommands_of(client).iter().any(|spec| spec.name == "client|kind"));
    }

    #[test]
    fn they_are_looked_up_and_described_as_the_others() {
        let table = table();
        let found = table.look_up(Args::slices(&[b"Client", b"KIND", b"x"])).expect("it runs");
        assert_eq!((found.name, found.argument_tokens().into_iter().collect()), ("client|kind", vec!["TO"]));
        assert!(table.look_up(Args::slices(&[b"zzz"])).is_err(), "its arity is checked");
    }
}
