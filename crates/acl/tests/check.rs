//! Whether users may run requests. `tests/against_valkey.rs` checks all commands; these are the rules one by one.

#![allow(clippy::unwrap_used)]

use fastness_acl::{Denied, User};
use fastness_engine::command::spec::key_flag;
use fastness_engine::command::{CommandSpec, KeyFlags, table};
use fastness_resp::Args;

fn user(rules: &str) -> User {
    let rules: Vec<&[u8]> = rules.split_whitespace().map(str::as_bytes).collect();
    User::new(table()).with_rules(rules).unwrap()
}

fn spec_of(words: &[&[u8]]) -> &'static CommandSpec {
    table().of_request(Args::slices(words)).unwrap()
}

fn words(request: &str) -> Vec<&[u8]> {
    request.split_whitespace().map(str::as_bytes).collect()
}

fn check(rules: &str, request: &str) -> Result<(), Denied> {
    let words = words(request);
    user(rules).check(spec_of(&words), Args::slices(&words))
}

/// Checks requests that are allowed, and then ones that are denied.
fn compare(rules: &str, allowed: &[&str], denied: &[(&str, Denied)]) {
    for request in allowed {
        assert_eq!(check(rules, request), Ok(()), "{rules}: {request}");
    }
    for (request, reason) in denied {
        assert_eq!(check(rules, request), Err(*reason), "{rules}: {request}");
    }
}

#[test]
fn commands() {
    let no_command = |request| (request, Denied::Command);
    compare("~* +get", &["get a", "auth x", "hello", "quit", "reset"], &[no_command("set a 1"), no_command("ping")]);
    compare("~* +@all -set", &["get a", "config get x"], &[no_command("set a 1")]);
    compare("~* +config|get", &["config get x"], &[no_command("config set a b"), no_command("config resetstat")]);
    compare("~* +config -config|set", &["config get x"], &[no_command("config set a b")]);
    compare("~* +@read -get", &["strlen a"], &[no_command("get a"), no_command("set a 1")]);
    compare("~* +select|0 +ping|A", &["select 0", "ping a", "ping A"], &[no_command("select 1"), no_command("ping")]);
    compare("~* +select|0 -select", &[], &[no_command("select 0")]);
    compare("~* +select|0 -@connection", &[], &[no_command("select 0")]);
}

#[test]
fn keys() {
    let key = |request, at| (request, Denied::Key(at));
    compare("+@all ~a* ~b", &["get a", "get abc", "mget a b", "ping"], &[key("get c", 1), key("mget a b c d", 3)]);
    compare("+@all %R~a", &["get a", "exists a"], &[key("set a 1", 1), key("getset a 1", 1), key("del a", 1)]);
    compare("+@all %W~a", &["set a 1", "exists a"], &[key("get a", 1), key("set a 1 get", 1), key("append b c", 1)]);
    compare("+@all %R~a %W~b", &["copy a b"], &[key("copy b a", 1), key("copy a a", 2), key("rename a b", 1)]);
    compare("+@all", &["dbsize"], &[key("get a", 1)]);
}

#[test]
fn keys_that_specifications_do_not_state_are_checked() {
    let key = |request, at| (request, Denied::Key(at));
    compare("+@all ~a", &["sort a", "sort a store a"], &[key("sort a limit 0 1 store b", 6), key("sort b", 1)]);
    compare("+@all ~a", &["migrate h 1 a 0 5 copy"], &[key("migrate h 1 b 0 5 copy", 3)]);
    let request: Vec<&[u8]> = vec![b"migrate", b"h", b"1", b"", b"0", b"5", b"KEYS", b"a", b"b"];
    assert_eq!(user("+@all ~a").check(spec_of(&request), Args::slices(&request)), Err(Denied::Key(8)));
    compare("+@all %R~a", &["georadius a 1 1 1 m"], &[key("georadius a 1 1 1 m store a", 7)]);
    compare("+@all %R~a", &["bitfield a get u8 0"], &[key("bitfield a set u8 0 1", 1)]);
    compare("+@all ~a", &["eval x 1 a", "eval x 0 b"], &[key("eval x 1 b", 3), key("eval x 2 a b", 4)]);
}

#[test]
fn sort_by_other_keys_needs_all_of_them() {
    let request = words("sort a by weight_*");
    let may = |rules: &str| {
        user(rules).may_run_on_every_key(spec_of(&request), Args::slices(&request), KeyFlags(key_flag::ACCESS))
    };
    assert!(may("+@all ~*") && may("+@all %R~*") && may("+get (+sort %R~*)"));
    assert!(!may("+@all ~a") && !may("+@all %W~* %R~a") && !may("%R~* +get"));
}

#[test]
fn channels() {
    let channel = |request, at| (request, Denied::Channel(at));
    compare(
        "+@all &a* &b",
        &["publish abc x", "subscribe a b", "psubscribe a* b", "spublish a x", "ssubscribe b", "unsubscribe x"],
        &[
            channel("publish c x", 1),
            channel("subscribe a c", 2),
            channel("psubscribe ab*", 1),
            channel("ssubscribe c", 1),
        ],
    );
    compare("+@all", &["punsubscribe x", "sunsubscribe x", "pubsub channels x"], &[channel("spublish x y", 1)]);
    let user = user("&a* (&b)");
    assert!(user.allows_channel(b"abc", false) && user.allows_channel(b"b", true) && user.allows_channel(b"a*", true));
    assert!(!user.allows_channel(b"abc", true) && !user.allows_channel(b"c", false));
}

#[test]
fn databases() {
    let database = |request, at| (request, Denied::Database(at));
    compare(
        "+@all ~* db=0,3",
        &["get a", "select 3", "swapdb 0 3", "move a 3", "copy a b db 3", "select 99", "ping"],
        &[database("select 4", 1), database("swapdb 0 4", 2), database("copy a b db 4", 4), database("flushall", 0)],
    );
    compare("+@all ~* &* resetdbs", &["ping", "publish a b"], &[database("get a", 0), database("dbsize", 0)]);
    let words = words("get a");
    let user = user("+@all ~* db=3");
    assert_eq!(user.check_in(3, spec_of(&words), Args::slices(&words)), Ok(()));
    assert_eq!(user.check_in(0, spec_of(&words), Args::slices(&words)), Err(Denied::Database(0)));
}

#[test]
fn one_selector_must_allow_all_of_a_request() {
    let rules = "+get ~a (+set ~b) (+mget %R~c)";
    let denied = [
        ("get b", Denied::Key(1)),
        ("set a 1", Denied::Key(1)),
        ("mget a c", Denied::Key(1)),
        ("mget c c a", Denied::Key(3)),
        ("del a", Denied::Command),
    ];
    compare(rules, &["get a", "set b 1", "mget c c"], &denied);
    let rules = "+publish &a (+@all) (+publish db=1)";
    compare(rules, &["publish a x"], &[("publish b x", Denied::Channel(1)), ("get a", Denied::Key(1))]);
    compare("(db=1 +@all) (db=0 +get)", &[], &[("set a 1", Denied::Command), ("flushall", Denied::Command)]);
}

#[test]
fn refusals_have_valkeys_texts() {
    let request = words("get a");
    let args = Args::slices(&request);
    let spec = spec_of(&request);
    for (denied, reply, dry_run, reason, object) in [
        (
            Denied::Command,
            "NOPERM User alice has no permissions to run the 'get' command",
            "User alice has no permissions to run the 'get' command",
            "command",
            "get",
        ),
        (
            Denied::Key(1),
            "NOPERM No permissions to access a key",
            "User alice has no permissions to access the 'a' key",
            "key",
            "a",
        ),
        (
            Denied::Channel(1),
            "NOPERM No permissions to access a channel",
            "User alice has no permissions to access the 'a' channel",
            "channel",
            "a",
        ),
        (
            Denied::Database(0),
            "NOPERM No permissions to access database",
            "User alice has no permissions to access database get",
            "database",
            "get",
        ),
    ] {
        assert_eq!(String::from_utf8_lossy(&denied.reply(b"alice", spec)), reply);
        assert_eq!(String::from_utf8_lossy(&denied.dry_run(b"alice", spec, args)), dry_run);
        assert_eq!((denied.reason(), denied.object(spec, args)), (reason, object.as_bytes()));
    }
}

/// CVE-2024-31228: a pattern with many stars exhausted the stack. A match does not recurse, and takes at most as many
/// steps as the product of the lengths.
#[test]
fn long_patterns_are_matched_in_bounded_time() {
    let rules = format!("+@all ~{} &{}", "*a".repeat(30_000), "[".repeat(60_000));
    let user = user(&rules);
    let long = "a".repeat(20_000) + "b";
    let started = std::time::Instant::now();
    for request in [format!("get {long}"), format!("publish {long} x")] {
        let words = words(&request);
        assert!(user.check(spec_of(&words), Args::slices(&words)).is_err());
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn whoever_reads_all_that_is_watched_may_watch() {
    let may = |rules: &str, keys: &[&str], prefixes: &[&str]| {
        let words: [&[u8]; 2] = [b"dump", b""];
        let (keys, prefixes) = (keys.iter().map(|key| key.as_bytes()), prefixes.iter().map(|prefix| prefix.as_bytes()));
        user(rules).may_read_all((spec_of(&words), Args::slices(&words)), keys, prefixes)
    };
    for (rules, keys, prefixes, expect) in [
        ("+@all ~*", &["a"][..], &["", "b"][..], true),
        ("+dump %R~*", &["a"], &[""], true),
        ("+dump %W~*", &["a"], &[], false),
        ("+@all -dump ~*", &["a"], &[], false),
        ("+dump ~a*", &["a", "ab"], &["a", "ab"], true),
        ("+dump ~a*", &[], &[""], false),
        ("+dump ~ab*", &[], &["a"], false),
        ("+dump ~a", &["a"], &["a"], false),
        // Patterns that would have to be understood.
        ("+dump ~a?*", &[], &["ab"], false),
        ("+dump ~[a]*", &[], &["a"], false),
        ("+dump ~a\\**", &[], &["a*"], false),
        ("+dump ~*a*", &[], &["a"], false),
        // One selector must allow all of it.
        ("+dump ~a* (+dump ~b*)", &[], &["a", "b"], false),
        ("+get ~a* (+dump ~a* ~b*)", &["a"], &["b"], true),
        ("+dump ~* resetdbs", &["a"], &[], false),
    ] {
        assert_eq!(may(rules, keys, prefixes), expect, "{rules}: {keys:?} {prefixes:?}");
    }
}
