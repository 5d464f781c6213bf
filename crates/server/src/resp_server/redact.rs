//! Which arguments of a command are secrets. Wherever a command is shown they stand as `(redacted)`, as in Valkey.

use fastness_resp::Args;

/// What is shown in the place of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Options whose values are secrets: those of Valkey too that do not exist here, since clients may send them.
const SECRET_OPTIONS: [&str; 7] = [
    "requirepass",
    "masterauth",
    "primaryauth",
    "masteruser",
    "primaryuser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
];

/// Whether an option's value is a secret.
#[must_use]
pub fn is_secret_option(name: &[u8]) -> bool {
    SECRET_OPTIONS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()))
}

/// For each of the first `count` arguments whether it is a secret. Also in commands that are refused: a password with a
/// mistake in front of it is one.
#[must_use]
pub fn secrets(args: Args<'_>, count: usize) -> Vec<bool> {
    let mut secret = vec![false; count.min(args.len())];
    let is = |i: usize, word: &str| args.try_get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let mut hide = |from: usize, len: usize| secret.iter_mut().skip(from).take(len).for_each(|secret| *secret = true);
    if is(0, "auth") {
        hide(1, usize::MAX);
    } else if is(0, "hello") {
        (1..count).filter(|at| is(*at, "auth")).for_each(|at| hide(at + 1, 2));
    } else if is(0, "config") && is(1, "set") {
        let options = (2..count).step_by(2).filter(|at| args.try_get(*at).is_some_and(is_secret_option));
        options.for_each(|at| hide(at + 1, 1));
    } else if is(0, "acl") && is(1, "setuser") {
        hide(2, usize::MAX);
    } else if is(0, "migrate") {
        (1..count).filter(|at| is(*at, "auth")).for_each(|at| hide(at + 1, 1));
        (1..count).filter(|at| is(*at, "auth2")).for_each(|at| hide(at + 1, 2));
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, shown: &str) {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let args = Args::slices(&words);
        let secret = secrets(args, words.len());
        let texts = words.iter().zip(secret).map(|(word, secret)| if secret { REDACTED } else { word });
        let texts: Vec<String> = texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        assert_eq!(texts.join(" "), shown);
    }

    #[test]
    fn secrets_are_not_shown() {
        check("AUTH s3", "AUTH (redacted)");
        check("auth user s3", "auth (redacted) (redacted)");
        check("AUTH user s3 more", "AUTH (redacted) (redacted) (redacted)");
        check("HELLO 3 AUTH user s3 SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me");
        check("hello 3 setname me auth user s3", "hello 3 setname me auth (redacted) (redacted)");
        check("HELLO 3 FOO AUTH user s3", "HELLO 3 FOO AUTH (redacted) (redacted)");
        check("CONFIG SET requirepass s3", "CONFIG SET requirepass (redacted)");
        check("config set timeout 1 MasterAuth s3", "config set timeout 1 MasterAuth (redacted)");
        check("CONFIG GET requirepass", "CONFIG GET requirepass");
        check("ACL SETUSER user >s3", "ACL SETUSER (redacted) (redacted)");
        check("MIGRATE h 1 k 0 5 AUTH s3", "MIGRATE h 1 k 0 5 AUTH (redacted)");
        check("MIGRATE h 1 k 0 5 AUTH2 user s3", "MIGRATE h 1 k 0 5 AUTH2 (redacted) (redacted)");
        check("SET auth s3", "SET auth s3");
    }
}
