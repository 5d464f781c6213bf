//! The stored form of a user, of this and of other versions; any input is read without a panic.

#![allow(clippy::unwrap_used)]

use fastness_acl::{RuleProblem, User};
use fastness_engine::command::{CommandSpec, table};
use fastness_resp::Args;
use proptest::prelude::*;

fn read(text: &str) -> User {
    User::from_stored(table(), text.as_bytes()).unwrap()
}

fn reread(text: &str) -> String {
    String::from_utf8_lossy(&read(text).rules()).into_owned()
}

/// Words of a request with as few arguments as the command takes.
fn shortest_request(spec: &CommandSpec) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = spec.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    words.resize(usize::from(spec.arity.unsigned_abs()).max(words.len()), b"0".to_vec());
    words
}

fn may_run(user: &User, spec: &CommandSpec) -> bool {
    let words = shortest_request(spec);
    user.check(spec, Args::owned(&words)).is_ok()
}

#[test]
fn what_was_printed_is_read_as_it_was() {
    for text in [
        "off resetchannels -@all",
        "on nopass ~* &* +@all",
        "on #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb ~a %R~b resetchannels &c db=0,3 -@all +get",
        "off resetchannels resetdbs +@all -@dangerous +config|get +select|0",
        "off ~a (~b resetchannels -@all +get) (~* &* +@all)".replace("~a (", "~a resetchannels -@all (").as_str(),
        "off ~* ~a resetchannels -@all",
        "off ~a) resetchannels &(b -@all +get|c) (~a) %W~(b resetchannels -@all +get|c)) (&* -@all)",
        "off ~a\"b resetchannels -@all (~'a\\ resetchannels -@all)",
    ] {
        assert_eq!(reread(text), text);
    }
    assert_eq!(read("on nopass ~* &* +@all"), User::all(table()));
}

#[test]
fn rules_of_older_versions_are_read() {
    assert_eq!(reread("on sanitize-payload ~* &* +@all"), "on ~* &* +@all");
}

#[test]
fn unknown_commands_and_categories_are_left_out() {
    for (text, expected) in [
        ("off resetchannels -@all +nosuch +get +@nosuch", "off resetchannels -@all +get"),
        ("off resetchannels +@all -nosuch -config|nosuch", "off resetchannels +@all"),
        ("off resetchannels -@all +config|nosuch +set", "off resetchannels -@all +set"),
        ("off resetchannels -@all (resetchannels -@all +nosuch)", "off resetchannels -@all (resetchannels -@all)"),
    ] {
        assert_eq!(reread(text), expected);
    }
}

#[test]
fn rights_do_not_grow_where_a_denial_is_unknown() {
    // Which commands the category has is unknown.
    assert_eq!(reread("off resetchannels +@all -@nosuch +get"), "off resetchannels -@all +get");
    // Here, the command has no subcommands.
    assert_eq!(reread("off resetchannels +@all -get|nosuch"), "off resetchannels +@all -get");
}

#[test]
fn everything_else_that_is_wrong_is_an_error() {
    for (text, rule, problem) in [
        ("off nosuch", "nosuch", RuleProblem::Syntax),
        ("off #abc", "#abc", RuleProblem::BadHash),
        ("off (~a -@all", "(~a -@all", RuleProblem::UnmatchedParenthesis),
        ("off (", "(", RuleProblem::UnmatchedParenthesis),
        ("off (on -@all)", "(on -@all)", RuleProblem::Syntax),
        ("off db=-1", "db=-1", RuleProblem::DatabaseOutOfRange),
    ] {
        let error = User::from_stored(table(), text.as_bytes()).unwrap_err();
        assert_eq!((String::from_utf8_lossy(error.rule()).as_ref(), error.problem()), (rule, problem), "{text}");
    }
}

/// A rule of any kind, valid or not.
fn any_rule() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(table().all().iter().map(|spec| spec.name).collect::<Vec<_>>());
    let pattern = "[ab*?\\[\\]^()\"'\\\\]{0,4}";
    prop_oneof![
        3 => ("[+-]", names).prop_map(|(sign, name)| format!("{sign}{name}").into_bytes()),
        1 => "[+-]@(all|read|write|dangerous|connection|stream|nosuch)".prop_map(String::into_bytes),
        1 => "\\+(get|select|config|ping)\\|[a-c(){}\\\\]{0,2}".prop_map(String::into_bytes),
        2 => ("(~|%R~|%W~|%RW~|&)", pattern).prop_map(|(sign, pattern)| (sign + &pattern).into_bytes()),
        1 => "db=[0-9]{1,2}(,[0-9]{1,2}){0,2}".prop_map(String::into_bytes),
        1 => "(on|off|nopass|resetpass|>a|>b|<a|reset|resetkeys|resetchannels|resetdbs|clearselectors|allkeys|&\\*)"
            .prop_map(String::into_bytes),
        1 => "\\((~a|%R~b|&c|\\+get|-@all|db=1|~\\(|&\\)| ){0,4}\\)".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => "[()+~%&@|\"' RW=,-]{0,10}".prop_map(String::into_bytes),
    ]
}

/// A user after those of the rules that are accepted.
fn after(rules: &[Vec<u8>]) -> User {
    let new = User::new(table());
    rules.iter().fold(new, |user, rule| user.with_rules([&rule[..]]).unwrap_or(user))
}

proptest! {
    #[test]
    fn a_stored_user_is_equal(rules in prop::collection::vec(any_rule(), 0..20)) {
        let user = after(&rules);
        let stored = user.rules();
        let restored = User::from_stored(table(), &stored).unwrap();
        prop_assert_eq!(restored.rules(), stored.clone());
        // All keys and the pattern `*` are printed alike.
        if !stored.windows(2).any(|pair| pair == b"~*") {
            prop_assert_eq!(&restored, &user);
        }
        // ACL SETUSER reads it, too, unless a selector looks like several.
        let words: Vec<&[u8]> = stored.split(|byte| *byte == b' ').collect();
        if !stored.iter().any(|byte| b"()\"'\\*".contains(byte)) {
            prop_assert_eq!(&User::new(table()).with_rules(words).unwrap(), &user);
        }
    }

    #[test]
    fn any_input_is_read_without_a_panic(
        rules in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        stored in prop::collection::vec(any::<u8>(), 0..80),
        words in prop::collection::vec(any_rule(), 0..12),
        row in 0..table().all().len(),
    ) {
        let _ = User::new(table()).with_rules(rules.iter().map(Vec::as_slice));
        let _ = User::from_stored(table(), &stored);
        let _ = User::from_stored(table(), &words.join(&b' '));
        let _ = after(&words).check(&table().all()[row], Args::owned(&rules));
    }

    #[test]
    fn unknown_rules_never_add_rights(
        rules in prop::collection::vec("[+-](@all|@read|@write|@dangerous|get|set|config|config\\|get|select|ping)", 0..8),
        unknown in prop::sample::select(vec!["+nosuch", "-nosuch", "+@nosuch", "-@nosuch", "-get|x", "+config|x", "-config|x"]),
        at in 0_usize..8,
    ) {
        let known = read(&format!("off ~* &* {}", rules.join(" ")));
        let mut rules = rules;
        rules.insert(at.min(rules.len()), unknown.to_owned());
        let restored = read(&format!("off ~* &* {}", rules.join(" ")));
        for spec in table().all() {
            prop_assert!(!may_run(&restored, spec) || may_run(&known, spec), "{}", spec.name);
        }
    }
}
