//! COMMAND DOCS: summary, origin, group and arguments of each implemented command.

use super::arguments::{self, Argument};
use super::table::{Command, CommandSpec, CommandTable};
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};
use std::collections::BTreeSet;

pub(super) const DOCS: Command = Command::table(
    "command|docs",
    "[<command-name> ...]",
    "Returns documentation of the named commands, or of all.",
    docs,
);

fn docs(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Result<(), CommandError> {
    let specs: Vec<&CommandSpec> = if args.len() == 2 {
        table.implemented().filter(|spec| !spec.name.contains('|')).collect()
    } else {
        args.skip(2).iter().filter_map(|name| table.named(name)).filter(|spec| spec.is_implemented).collect()
    };
    reply.map(specs.len());
    specs.iter().for_each(|spec| write_docs(table, spec, reply));
    Ok(())
}

fn write_docs(table: &CommandTable, spec: &CommandSpec, reply: &mut ReplyBuf) {
    reply.bulk(spec.name);
    let subcommands: Vec<_> = table.subcommands_of(spec).iter().filter(|sub| sub.is_implemented).collect();
    let arguments = spec.arguments;
    reply.map(3 + usize::from(!arguments.is_empty()) + usize::from(!subcommands.is_empty()));
    for (field, text) in [("summary", summary(spec)), ("since", spec.since), ("group", spec.group.name())] {
        reply.bulk(field);
        reply.bulk(text);
    }
    if !arguments.is_empty() {
        reply.bulk("arguments");
        arguments::write(arguments, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk("subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|sub| write_docs(table, sub, reply));
    }
}

fn summary(spec: &CommandSpec) -> &'static str {
    if spec.summary.is_empty() { "Holds subcommands; see its HELP." } else { spec.summary }
}

impl CommandSpec {
    /// Its arguments, as COMMAND DOCS describes them: command line clients make hints of them.
    #[must_use]
    pub fn arguments(&self) -> &'static [Argument] {
        self.arguments
    }

    /// The words that stand for themselves among its arguments, as COMMAND DOCS describes them, in upper case.
    #[must_use]
    pub fn argument_tokens(&self) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        arguments::tokens(self.arguments, &mut found);
        found
    }
}
