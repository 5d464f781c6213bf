//! Which typed lines contain secrets: they are kept in no history, neither in memory nor in a file.

use fastness_engine::command::CommandTable;
use fastness_resp::Args;
use fastness_resp::request::split_line;

/// Whether a line contains a secret, or may: passwords, keys, and rules of users. A line whose quotes do not match is
/// judged by its words.
#[must_use]
pub fn has_secret(table: &CommandTable, line: &str) -> bool {
    let words = split_line(line.as_bytes()).unwrap_or_else(|| roughly(line));
    let mut has_secret = false;
    let args = Args::owned(&words);
    if let Some(spec) = table.of_request(args) {
        spec.secrets(args, &mut |_| has_secret = true);
    }
    has_secret || is_of_secrets(&words)
}

/// The words of a line that is not well-formed.
fn roughly(line: &str) -> Vec<Vec<u8>> {
    let is_between = |c: char| c.is_whitespace() || c == '"' || c == '\'';
    line.split(is_between).filter(|word| !word.is_empty()).map(|word| word.as_bytes().to_vec()).collect()
}

/// Commands that carry secrets in some form, whether this server has them or not, and however many arguments are typed.
fn is_of_secrets(words: &[Vec<u8>]) -> bool {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|typed| typed.eq_ignore_ascii_case(word.as_bytes()));
    let any = |wanted: &[&str]| (1..words.len()).any(|at| wanted.iter().any(|word| is(at, word)));
    let contains =
        |part: &str| words.iter().any(|word| String::from_utf8_lossy(word).to_ascii_lowercase().contains(part));
    is(0, "auth")
        || is(0, "hello") && any(&["auth"])
        || is(0, "acl") && any(&["setuser"])
        || is(0, "migrate") && any(&["auth", "auth2"])
        || is(0, "config") && any(&["set"]) && ["pass", "auth", "secret"].iter().any(|part| contains(part))
}

#[cfg(test)]
mod tests {
    use fastness_engine::command::table;

    use super::*;

    #[test]
    fn lines_with_secrets_are_recognised() {
        for line in [
            "AUTH secret",
            "auth alice secret",
            "  \"AUTH\" secret",
            "auth \"secret",
            "'auth' 'sec",
            "HELLO 3 AUTH alice secret",
            "hello 3 setname x auth a b",
            "ACL SETUSER alice on >secret",
            "acl setuser alice \"on",
            "CONFIG SET requirepass secret",
            "config set maxmemory 1 masterauth secret",
            "config set tls-key-file-pass x",
            "MIGRATE h 1 k 0 5 AUTH secret",
            "migrate h 1 \"\" 0 5 auth2 u p keys a",
        ] {
            assert!(has_secret(table(), line), "{line}");
        }
    }

    #[test]
    fn other_lines_are_kept() {
        for line in [
            "",
            "SET auth 1",
            "HELLO 3",
            "ACL GETUSER alice",
            "CONFIG GET requirepass",
            "CONFIG SET maxmemory 1",
            "get \"x",
        ] {
            assert!(!has_secret(table(), line), "{line}");
        }
    }
}
