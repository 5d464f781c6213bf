//! ACL SETUSER's rules: which are accepted, the texts of errors, and the canonical form.

#![allow(clippy::unwrap_used)]

use fastness_acl::limits::{PASSWORDS_MAX, PATTERNS_MAX, RULE_BYTES_MAX, SELECTORS_MAX};
use fastness_acl::{RuleProblem, User};
use fastness_engine::command::table;

const HASH_OF_A: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

fn new() -> User {
    User::new(table())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn with(user: &User, rules: &[&str]) -> User {
    user.with_rules(rules.iter().map(|rule| rule.as_bytes())).unwrap()
}

/// The canonical form of a new user with these rules.
fn canonical(rules: &[&str]) -> String {
    text(&with(&new(), rules).rules())
}

fn refusal(rules: &[&str]) -> String {
    text(&new().with_rules(rules.iter().map(|rule| rule.as_bytes())).unwrap_err().reply())
}

fn problem(user: &User, rule: &[u8]) -> RuleProblem {
    user.with_rules([rule]).unwrap_err().problem()
}

#[test]
fn new_users_have_no_rights() {
    let user = new();
    assert_eq!(text(&user.rules()), "off resetchannels -@all");
    assert!(!user.is_on() && !user.is_nopass() && !user.is_unrestricted() && !user.accepts(b""));
}

#[test]
fn the_user_that_may_do_everything() {
    let user = User::all(table());
    assert_eq!(text(&user.rules()), "on nopass ~* &* +@all");
    assert!(user.is_on() && user.is_nopass() && user.is_unrestricted() && user.accepts(b"any"));
    assert_eq!(with(&new(), &["on", "nopass", "~*", "&*", "+@all"]), user);
    for restriction in ["resetkeys", "resetchannels", "-get", "-@all", "db=0", "resetdbs"] {
        assert!(!with(&user, &[restriction]).is_unrestricted(), "{restriction}");
    }
    assert!(with(&new(), &["(~* &* +@all)"]).is_unrestricted(), "one selector suffices");
}

#[test]
fn canonical_forms() {
    for (rules, expected) in [
        (&["on", "off"][..], "off resetchannels -@all"),
        (&["ON", "sanitize-payload", "skip-sanitize-payload"], "on resetchannels -@all"),
        (&["%R~a", "%w~b", "%RW~c", "~d", "%R~d"], "off %R~a %W~b ~c ~d resetchannels -@all"),
        (&["%R~a", "%W~a"], "off ~a resetchannels -@all"),
        (&["~a", "~*"], "off ~* resetchannels -@all"),
        (&["%RW~*", "~a"], "off ~* ~a resetchannels -@all"),
        (&["%R"], "off %R~ resetchannels -@all"),
        (&["~a", "resetkeys", "~b", "~b"], "off ~b resetchannels -@all"),
        (&["&a", "&b", "&a"], "off resetchannels &a &b -@all"),
        (&["&a", "allchannels"], "off &* -@all"),
        (&["db=3,1,3"], "off resetchannels db=1,3 -@all"),
        (&["db=1", "DB= +2"], "off resetchannels db=2 -@all"),
        (&["resetdbs"], "off resetchannels resetdbs -@all"),
        (&["resetdbs", "alldbs"], "off resetchannels -@all"),
        (&["+GET", "-Config|Set"], "off resetchannels -@all +get -config|set"),
        (&["+get", "-get", "+get"], "off resetchannels -@all +get"),
        (&["+@all", "-@dangerous", "+config|get"], "off resetchannels +@all -@dangerous +config|get"),
        (&["+config|get", "+@read", "-config"], "off resetchannels -@all +@read -config"),
        (&["+select|0", "+SELECT|1", "+select|0"], "off resetchannels -@all +select|1 +select|0"),
        (&["+select|0", "+select"], "off resetchannels -@all +select"),
        (&["+@read", "allcommands", "nocommands"], "off resetchannels -@all"),
        (
            &["(~a +get)", "(&b", "db=1", "+set)"],
            "off resetchannels -@all (~a resetchannels -@all +get) (resetchannels &b db=1 -@all +set)",
        ),
        (&["()", "clearselectors"], "off resetchannels -@all"),
        (&["(\"~a\\x41\" '+get')"], "off resetchannels -@all (~aA resetchannels -@all +get)"),
        (&["(\"+get)"], "off resetchannels -@all (resetchannels -@all)"),
        (&["on", "nopass", "~*", "&*", "+@all", "db=1", "(+get)", "reset"], "off resetchannels -@all"),
        (&["", "on"], "on resetchannels -@all"),
        (&["on\0and more", "+get\0x"], "on resetchannels -@all +get"),
    ] {
        assert_eq!(canonical(rules), expected, "{rules:?}");
    }
}

#[test]
fn refusals_have_valkeys_texts() {
    const AFTER_KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
                              have any effect. Try 'resetkeys' to start with an empty list of patterns";
    const AFTER_CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                                  does not have any effect. Try 'resetchannels' to start with an empty list of channels";
    const UNKNOWN: &str = "Unknown command or category name in ACL";
    const HASH: &str =
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    const PASSWORD: &str = "The password you are trying to remove from the user does not exist";
    const OUT_OF_RANGE: &str = "The provided database ID is out of range";
    for (rules, rule, problem) in [
        (&["other"][..], "other", "Syntax error"),
        (&["~a b"], "~a b", "Syntax error"),
        (&["%~a"], "%~a", "Syntax error"),
        (&["%RR~a"], "%RR~a", "Syntax error"),
        (&["+get", "&a\tb"], "&a\tb", "Syntax error"),
        (&["+get|"], "+get|", "Syntax error"),
        (&["+get|a b"], "+get|a b", "Syntax error"),
        (&["+get|a\"b"], "+get|a\"b", "Syntax error"),
        (&["db="], "db=", "Syntax error"),
        (&["db=1,"], "db=1,", "Syntax error"),
        (&["db=1,x"], "db=1,x", "Syntax error"),
        (&["db=-1"], "db=-1", OUT_OF_RANGE),
        (&["db=2147483648"], "db=2147483648", OUT_OF_RANGE),
        (&["~*", "~a"], "~a", AFTER_KEYS),
        (&["&*", "&a"], "&a", AFTER_CHANNELS),
        (&["+nosuch"], "+nosuch", UNKNOWN),
        (&["-"], "-", UNKNOWN),
        (&["+@nosuch"], "+@nosuch", UNKNOWN),
        (&["-get|a"], "-get|a", UNKNOWN),
        (&["+config|nosuch"], "+config|nosuch", UNKNOWN),
        (&["+config|get|a"], "+config|get|a", "Allowing first-arg of a subcommand is not supported"),
        (&["<a"], "<a", PASSWORD),
        (&[">a", "<b"], "<b", PASSWORD),
        (&["#abc"], "#abc", HASH),
        (
            &["!CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB"],
            "!CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB",
            HASH,
        ),
        (&["(+get", "on)"], "(+get on)", "Syntax error"),
        (&["((+get))"], "((+get))", "Syntax error"),
        (&["(\"\")"], "(\"\")", "Syntax error"),
        (&[")"], ")", "Syntax error"),
    ] {
        assert_eq!(refusal(rules), format!("ERR Error in ACL SETUSER modifier '{rule}': {problem}"));
    }
    assert_eq!(refusal(&["other", "(+get", "~a"]), "ERR Unmatched parenthesis in acl selector starting at '(+get'.");
    let error = new().with_rules([&b"other"[..]]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.rule()), ("Syntax error", &b"other"[..]));
}

/// CVE-2024-31227: a malformed selector stopped the server when the user was printed.
#[test]
fn malformed_selectors_are_refused() {
    for rule in ["%", "%~", "%~*", "(%~)", "(%~x +get)", "(\"%~\")", "(%)", "(", "(()", "%R%~a", "%R ~a"] {
        assert!(new().with_rules([rule.as_bytes()]).is_err(), "{rule}");
    }
}

#[test]
fn passwords_are_kept_as_hashes() {
    let user = with(&new(), &[">a", ">b", ">a"]);
    assert_eq!(user.passwords().count(), 2);
    assert!(text(&user.rules()).starts_with(&format!("off #{HASH_OF_A} #")), "{user:?}");
    assert!(user.accepts(b"a") && user.accepts(b"b") && !user.accepts(b"") && !user.accepts(b"ab"));
    assert_eq!(with(&new(), &[&format!("#{HASH_OF_A}"), ">b"]), user);
    let fewer = with(&user, &["<b"]);
    assert!(fewer.accepts(b"a") && !fewer.accepts(b"b"));
    assert!(!with(&fewer, &[&format!("!{HASH_OF_A}")]).accepts(b"a"));
    assert!(!format!("{user:?}").contains("ca978"), "logs show no hashes");
}

#[test]
fn nopass_accepts_every_password_until_one_is_set() {
    let user = with(&new(), &[">a", "nopass"]);
    assert!(user.is_nopass() && user.passwords().count() == 0 && user.accepts(b"x"));
    let user = with(&user, &[">b"]);
    assert!(!user.is_nopass() && user.accepts(b"b") && !user.accepts(b"x"));
    assert!(!with(&user, &["nopass", "resetpass"]).accepts(b"b"));
    let binary = new().with_rules([&b">a\0b c"[..]]).unwrap();
    assert!(binary.accepts(b"a\0b c") && !binary.accepts(b"a"));
}

#[test]
fn a_refused_rule_changes_nothing() {
    let user = with(&new(), &["on", "~a"]);
    let before = user.clone();
    assert!(user.with_rules([&b"~b"[..], b"+get", b"other"]).is_err());
    assert_eq!(user, before);
}

#[test]
fn descriptions_of_selectors() {
    let user = with(&new(), &["~a", "%R~b", "&c", "db=1", "+get", "(~* &* +@all)", "(resetdbs)"]);
    let described = |selector: &fastness_acl::Selector| {
        [selector.commands(), selector.keys(), selector.channels(), selector.databases()].map(|part| text(&part))
    };
    assert_eq!(described(user.root()), ["-@all +get", "~a %R~b", "&c", "db=1"]);
    assert_eq!(described(&user.selectors()[0]), ["+@all", "~*", "&*", "alldbs"]);
    assert_eq!(described(&user.selectors()[1]), ["-@all", "", "", ""]);
}

#[test]
fn users_are_bounded() {
    let long = [b"~", vec![b'a'; RULE_BYTES_MAX].as_slice()].concat();
    assert_eq!(problem(&new(), &long), RuleProblem::TooLong);
    let reply = new().with_rules([&long[..]]).unwrap_err().reply();
    assert!(reply.len() < 300, "{}", reply.len());
    assert!(new().with_rules([&long[..RULE_BYTES_MAX]]).is_ok());

    let patterns: Vec<String> = (0..PATTERNS_MAX).map(|number| format!("~{number}")).collect();
    let full = new().with_rules(patterns.iter().map(String::as_bytes)).unwrap();
    for rule in ["~more", "&more", "+get|more", "db=1", "(~more)"] {
        assert_eq!(problem(&full, rule.as_bytes()), RuleProblem::TooManyPatterns, "{rule}");
    }
    assert!(full.with_rules([&b"~0"[..], b"+get"]).is_ok(), "it has this one already");
    let selector = format!("(~more {})", patterns.join(" "));
    assert_eq!(problem(&new(), selector.as_bytes()), RuleProblem::TooManyPatterns);
    let databases: Vec<String> = (0..=PATTERNS_MAX).map(|number| number.to_string()).collect();
    assert_eq!(problem(&new(), format!("db={}", databases.join(",")).as_bytes()), RuleProblem::TooManyPatterns);
    assert!(new().with_rules([format!("db={}", "1,".repeat(PATTERNS_MAX * 2) + "1").as_bytes()]).is_ok());

    let selectors = new().with_rules(vec![&b"(+get)"[..]; SELECTORS_MAX]).unwrap();
    assert_eq!(problem(&selectors, b"()"), RuleProblem::TooManySelectors);
    let passwords: Vec<String> = (0..PASSWORDS_MAX).map(|number| format!(">{number}")).collect();
    let full = new().with_rules(passwords.iter().map(String::as_bytes)).unwrap();
    assert_eq!(problem(&full, b">more"), RuleProblem::TooManyPasswords);
}

#[test]
fn categories() {
    use fastness_acl::category;
    assert_eq!(category::names().count(), 21);
    let names: Vec<_> = category::commands(table(), b"Transaction").unwrap().map(|spec| spec.name).collect();
    assert_eq!(names, ["discard", "exec", "multi", "unwatch", "watch"]);
    assert!(category::commands(table(), b"nosuch").is_none());
}
