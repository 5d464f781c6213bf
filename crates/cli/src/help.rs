//! HELP: what the command table says, without a server.

use fastness_engine::command::{CommandSpec, CommandTable};

use crate::format::escape;
use crate::synopsis;

const GENERAL: &str = "\
HELP COMMAND        what a command does, and its arguments (HELP GET, HELP CLIENT LIST)
HELP @GROUP         the commands of a group (HELP @string)
Tab                 completes commands, subcommands and words; arguments that may follow are shown behind the line
Up, Ctrl-R          lines of before
Ctrl-C              drops the line, or leaves a command that does not return
QUIT, EXIT, Ctrl-D  leave; CLEAR clears the screen
";

/// The answer to HELP with these words after it.
#[must_use]
pub fn render(table: &CommandTable, words: &[Vec<u8>]) -> String {
    let Some(first) = words.first() else {
        let groups: std::collections::BTreeSet<_> = table.implemented().map(|spec| spec.group.name()).collect();
        let groups: Vec<_> = groups.into_iter().collect();
        return format!("{GENERAL}Groups: {}\n", groups.join(", "));
    };
    if let Some(group) = first.strip_prefix(b"@") {
        let of_group: String = table
            .implemented()
            .filter(|spec| spec.group.name().as_bytes().eq_ignore_ascii_case(group) && !spec.is_container())
            .map(of_command)
            .collect();
        return if of_group.is_empty() { format!("There is no group {}.\n", escape::text(group)) } else { of_group };
    }
    let name = words.join(&b'|');
    match table.named(&name) {
        Some(spec) if spec.is_container() => {
            let implemented = table.subcommands_of(spec).iter().filter(|spec| spec.is_implemented);
            implemented.map(of_command).collect()
        }
        Some(spec) if spec.is_implemented => of_command(spec),
        Some(_) => format!("{} is not implemented.\n", escape::text(&words.join(&b' ')).to_ascii_uppercase()),
        None => format!("There is no command {}.\n", escape::text(&words.join(&b' '))),
    }
}

fn of_command(spec: &CommandSpec) -> String {
    let name = spec.name.replace('|', " ").to_ascii_uppercase();
    let arguments = synopsis::of(spec.arguments());
    let blank = if arguments.is_empty() { "" } else { " " };
    format!("{name}{blank}{arguments}\n    {}\n    since {}, group {}\n", spec.summary, spec.since, spec.group.name())
}

#[cfg(test)]
mod tests {
    use fastness_engine::command::table;

    use super::*;

    fn help(line: &str) -> String {
        render(table(), &line.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn commands_groups_and_containers_are_explained() {
        let text = help("getRange");
        assert!(text.starts_with("GETRANGE key start end\n    "), "{text}");
        assert!(text.contains("since 2.4.0, group string"), "{text}");
        assert!(help("object encoding").starts_with("OBJECT ENCODING key\n"), "{}", help("object encoding"));
        assert!(help("object").contains("OBJECT FREQ key") || help("object").contains("OBJECT ENCODING key"));
        let group = help("@String");
        assert!(group.contains("APPEND key value\n") && !group.contains("HSET"), "{group}");
        assert!(help("").contains("Groups: bitmap, cluster, "), "{}", help(""));
    }

    #[test]
    fn what_is_unknown_or_missing_is_said() {
        assert_eq!(help("psync"), "PSYNC is not implemented.\n");
        assert_eq!(help("no\u{1b}such"), "There is no command no\\x1bsuch.\n");
        assert_eq!(help("@nosuch"), "There is no group nosuch.\n");
    }
}
