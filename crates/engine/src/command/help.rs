//! HELP of every container, written from the table: the subcommands that are there, their arguments and summaries.

use super::spec::{Command, CommandSpec};
use super::table;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// The line of a container's HELP.
pub(super) const fn of(name: &'static str) -> Command {
    Command::data(name, "", "Prints this help.", run)
}

fn run(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let container = table::top_level(args.get(0)).expect("HELP was looked up through its container");
    let lines = lines(container);
    env.reply.array(lines.len());
    for line in lines {
        env.reply.simple(line);
    }
    Ok(())
}

fn lines(container: &CommandSpec) -> Vec<String> {
    let upper = container.name.to_ascii_uppercase();
    let mut lines = vec![format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    let (help, others): (Vec<_>, Vec<_>) = table::all()[container.subcommands.clone()]
        .iter()
        .filter(|spec| spec.is_there)
        .partition(|spec| spec.name.ends_with("|help"));
    for spec in others.into_iter().chain(help) {
        let name = spec.name[container.name.len() + 1..].to_ascii_uppercase();
        let blank = if spec.syntax.is_empty() { "" } else { " " };
        lines.push(format!("{name}{blank}{}", spec.syntax));
        lines.push(format!("    {}", spec.summary));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_there() {
        let lines = lines(table::top_level(b"command").expect("COMMAND is there"));
        assert_eq!(lines[0], "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert!(lines.contains(&"COUNT".to_owned()), "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["HELP", "    Prints this help."]);
    }
}
