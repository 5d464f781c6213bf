//! COMMAND DOCS: summary, origin, group and arguments of each command that is there.

use super::spec::{Command, CommandSpec};
use super::{arguments, own, table};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

pub(super) const DOCS: Command =
    Command::data("command|docs", "[<command-name> ...]", "Describes these commands, or all.", docs);

fn docs(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let specs: Vec<&CommandSpec> = if args.len() == 2 {
        table::present().filter(|spec| !spec.name.contains('|')).collect()
    } else {
        args.skip(2).iter().filter_map(table::named).filter(|spec| spec.is_there).collect()
    };
    env.reply.map(specs.len());
    specs.iter().for_each(|spec| write_docs(spec, env.reply));
    Ok(())
}

fn write_docs(spec: &CommandSpec, reply: &mut ReplyBuf) {
    reply.bulk(spec.name);
    let subcommands: Vec<_> = table::all()[spec.subcommands.clone()].iter().filter(|sub| sub.is_there).collect();
    let arguments = own::arguments_of(spec.name);
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
        subcommands.iter().for_each(|sub| write_docs(sub, reply));
    }
}

fn summary(spec: &CommandSpec) -> &'static str {
    if spec.summary.is_empty() { "Holds subcommands; see its HELP." } else { spec.summary }
}
