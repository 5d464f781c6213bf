//! `COMMANDS.md`, the page that says which of Valkey's commands are there, is what the table says.
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

Which of Valkey 9.1's commands Fastness has. Generated from the command table: a test fails when this page is not what
the table says (`crates/server/tests/commands_page.rs` says how to write it).

- **There**: as in Valkey. A test runs random calls against a real Valkey server and compares every reply; what may
  differ stands with its reason in `crates/testkit/tests/differential-exclusions.txt`.
- **Refused**: known, and never to be there: Valkey's commands for arranging a cluster by hand (nodes and slots are
  managed by the cluster itself, so these answer an error that names the tool to use), and what no cluster allows.
- **Not there**: answered with Valkey's own `ERR unknown command`.
- **Fastness' own**: what Valkey does not have; the last section. They are listed by COMMAND and CLIENT HELP like the others and are not
  counted with them.
";

const OWN: &str = "

## Fastness' own

`CLIENT DURABILITY SYNC` makes the replies of one connection wait, on a cluster whose mode is `async`, for the commit of what they
depend on: what its writes did and what its reads saw. DEFAULT and RESET end that, no argument tells which of the two holds, and flag
`D` in CLIENT LIST shows it. On a cluster in `sync` it changes nothing, in `disabled` it is refused. It belongs to the
connection: a client that connects anew says it anew, to each node.

One command can ask for the same by an attribute in front of it, as RESP3 writes them and in both protocol versions:
`|1\\r\\n$10\\r\\ndurability\\r\\n$4\\r\\nsync\\r\\n` and then the command's array; `default` instead of `sync` lets one command of a
connection that said SYNC go. Names and values are bulk strings of at most 64 bytes, in upper or lower case, at most eight pairs. A name or
value that is not known is an error, and the command is not run: it could have asked for a promise. So is an attribute in front of
MULTI or of a command that is queued: the one in front of EXEC counts for the transaction.

`CLIENT READS QUORUM` makes a primary's replies to this connection's reads rest on no clock: each waits until a quorum has answered heartbeats
that were sent after the command arrived, and for the commit of what it depends on, in every mode; a write's waits for its commit.
One round serves all reads that came before it; without a quorum they are answered CLUSTERDOWN after 500 ms. DEFAULT and RESET end
that, no argument tells which holds, and flag `Q` in CLIENT LIST shows it. One command asks by the attribute `reads` with `quorum` or
`default`. What a lease assumes of clocks, and so when this is wanted, is in the README's section on modes. Replicas are not asked in
this way: a read of theirs that wants a quorum is redirected to the primary.

";

/// A command as it is typed: `CONFIG GET`.
fn shown(spec: &CommandSpec) -> String {
    spec.name.replace('|', " ").to_uppercase()
}

fn runs(spec: &CommandSpec) -> bool {
    spec.runs()
}

/// What there is to know of Valkey's: commands, and subcommands in their container's place.
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
        // A bar ends a cell, also within code.
        let _ = writeln!(page, "| `{}` | {} | {} |", shown(spec), syntax.replace('|', "\\|"), spec.summary);
    }
    page.push('\n');
}

fn section(group: Group, page: &mut String) {
    let all: Vec<_> = rows().filter(|spec| spec.group == group).collect();
    let there: Vec<_> = all.iter().copied().filter(|spec| runs(spec)).collect();
    let _ = writeln!(page, "\n## {}: {} of {}\n", group.name(), there.len(), all.len());
    if !there.is_empty() {
        table("there", &there, page);
    }
    if let Some(refused) = names(all.iter().copied().filter(|spec| matches!(spec.run, Run::Refused(_)))) {
        let _ = writeln!(page, "Refused: {refused}.\n");
    }
    if let Some(absent) = names(all.iter().copied().filter(|spec| matches!(spec.run, Run::Missing))) {
        let _ = writeln!(page, "Not there: {absent}.");
    }
}

fn page() -> String {
    let mut groups: Vec<Group> = rows().map(|spec| spec.group).collect();
    groups.sort_by_key(|group| group.name());
    groups.dedup();
    let there = rows().filter(|spec| runs(spec)).count();
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "\n{there} of {} are there, subcommands counted one by one.", rows().count());
    groups.into_iter().for_each(|group| section(group, &mut page));
    page.truncate(page.trim_end().len());
    page.push_str(OWN);
    table("own", &own().collect::<Vec<_>>(), &mut page);
    page.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

#[test]
fn the_page_is_what_the_table_says() {
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
fn every_command_stands_on_it_once() {
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
    let mut rest = syntax.to_owned();
    while let (Some(open), Some(close)) = (rest.find('<'), rest.find('>')) {
        rest.replace_range(open..=close, " ");
    }
    for word in rest.split(|c: char| !c.is_ascii() || !is_word(c as u8)) {
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
        let described: BTreeSet<String> = spec.argument_tokens().into_iter().map(str::to_owned).collect();
        let written = words_of_syntax(spec.syntax);
        let is_right =
            if spec.syntax.contains("<option>") { written.is_subset(&described) } else { written == described };
        if !is_right {
            wrong.push(format!("{}: {} against {described:?}", spec.name, spec.syntax));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
