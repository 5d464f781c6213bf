//! HELP of every container, written from the table: the implemented subcommands, their arguments and summaries.

use super::table::{Command, CommandSpec, CommandTable, is_help};
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

/// The line of a container's HELP, `container|help`.
#[must_use]
pub const fn of(name: &'static str) -> Command {
    Command::table(name, "", "Prints this help.", run)
}

fn run(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Result<(), CommandError> {
    let container = table.top_level(args.get(0)).expect("HELP was looked up through its container");
    let lines = lines(table, container);
    reply.array(lines.len());
    for line in lines {
        reply.simple(line);
    }
    Ok(())
}

fn lines(table: &CommandTable, container: &CommandSpec) -> Vec<String> {
    let upper = container.name.to_ascii_uppercase();
    let mut lines = vec![format!("{upper} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    let implemented = table.subcommands_of(container).iter().filter(|spec| spec.is_implemented);
    let (help, others): (Vec<_>, Vec<_>) = implemented.partition(|spec| is_help(spec.name));
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
    use crate::command::table;

    #[test]
    fn names_what_is_implemented() {
        let lines = lines(table(), table().top_level(b"command").expect("COMMAND is implemented"));
        assert_eq!(lines[0], "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert!(lines.contains(&"COUNT".to_owned()), "{lines:?}");
        assert_eq!(lines[lines.len() - 2..], ["HELP", "    Prints this help."]);
    }
}
