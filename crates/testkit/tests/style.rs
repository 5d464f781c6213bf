//! Checks rules for every source file that neither the compiler nor a lint checks.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fastness_testkit::programs::{self, Source};

/// Very long files are hard to read; a file that exceeds this is split by concern.
const LINES_MAX: usize = 800;

/// Tables in the form of source: long, and read one row at a time.
const TABLES: &[&str] = &[];

/// Forbidden in the code, also behind an `allow`. Split in two, so that this file passes, too.
const NEVER: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it, or list it as not implemented yet"),
    (concat!("unimplemented", "!("), "finish it, or refuse with a clear error"),
    (concat!("dbg", "!("), "a trace belongs in tracing"),
    (concat!("FIX", "ME"), "mend it, or list it among the known gaps"),
    (concat!("TO", "DO"), "do it, or list it among the known gaps"),
    (concat!("XX", "X:"), "do it, or list it among the known gaps"),
];

fn crates_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Calls `check` with the name below `crates/` and the text of every source file, and fails with all it returns.
fn each_source(mut check: impl FnMut(&str, &str) -> Vec<String>) {
    let root = crates_folder();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "found too few files in {}", root.display());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        wrong.extend(check(&name, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    each_source(|name, text| {
        let lines = text.lines().count();
        let over = lines > LINES_MAX && !TABLES.contains(&name);
        over.then(|| format!("{name}: {lines} lines, at most {LINES_MAX}")).into_iter().collect()
    });
}

#[test]
fn nothing_is_left_unfinished() {
    each_source(|name, text| {
        let mut wrong = Vec::new();
        for (number, line) in text.lines().enumerate() {
            for (word, advice) in NEVER.iter().filter(|(word, _)| line.contains(word)) {
                wrong.push(format!("{name}:{}: {word} ({advice})", number + 1));
            }
        }
        wrong
    });
}

#[test]
fn every_crate_says_what_it_is() {
    each_source(|name, text| {
        let root = name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
        (root && !text.starts_with("//!")).then(|| format!("{name}: opens with no //! doc")).into_iter().collect()
    });
}

#[test]
fn names_say_what_is_inside() {
    const EMPTY_NAMES: &[&str] =
        &["util.rs", "utils.rs", "helper.rs", "helpers.rs", "common.rs", "manager.rs", "misc.rs"];
    each_source(|name, _| {
        let file = name.rsplit('/').next().unwrap();
        EMPTY_NAMES.contains(&file).then(|| format!("{name}: a name that says nothing")).into_iter().collect()
    });
}

/// A bare machine has only what the smallest installation and `deploy/setup/system.sh` install.
#[test]
fn no_test_starts_a_program_that_the_set_up_does_not_install() {
    // Functions that start a program named in place. Split in two, so that this file passes, too.
    const STARTS: &[&str] = &[concat!("Command::", "new(\""), concat!(" run", "(\""), concat!(" command", "(\"")];
    let mut used = BTreeSet::new();
    each_source(|name, text| {
        let mut wrong = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.contains("clap")) {
            for start in STARTS {
                let Some(program) = line.split(start).nth(1).and_then(|rest| rest.split('"').next()) else { continue };
                if !programs::PROGRAMS.iter().any(|(known, _)| *known == program) {
                    wrong.push(format!("{name}:{}: {program} is not among testkit's programs.rs", number + 1));
                }
                used.insert(program.to_owned());
            }
        }
        wrong
    });
    assert!(used.len() > 5, "found only {used:?}");
    let set_up = crates_folder().parent().unwrap().join("deploy/setup/system.sh");
    let set_up = std::fs::read_to_string(set_up).unwrap();
    for (program, source) in programs::PROGRAMS {
        if let Source::SetUp(package) = source {
            let installs = |line: &str| line.contains(&format!("command -v {program} ")) && line.contains(package);
            assert!(set_up.lines().any(installs), "{program} ({package}) is not installed by system.sh");
        }
    }
    // Python's tests start only fastness, the clients, the applications and the reference server.
    let folders = ["tests/clients", "tests/applications"].map(|folder| crates_folder().parent().unwrap().join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for file in files.map(|entry| entry.unwrap().path()) {
        let text = if file.extension().is_some_and(|e| e == "py") {
            std::fs::read_to_string(&file).unwrap()
        } else {
            continue;
        };
        for word in ["subprocess.run([\"", "subprocess.Popen([\"", "os.system(", "shell=True"] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}

/// `tests/SCHEDULES.md` names a directed test for every schedule, and `tests/FINDINGS.md` one for every finding.
#[test]
fn the_tests_that_schedules_and_findings_name_are_there() {
    let page = |name: &str| {
        let page = crates_folder().parent().unwrap().join("tests").join(name);
        std::fs::read_to_string(page).unwrap()
    };
    let page = page("SCHEDULES.md") + &page("FINDINGS.md");
    let mut all = String::new();
    each_source(|_, text| {
        all.push_str(text);
        Vec::new()
    });
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #") && !line.starts_with("| found"))
        .collect();
    assert!(rows.len() > 35, "{} schedules", rows.len());
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        for test in tests.split('`').skip(1).step_by(2).filter(is_name) {
            // A property test takes arguments.
            let is_a_test = all.contains(&format!("fn {test}()")) || all.contains(&format!("#[test]\n    fn {test}("));
            assert!(is_a_test, "there is no test {test}, which this row names: {row}");
        }
    }
}
