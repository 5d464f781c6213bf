//! Completion of commands, subcommands and words among the arguments, and the hint behind the line, from the command
//! table. What is typed is matched without regard to case, and what is offered has the case of what was typed.

use fastness_engine::command::{CommandSpec, CommandTable};
use fastness_resp::Args;
use fastness_resp::request::split_line;

use crate::synopsis;

/// Words that this client understands itself.
pub const OWN_WORDS: &[&str] = &["CLEAR", "EXIT", "HELP", "QUIT"];
/// Longest hint, in characters.
const HINT_CHARS_MAX: usize = 160;

/// What can stand in the place of the last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Where in the line the last word starts, bytes.
    pub start: usize,
    /// The alternatives, sorted.
    pub words: Vec<String>,
}

/// Where the last word of a line starts: after the last blank.
fn last_word(line: &str) -> usize {
    line.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |at| at + 1)
}

/// The command that words name, and how many of them name it.
fn named<'a>(table: &'a CommandTable, words: &[Vec<u8>]) -> Option<(&'a CommandSpec, usize)> {
    let spec = table.of_request(Args::owned(words)).filter(|spec| spec.is_implemented)?;
    Some((spec, 1 + usize::from(spec.name.contains('|'))))
}

/// What can complete the line up to the cursor.
#[must_use]
pub fn complete(table: &CommandTable, line: &str) -> Completion {
    let start = last_word(line);
    let prefix = &line[start..];
    let before = split_line(&line.as_bytes()[..start]);
    let alternatives = before.map(|before| alternatives(table, &before)).unwrap_or_default();
    let starts = |word: &String| word.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let mut words: Vec<String> = alternatives.into_iter().filter(starts).collect();
    if prefix.contains(|c: char| c.is_ascii_lowercase()) {
        words.iter_mut().for_each(|word| word.make_ascii_lowercase());
    }
    words.sort();
    words.dedup();
    Completion { start, words }
}

/// What can stand after these words, in upper case.
fn alternatives(table: &CommandTable, before: &[Vec<u8>]) -> Vec<String> {
    let Some(first) = before.first() else {
        let own = OWN_WORDS.iter().map(|word| (*word).to_owned());
        return commands(table).chain(own).collect();
    };
    if first.eq_ignore_ascii_case(b"help") {
        return if before.len() == 1 { commands(table).chain(groups(table)).collect() } else { Vec::new() };
    }
    let Some((spec, names)) = named(table, before) else { return Vec::new() };
    if spec.is_container() && before.len() == 1 {
        return subcommands(table, spec);
    }
    let typed: Vec<&[u8]> = before[names..].iter().map(Vec::as_slice).collect();
    let rest = synopsis::rest(spec.arguments(), &typed);
    rest.map(|rest| rest.words.iter().map(|word| word.to_ascii_uppercase()).collect()).unwrap_or_default()
}

fn commands(table: &CommandTable) -> impl Iterator<Item = String> {
    table.implemented().filter(|spec| !spec.name.contains('|')).map(|spec| spec.name.to_ascii_uppercase())
}

fn groups(table: &CommandTable) -> impl Iterator<Item = String> {
    table.implemented().map(|spec| format!("@{}", spec.group.name().to_ascii_uppercase()))
}

fn subcommands(table: &CommandTable, container: &CommandSpec) -> Vec<String> {
    let implemented = table.subcommands_of(container).iter().filter(|spec| spec.is_implemented);
    implemented.map(|spec| spec.name[container.name.len() + 1..].to_ascii_uppercase()).collect()
}

/// What may follow the line, to be shown behind it; `None` if that is nothing, or not known.
#[must_use]
pub fn hint(table: &CommandTable, line: &str) -> Option<String> {
    let words = split_line(line.as_bytes())?;
    let (spec, names) = named(table, &words)?;
    let text = if spec.is_container() && words.len() == 1 {
        subcommands(table, spec).join("|")
    } else {
        let typed: Vec<&[u8]> = words.get(names..)?.iter().map(Vec::as_slice).collect();
        synopsis::rest(spec.arguments(), &typed)?.synopsis
    };
    if text.is_empty() {
        return None;
    }
    let blank = if line.ends_with(|c: char| c.is_ascii_whitespace()) { "" } else { " " };
    let mut hint = format!("{blank}{text}");
    if let Some((at, _)) = hint.char_indices().nth(HINT_CHARS_MAX) {
        hint.truncate(at);
        hint.push('…');
    }
    Some(hint)
}

#[cfg(test)]
mod tests {
    use fastness_engine::command::table;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        assert_eq!(complete(table(), line).words, expected, "{line:?}");
    }

    #[test]
    fn commands_are_completed_in_the_case_that_was_typed() {
        check("getr", &["getrange"]);
        check("GETR", &["GETRANGE"]);
        check("Getr", &["getrange"]);
        check("qui", &["quit"]);
        check("nosuch", &[]);
        assert!(complete(table(), "").words.contains(&"HSET".to_owned()));
        // Not implemented.
        check("psyn", &[]);
    }

    #[test]
    fn subcommands_and_words_are_completed() {
        check("object enc", &["encoding"]);
        check("set k v ke", &["keepttl"]);
        check("SET k v EX", &["EX", "EXAT"]);
        check("set k v ex 5 E", &[]);
        check("set E", &[]);
        check("get ", &[]);
        let completion = complete(table(), "set k v ke");
        assert_eq!(completion.start, "set k v ".len());
    }

    #[test]
    fn help_completes_commands_and_groups() {
        check("help getr", &["getrange"]);
        check("help @strin", &["@string"]);
        check("help get s", &[]);
    }

    #[test]
    fn nothing_is_completed_within_quotes() {
        check("set \"a ", &[]);
        check("set 'k' v ke", &["keepttl"]);
        // Bytes that are no text, and multi-byte characters before the cursor.
        check("set \u{fc}\u{fc} v ke", &["keepttl"]);
        check("s\u{fc}", &[]);
    }

    #[test]
    fn hints_follow_what_was_typed() {
        let of = |line: &str| hint(table(), line);
        assert_eq!(of("GETRANGE").as_deref(), Some(" key start end"));
        assert_eq!(of("getrange k ").as_deref(), Some("start end"));
        assert_eq!(of("getrange k 0 1"), None);
        assert_eq!(of("gibberish"), None);
        assert_eq!(of("psync"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("set \"a"), None);
        assert!(of("object").unwrap().contains("ENCODING"), "{:?}", of("object"));
        assert!(of("object encoding").unwrap().contains("key"));
    }

    #[test]
    fn hints_have_a_bound() {
        let longest = table().all().iter().filter_map(|spec| hint(table(), &spec.name.replace('|', " "))).max();
        assert!(longest.is_some());
        for spec in table().all() {
            let hint = hint(table(), &spec.name.replace('|', " ")).unwrap_or_default();
            assert!(hint.chars().count() <= HINT_CHARS_MAX + 1, "{hint}");
        }
    }
}
