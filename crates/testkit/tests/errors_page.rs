//! `deploy/ERRORS.md` has a section for each code of an error reply and for each reason of gRPC, and no others; and it
//! quotes each text that the sources have.
//!
//! The texts are the string literals of the product that begin with a word in capitals, as error replies do.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../deploy/ERRORS.md");
/// The crates whose texts reach clients.
const CRATES: &[&str] = &["resp", "engine", "acl", "shard", "connection", "server"];
/// What each section says.
const PARTS: &[&str] = &["Meaning", "Cause", "The write", "Client", "Operator"];
/// Words in capitals at the beginning of other texts.
const NOT_CODES: &[&str] = &["GROUP", "HELP", "HTTP", "LATENCY", "SHUTDOWN", "SLOTSRANGE", "SLOWLOG", "TLS"];
/// Texts that say nothing themselves: `ERR {error}`.
const SHORTEST: usize = 5;

fn crates_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // `engine/src/stack` is a data type that exists in tests only.
        if name.ends_with("tests") || name.starts_with("testing") || name == "stack" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The string literals of a source, as they are at run time, but for escapes of quotes. Comments, characters and raw
/// strings hold none.
fn literals(source: &str) -> Vec<String> {
    let product = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let (mut found, mut rest) = (Vec::new(), product);
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let here = &rest[at..];
        rest = if here.starts_with("//") {
            here.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(after) = here.strip_prefix("'\"'") {
            after
        } else if here.starts_with("'\\\"'") || here.starts_with("'\\\\'") {
            &here[4..]
        } else if let Some(text) = here.strip_prefix('"') {
            let mut escaped = false;
            let end = text.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some(end) = end else { break };
            found.push(unfolded(&text[..end]));
            &text[end + 1..]
        } else {
            &here[1..]
        };
    }
    found
}

/// Joins the lines of a literal that ends lines with a backslash.
fn unfolded(literal: &str) -> String {
    let mut lines = literal.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// The word in capitals before the first blank.
fn code(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(' ')?;
    let is_code = word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase()) && !rest.trim().is_empty();
    is_code.then_some(word)
}

/// All texts, by their code.
fn texts() -> BTreeMap<String, BTreeSet<String>> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in CRATES {
        let mut files = Vec::new();
        sources(&crates_folder().join(name).join("src"), &mut files);
        for file in files {
            for literal in literals(&std::fs::read_to_string(&file).unwrap()) {
                let text = literal.trim_start_matches('-').trim_end_matches("\\r\\n").to_owned();
                if let Some(code) = code(&text) {
                    texts.entry(code.to_owned()).or_default().insert(text);
                }
            }
        }
    }
    texts
}

/// The reasons that are no code of RESP: the constants of a module.
fn reasons() -> BTreeSet<String> {
    let source = std::fs::read_to_string(crates_folder().join("server/src/api/refusal.rs")).unwrap();
    let module = source.split("mod reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let constants = module.lines().filter(|line| line.contains("const "));
    constants.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

/// The sections of a part of the page, with their text.
fn sections(part: &str) -> BTreeMap<&'static str, &'static str> {
    let part = PAGE.split("\n# ").find(|text| text.starts_with(part)).unwrap();
    part.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// A text without what is filled in at run time, and without line breaks: its pieces must follow each other.
fn is_quoted(page: &str, text: &str) -> bool {
    let pieces = text.split(['{', '}']).step_by(2);
    let mut at = None;
    for (number, piece) in pieces.enumerate() {
        let piece = if number == 0 { format!("`{piece}") } else { piece.to_owned() };
        let Some(found) =
            at.map_or_else(|| page.find(&piece), |from: usize| page[from..].find(&piece).map(|i| from + i))
        else {
            return false;
        };
        at = Some(found + piece.len());
    }
    true
}

#[test]
fn each_code_and_each_reason_has_a_whole_section() {
    let (texts, reasons) = (texts(), reasons());
    assert!(texts.len() > 15 && reasons.len() > 10, "found only {:?} {reasons:?}", texts.keys());
    let unneeded: Vec<_> = NOT_CODES.iter().filter(|word| !texts.contains_key(**word)).collect();
    assert!(unneeded.is_empty(), "to be removed from NOT_CODES: {unneeded:?}");
    let codes: BTreeSet<&str> = texts.keys().map(String::as_str).filter(|code| !NOT_CODES.contains(code)).collect();
    for (part, expected) in
        [("Codes of RESP", codes), ("Reasons of gRPC", reasons.iter().map(String::as_str).collect::<BTreeSet<_>>())]
    {
        let sections = sections(part);
        let present: BTreeSet<&str> = sections.keys().copied().collect();
        assert_eq!(present, expected, "sections (left) and what the sources have (right): {part}");
        for (name, text) in sections {
            for wanted in PARTS {
                let line = format!("- {wanted}: ");
                assert!(text.lines().any(|one| one.starts_with(&line) && one.len() > line.len()), "{name}: {wanted}");
            }
        }
    }
}

#[test]
fn each_text_is_quoted() {
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut missing = Vec::new();
    let mut count = 0;
    for (code, texts) in texts().into_iter().filter(|(code, _)| !NOT_CODES.contains(&code.as_str())) {
        for text in texts {
            let first = text.split('{').next().unwrap().trim_end();
            if first.len() < code.len() + SHORTEST
                && text.contains('{')
                && text.split('}').all(|piece| piece.len() < 12)
            {
                continue;
            }
            count += 1;
            if !is_quoted(&page, text.trim_end()) {
                missing.push(text);
            }
        }
    }
    assert!(count > 100, "only {count} texts were found");
    assert!(missing.is_empty(), "texts that deploy/ERRORS.md does not have: {missing:#?}");
}

#[test]
fn literals_are_found() {
    let source = "fn a(c: char) { let x = '\"'; f(\"ERR one \\\n    two\"); // \"ERR three\"\n g(\"a \\\"b\\\" c\") }\n\
                  #[cfg(test)]\nmod tests {\n\"ERR four\"";
    assert_eq!(literals(source), ["ERR one two", "a \\\"b\\\" c"]);
    assert_eq!((code("OOM command"), code("Err no"), code("ERR "), code("OK x")), (Some("OOM"), None, None, None));
    assert!(is_quoted("x `ERR a … b` y", "ERR a {n} b") && !is_quoted("`ERR a` c", "ERR a {n} b"));
}
