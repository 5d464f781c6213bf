//! `deploy/OPTIONS.md`, the page that lists every option of a config file, agrees with the table of options.
//!
//! `FASTNESS_UPDATE=1 cargo test -p fastness-server --test options_page` writes it.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use fastness_server::config::{Change, Config, OptionSpec};

const HEAD: &str = "\
# Options

Every option of a node's config file (`fastness server --config FILE`). The file has the syntax of valkey.conf: an
option and its value on a line, `#` starts a comment, and of an option that occurs twice the last line applies. This page
is generated from the table that the parser and CONFIG read (`crates/server/tests/options_page.rs` says how); a test fails
if it is out of date.

A value with blanks is quoted. Sizes may end with `kb`, `mb` or `gb` (powers of 1024), spans with `ms`, `s`, `m` or `h`.
`CONFIG GET` shows all options of a running node, `CONFIG SET` changes those of the first table at once. A change by
`CONFIG SET` is that of one node and ends with its process, but for `requirepass` and `durability-max-lag`, which belong
to the cluster ([README.md](README.md#operating-a-cluster)). `fastness doctor --config FILE` checks a file, and the
machine for it.

Besides these there are lines `user NAME RULE …`, the users of a new cluster.
";

/// The tables, with the time when their options take effect.
const TABLES: &[(Change, &str)] = &[
    (Change::Running, "Changed at run time"),
    (Change::Start, "Read at the start"),
    (Change::Never, "Options of Valkey with one value"),
];

fn row(option: &OptionSpec, text: &mut String) {
    let cell = |text: &str| text.replace('|', "\\|");
    let (default, range, summary) = (cell(option.default), cell(option.range), cell(option.summary));
    let _ = match option.change {
        Change::Never => writeln!(text, "| `{}` | `{default}` | {summary} |", option.name),
        Change::Running | Change::Start => {
            writeln!(text, "| `{}` | `{default}` | {range} | {summary} |", option.name)
        }
    };
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (change, title) in TABLES {
        let _ = write!(page, "\n## {title}\n\n");
        page.push_str(match change {
            Change::Never => {
                "Clients and tools read these, and files of Valkey have them. Another value is refused.\n\n\
                 | option | value | because |\n|---|---|---|\n"
            }
            Change::Running | Change::Start => "| option | default | values | what it does |\n|---|---|---|---|\n",
        });
        let mut options: Vec<_> = Config::documented().iter().filter(|option| option.change == *change).collect();
        options.sort_by_key(|option| option.name);
        options.into_iter().for_each(|option| row(option, &mut page));
    }
    page
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/OPTIONS.md");
    let page = page();
    if std::env::var_os("FASTNESS_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).find(|(written, page)| written != page);
    assert!(written == page, "OPTIONS.md is not current ({differs:?}): run this test with FASTNESS_UPDATE=1");
    assert!(Config::documented().iter().all(|option| page.contains(&format!("| `{}` |", option.name))));
}
