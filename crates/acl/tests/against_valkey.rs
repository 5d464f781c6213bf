//! Compares users with those of a real Valkey server: the verdict and the error text of ACL SETUSER, what ACL LIST and
//! ACL GETUSER print, and what ACL DRYRUN says about every command of the table.
//!
//! Each seed is one series of generated rules or requests; a failure prints its seed. `FASTNESS_ACL_SEEDS` sets how
//! many seeds are run, from `FASTNESS_ACL_FIRST_SEED` on.

#![allow(clippy::unwrap_used)]

#[path = "against_valkey/generate.rs"]
mod generate;
#[path = "against_valkey/server.rs"]
mod server;

use fastness_acl::{Denied, Selector, User};
use fastness_engine::command::{ChannelArguments, CommandSpec, CommandTable, table};
use fastness_resp::{Args, Value};

use generate::Dice;
use server::{Connection, Server, shown};

const USER: &str = "alice";

/// The seeds to run, of which this many by default.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let first = variable("FASTNESS_ACL_FIRST_SEED").unwrap_or(0);
    first..first + variable("FASTNESS_ACL_SEEDS").unwrap_or(count)
}

/// Line ends in error replies are blanks, as the writers of replies replace them.
fn line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Bulk(text) | Value::Error(text) => text.escape_ascii().to_string(),
        other => format!("{other:?}"),
    }
}

fn of_bytes(text: &[u8]) -> String {
    text.escape_ascii().to_string()
}

fn flat(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        value => vec![text(value)],
    }
}

/// Creates the user anew.
fn reset(connection: &mut Connection) {
    connection.call(&["ACL", "DELUSER", USER]);
    connection.call(&["ACL", "SETUSER", USER]);
}

/// Applies rules to both; the user afterwards, and whether they were accepted.
fn set_user(connection: &mut Connection, user: User, rules: &[Vec<u8>], seed: u64) -> (User, bool) {
    let mut request: Vec<&[u8]> = vec![b"ACL", b"SETUSER", USER.as_bytes()];
    request.extend(rules.iter().map(Vec::as_slice));
    let theirs = connection.call(&request);
    let (user, ours) = match user.with_rules(rules.iter().map(Vec::as_slice)) {
        Ok(changed) => (changed, "OK".to_owned()),
        Err(error) => (user, of_bytes(&line(&error.reply()))),
    };
    assert_eq!(ours, text(&theirs), "seed {seed}: {:?} on {}", shown(rules), of_bytes(&user.rules()));
    (user, ours == "OK")
}

fn list_line(connection: &mut Connection) -> String {
    let prefix = format!("user {USER} ");
    let lines = flat(&connection.call(&["ACL", "LIST"]));
    lines.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
}

fn described(selector: &Selector, fields: &mut Vec<String>) {
    for (name, value) in [
        ("commands", selector.commands()),
        ("keys", selector.keys()),
        ("channels", selector.channels()),
        ("databases", selector.databases()),
    ] {
        fields.extend([name.to_owned(), of_bytes(&value)]);
    }
}

/// The reply to ACL GETUSER, without its nesting.
fn get_user(user: &User) -> Vec<String> {
    let mut fields = vec!["flags".to_owned(), if user.is_on() { "on" } else { "off" }.to_owned()];
    if user.is_nopass() {
        fields.push("nopass".to_owned());
    }
    fields.push("passwords".to_owned());
    fields.extend(user.passwords().map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()));
    described(user.root(), &mut fields);
    fields.push("selectors".to_owned());
    user.selectors().iter().for_each(|selector| described(selector, &mut fields));
    fields
}

#[test]
fn rules_are_read_and_printed_as_valkey_does() {
    let Some(server) = Server::start() else { return };
    let mut connection = server.connect();
    let table = table();
    let (mut calls, mut accepted) = (0, 0);
    for seed in seeds(1_500) {
        let mut dice = Dice::new(seed);
        let mut user = User::new(table);
        reset(&mut connection);
        for _ in 0..20 {
            let rules = generate::rules(&mut dice, table);
            let (changed, is_accepted) = set_user(&mut connection, user, &rules, seed);
            user = changed;
            calls += 1;
            accepted += usize::from(is_accepted);
            if !is_accepted {
                continue;
            }
            let stored = user.rules();
            assert_eq!(of_bytes(&stored), list_line(&mut connection), "seed {seed}: {:?}", shown(&rules));
            let theirs = flat(&connection.call(&["ACL", "GETUSER", USER]));
            assert_eq!(get_user(&user), theirs, "seed {seed}: {:?}", shown(&rules));
            let restored = User::from_stored(table, &stored).unwrap();
            assert_eq!(of_bytes(&restored.rules()), of_bytes(&stored), "seed {seed}");
            // All keys and the pattern `*` are printed alike.
            if !of_bytes(&stored).contains("~*") {
                assert_eq!(restored, user, "seed {seed}: {}", of_bytes(&stored));
            }
        }
    }
    println!("{calls} calls of ACL SETUSER were compared, {accepted} were accepted");
    assert!(accepted * 4 > calls, "only {accepted} of {calls} were accepted");
}

/// A user with rules that Valkey accepts.
fn accepted_user(connection: &mut Connection, dice: &mut Dice, table: &'static CommandTable, seed: u64) -> User {
    let mut user = User::new(table);
    reset(connection);
    let start: &[&str] = [&["+@all"][..], &["+@all", "~*"], &["+@all", "~*", "&*"], &[]][dice.below(4)];
    let start: Vec<Vec<u8>> = start.iter().map(|rule| rule.as_bytes().to_vec()).collect();
    user = set_user(connection, user, &start, seed).0;
    for _ in 0..dice.below(8) {
        let mut rules = generate::rules(dice, table);
        if dice.once_in(2) {
            rules = vec![generate::selector_rule(dice, table)];
        }
        user = set_user(connection, user, &rules, seed).0;
    }
    user
}

/// How often each verdict was reached.
#[derive(Default)]
struct Verdicts {
    allowed: usize,
    database: usize,
    command: usize,
    key: usize,
    channel: usize,
}

impl Verdicts {
    fn count(&mut self, verdict: Result<(), Denied>) {
        *match verdict {
            Ok(()) => &mut self.allowed,
            Err(Denied::Database(_)) => &mut self.database,
            Err(Denied::Command) => &mut self.command,
            Err(Denied::Key(_)) => &mut self.key,
            Err(Denied::Channel(_)) => &mut self.channel,
        } += 1;
    }
}

impl std::fmt::Display for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdicts { allowed, database, command, key, channel } = self;
        write!(f, "{allowed} allowed; denied: {database} database, {command} command, {key} key, {channel} channel")
    }
}

/// Connections that have selected database 0 and 3.
fn connections(server: &Server) -> [(u32, Connection); 2] {
    [0, 3].map(|database| {
        let mut connection = server.connect();
        connection.call(&["SELECT", &database.to_string()]);
        (database, connection)
    })
}

/// Compares what ACL DRYRUN says about a request.
fn dry_run(
    (database, connection): &mut (u32, Connection),
    user: &User,
    spec: &CommandSpec,
    words: &[Vec<u8>],
    seed: u64,
) -> Result<(), Denied> {
    let mut request: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", USER.as_bytes()];
    request.extend(words.iter().map(Vec::as_slice));
    let theirs = connection.call(&request);
    let args = Args::owned(words);
    let verdict = user.check_in(*database, spec, args);
    let ours = match verdict {
        Ok(()) => "OK".to_owned(),
        Err(denied) => of_bytes(&denied.dry_run(USER.as_bytes(), spec, args)),
    };
    let rules = of_bytes(&user.rules());
    // Valkey finds no key in PFMERGE without sources, and allows it to whoever may not access the destination.
    if spec.name == "pfmerge" && words.len() == 2 && text(&theirs) == "OK" {
        assert!(ours == "OK" || ours.ends_with(" key"), "seed {seed}: {ours}");
        return verdict;
    }
    assert_eq!(ours, text(&theirs), "seed {seed}: {:?} in {database} with {rules}", shown(words));
    verdict
}

/// Fastness's own commands are unknown to Valkey. A container alone is no command, except for COMMAND.
fn is_compared(spec: &&CommandSpec) -> bool {
    !spec.is_own && (!spec.is_container() || spec.arity == -1)
}

#[test]
fn every_command_is_allowed_and_denied_as_valkey_does() {
    let Some(server) = Server::start() else { return };
    let mut connections = connections(&server);
    let mut verdicts = Verdicts::default();
    for seed in seeds(150) {
        let mut dice = Dice::new(seed ^ 0xac1);
        let user = accepted_user(&mut connections[0].1, &mut dice, table(), seed);
        let connection = &mut connections[usize::from(dice.once_in(3))];
        for spec in table().all().iter().filter(is_compared) {
            let is_general = !spec.has_keys() && spec.channels == ChannelArguments::None;
            for _ in 0..if is_general { 1 } else { 4 } {
                let words = generate::request(&mut dice, spec);
                verdicts.count(dry_run(connection, &user, spec, &words, seed));
            }
        }
    }
    println!("ACL DRYRUN: {verdicts}");
    let Verdicts { allowed, database, command, key, channel } = verdicts;
    assert!([allowed, database, command, key, channel].iter().all(|count| *count > 0), "each verdict is reached");
}

#[test]
fn keys_and_databases_that_depend_on_options_are_found_as_valkey_does() {
    const USERS: &[&str] = &[
        "+@all ~a* %R~b %W~k1",
        "+@all %R~a %R~b %W~ab %W~k1",
        "+@all %W~a %W~b* %R~ab %R~ %R~x",
        "+@all ~* resetdbs (db=0,3 ~a +@all) (~* db=1,2,15 +@all)",
        "+@all ~* db=0,1,2,15",
    ];
    let Some(server) = Server::start() else { return };
    let mut connections = connections(&server);
    let specs: Vec<_> = table().all().iter().filter(|spec| generate::depends_on_options(spec)).collect();
    let mut verdicts = Verdicts::default();
    for seed in seeds(400) {
        let mut dice = Dice::new(seed ^ 0x0b7);
        let rules = USERS[dice.below(USERS.len())].split(' ').map(|rule| rule.as_bytes().to_vec());
        reset(&mut connections[0].1);
        let user = set_user(&mut connections[0].1, User::new(table()), &rules.collect::<Vec<_>>(), seed).0;
        for spec in specs.iter().filter(|spec| is_compared(spec)) {
            for _ in 0..10 {
                let words = generate::optioned_request(&mut dice, spec);
                verdicts.count(dry_run(&mut connections[0], &user, spec, &words, seed));
            }
        }
    }
    println!("ACL DRYRUN of {} commands with options: {verdicts}", specs.len());
}
