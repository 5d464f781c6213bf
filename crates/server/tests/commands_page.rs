//! `COMMANDS.md`, the page that lists which of Valkey's commands are implemented, agrees with the command table.
//!
//! `FASTNESS_UPDATE=1 cargo test -p fastness-server --test commands_page` writes it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use fastness_engine::command::{CommandSpec, Group, Run};
use fastness_server::resp_server::command::table as commands;

const HEAD: &str = "\
# Commands

Which of Valkey 9.1's commands Fastness implements. This page is generated from the command table, and a test fails if it
is out of date (`crates/server/tests/commands_page.rs` says how to regenerate it).

- **Implemented**: as in Valkey. A test runs random calls against a real Valkey server and compares every reply; the
  differences that it allows are listed with their reasons in `crates/testkit/tests/differential-exclusions.txt`.
- **Refused**: commands that will not be implemented: Valkey's commands for managing a cluster by hand (the cluster manages
  nodes and slots itself, so the error names the tool to use instead), and commands that no cluster allows.
- **Not implemented**: the reply is Valkey's own `ERR unknown command`.
- **Fastness' own**: commands that Valkey does not have, in the last section. COMMAND and CLIENT HELP list them like the
  others, and they are not counted with them.
";

const OWN: &str = "

## Fastness' own

`CLIENT DURABILITY SYNC` is a durability override for one connection of a cluster in `async` mode: each reply is released only after
the data that it depends on has committed, both what its writes changed and what its reads saw. DEFAULT and RESET end the override;
without an argument the command returns the present setting, and flag `D` in CLIENT LIST shows it. In `sync` mode it has no effect, in
`disabled` mode it is refused. The override belongs to the connection: a client has to repeat it after reconnecting, on each node.

A single command can carry the override as an attribute before it, in the notation of RESP3 and in both protocol versions:
`|1\\r\\n$10\\r\\ndurability\\r\\n$4\\r\\nsync\\r\\n`, followed by the command's array; `default` instead of `sync` exempts one command of
a connection with the override. Names and values are bulk strings of at most 64 bytes, in upper or lower case, with at most eight
pairs. An unknown name or value is an error, and the command is not executed, because it could have requested a guarantee. An
attribute before MULTI or before a queued command is an error too: the attribute before EXEC applies to the transaction.

`CLIENT READS QUORUM` makes a primary's replies to the reads of one connection independent of clocks: each is released only after a
quorum has answered heartbeats that were sent after the command arrived, and after the data that it depends on has committed, in every
mode; the reply to a write waits for its commit. One round of heartbeats serves all reads that arrived before it; without a quorum the
reply is CLUSTERDOWN after 500 ms. DEFAULT and RESET end this; without an argument the command returns the present setting, and flag
`Q` in CLIENT LIST shows it. A single command can request it with the attribute `reads` and the value `quorum` or `default`. The
README's section on modes says what a lease assumes of clocks, and thus when this is useful. It does not apply to replicas: a read
that requires a quorum is redirected to the primary.

After READONLY, the attribute `max-staleness` before a read bounds, in milliseconds, how old the data may be from which a replica
answers it. A replica that cannot show that it has everything that was acknowledged (in `async` and `disabled`: everything that had
committed) so long ago answers `-STALE`. It learns four times a second what has committed, so that a replica that has everything can
show about 300 ms. On a primary the attribute has no effect.

The attribute `deadline` before a command, or before EXEC, is a time on the boot clock of the node's machine, in milliseconds. A
command that could not run before that time, because a primary, the log or CLIENT PAUSE kept it waiting, is answered `-DEADLINE`, and
nothing is done. The node's own gRPC front end sets it to the deadline of the call.

The attribute `traceparent` before a command, or before EXEC, names the client's span, as W3C Trace Context has it
(`00-TRACE-SPAN-FLAGS`). If the span is sampled and the node has a collector (`otlp-endpoint`), the spans of the write are its
children.

";

/// A command as it is typed: `CONFIG GET`.
fn shown(spec: &CommandSpec) -> String {
    spec.name.replace('|', " ").to_uppercase()
}

fn runs(spec: &CommandSpec) -> bool {
    spec.runs()
}

/// Valkey's commands, with subcommands in the place of their container.
fn rows() -> impl Iterator<Item = &'static CommandSpec> {
    commands().all().iter().filter(|spec| !spec.is_own && (!spec.is_container() || runs(spec)))
}

fn own() -> impl Iterator<Item = &'static CommandSpec> {
    commands().all().iter().filter(|spec| spec.is_own)
}

fn names(of: impl Iterator<Item = &'static CommandSpec>) -> Option<String> {
    let names: Vec<String> = of.map(|spec| format!("`{}`", shown(spec))).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn table(title: &str, specs: &[&CommandSpec], page: &mut String) {
    let _ = writeln!(page, "| {title} | arguments | |\n|---|---|---|");
    for spec in specs {
        let syntax = if spec.syntax.is_empty() { String::new() } else { format!("`{}`", spec.syntax) };
        // A bar ends a cell, even within code.
        let _ = writeln!(page, "| `{}` | {} | {} |", shown(spec), syntax.replace('|', "\\|"), spec.summary);
    }
    page.push('\n');
}

fn section(group: Group, page: &mut String) {
    let all: Vec<_> = rows().filter(|spec| spec.group == group).collect();
    let present: Vec<_> = all.iter().copied().filter(|spec| runs(spec)).collect();
    let _ = writeln!(page, "\n## {}: {} of {}\n", group.name(), present.len(), all.len());
    if !present.is_empty() {
        table("implemented", &present, page);
    }
    if let Some(refused) = names(all.iter().copied().filter(|spec| matches!(spec.run, Run::Refused(_)))) {
        let _ = writeln!(page, "Refused: {refused}.\n");
    }
    if let Some(absent) = names(all.iter().copied().filter(|spec| matches!(spec.run, Run::Missing))) {
        let _ = writeln!(page, "Not implemented: {absent}.");
    }
}

fn page() -> String {
    let mut groups: Vec<Group> = rows().map(|spec| spec.group).collect();
    groups.sort_by_key(|group| group.name());
    groups.dedup();
    let present = rows().filter(|spec| runs(spec)).count();
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "\n{present} of {} are implemented; each subcommand counts as one.", rows().count());
    groups.into_iter().for_each(|group| section(group, &mut page));
    page.truncate(page.trim_end().len());
    page.push_str(OWN);
    table("own", &own().collect::<Vec<_>>(), &mut page);
    page.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/COMMANDS.md");
    let page = page();
    if std::env::var_os("FASTNESS_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(a, b)| a != b).map(|line| line + 1);
    assert!(written == page, "COMMANDS.md is not current (line {differs:?}): run this test with FASTNESS_UPDATE=1");
}

#[test]
fn the_page_has_every_command_once() {
    let page = page();
    for spec in rows().chain(own()) {
        let name = format!("`{}`", shown(spec));
        // A container that runs by itself and one of its subcommands are different words.
        assert_eq!(page.matches(&name).count(), 1, "{name}");
    }
    let containers = commands().all().iter().filter(|spec| spec.is_container() && !runs(spec)).count();
    assert_eq!(rows().count() + containers, 399);
}

/// The upper-case words of a syntax.
fn words_of_syntax(syntax: &str) -> BTreeSet<String> {
    let is_word = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte.is_ascii_digit();
    let mut found = BTreeSet::new();
    let (mut words, mut rest) = (String::new(), syntax);
    // Names of arguments are in small letters. `<` before a capital groups, and `>` alone is an argument.
    while let Some((before, after)) = rest.split_once('<') {
        words += before;
        let is_name = after.starts_with(|c: char| c.is_ascii_lowercase());
        rest = after.split_once('>').filter(|_| is_name).map_or(after, |(_, after)| after);
        words.push(' ');
    }
    words += rest;
    for word in words.split(|c: char| !c.is_ascii() || !is_word(c as u8)) {
        if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// HELP and COMMAND DOCS must not contradict each other. A syntax may sum up many options as `<option>`.
#[test]
fn the_syntax_has_the_words_of_the_arguments() {
    let mut wrong = Vec::new();
    for spec in commands().implemented().filter(|spec| !spec.is_container()) {
        // Without `*`, `$` and the like.
        let is_word = |token: &&str| token.bytes().any(|byte| byte.is_ascii_uppercase());
        let described: BTreeSet<String> =
            spec.argument_tokens().into_iter().filter(is_word).map(str::to_owned).collect();
        let written = words_of_syntax(spec.syntax);
        let is_right =
            if spec.syntax.contains("<option>") { written.is_subset(&described) } else { written == described };
        if !is_right {
            wrong.push(format!("{}: {} against {described:?}", spec.name, spec.syntax));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
