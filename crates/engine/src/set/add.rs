//! SADD.

use super::look_up::{distinct, look_up};
use super::member::SetMember;
use super::packed::SetForm;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::PackedLimits;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// SADD key member \[member ...]
pub const SADD: Command = Command::data(
    "sadd",
    "<key> <member> [<member> ...]",
    "Adds members to a set and returns how many of them are new.",
    sadd,
);

fn sadd(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let limits = engine.keyspace().packed_limits();
    let set = look_up(engine, &key, env)?;
    let named = args.skip(2);
    let least = match set.map(|set| set.form()) {
        None => form_of_new(named, limits),
        Some(form) => form.for_len(named.len(), limits),
    };
    let added = distinct(named.iter(), |member| set.is_none_or(|set| !set.has(SetMember::Text(member))));
    engine.add_members(&key, Args::slices(&added), least, env);
    if !added.is_empty() {
        engine.notify(NotifyClasses::SET, "sadd", &key);
    }
    env.reply.integer(added.len() as i64);
    Ok(())
}

/// The form in which a new set starts: as in Valkey, it depends on the first member and on the number of arguments,
/// repeated ones included.
fn form_of_new(named: Args<'_>, limits: PackedLimits) -> SetForm {
    let form_for = |form: SetForm| form.for_len(named.len(), limits);
    let starts_with_integer = SetMember::Text(named.get(0)).integer().is_some();
    match (starts_with_integer, form_for(SetForm::Ints), form_for(SetForm::Texts)) {
        (true, SetForm::Ints, _) => SetForm::Ints,
        (_, _, SetForm::Table) => SetForm::Table,
        (true, _, _) => SetForm::Texts,
        // The first member makes texts of it.
        (false, _, _) => SetForm::Ints,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn counts_new_members() {
        check("SADD s a b => :2 | SADD s b c c => :1 | SCARD s => :3 | SMEMBERS s => *3 $1 a $1 b $1 c");
        check("SADD s 2 1 => :2 | SADD s 1 3 2 => :1 | SMEMBERS s => *3 $1 1 $1 2 $1 3");
    }

    #[test]
    fn refusals() {
        let error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        check(&format!("SET t 1 => +OK | SADD t a => {error} | HSET h a 1 => :1 | SADD h a => {error}"));
        check(&format!(
            "SADD s a => :1 | GET s => {error} | HGET s a => {error} | SADD s => -ERR wrong number of arguments for 'sadd' command"
        ));
    }

    #[test]
    fn keeps_the_deadline_of_the_key() {
        check(
            "SADD s a => :1 | PEXPIRE s 50 => :1 | SADD s b => :1 | PTTL s => :50 | wait 51 | SADD s c => :1 | PTTL s => :-1",
        );
    }

    #[test]
    fn nothing_is_staged_for_nothing() {
        let mut bench = Bench::new();
        bench.run(&[b"SADD", b"s", b"a", b"1"]);
        bench.effects.clear();
        bench.script("SADD s a 1 => :0 | SREM s b => :0 | SREM t a => :0 | SMOVE s t b => :0");
        assert!(bench.effects.is_empty());
    }

    /// Adds members `from..to`, made by `name`, with one command.
    fn add(bench: &mut Bench, numbers: std::ops::Range<usize>, name: impl Fn(usize) -> String) {
        let members: Vec<String> = numbers.map(name).collect();
        let words: Vec<&[u8]> =
            [&b"SADD"[..], b"s"].into_iter().chain(members.iter().map(|member| member.as_bytes())).collect();
        bench.run(&words);
    }

    #[test]
    fn integers_become_texts_or_a_table() {
        check("SADD s 1 2 => :2 | OBJECT ENCODING s => $6 intset | SADD s 01 => :1 | OBJECT ENCODING s => $8 listpack");
        check(
            "SADD s 1 => :1 | SADD s a => :1 | SREM s a => :1 | OBJECT ENCODING s => $8 listpack | SMEMBERS s => *1 $1 1",
        );
        let mut bench = Bench::new();
        add(&mut bench, 0..512, |i| i.to_string());
        bench.script("OBJECT ENCODING s => $6 intset | SADD s 511 => :0 | OBJECT ENCODING s => $6 intset");
        bench.script("SADD s 512 => :1 | OBJECT ENCODING s => $9 hashtable | SCARD s => :513 | SISMEMBER s 7 => :1");
        for (integers, encoding) in [(127, "$8 listpack"), (128, "$9 hashtable")] {
            let mut bench = Bench::new();
            add(&mut bench, 0..integers, |i| i.to_string());
            bench.script(&format!("OBJECT ENCODING s => $6 intset | SADD s a => :1 | OBJECT ENCODING s => {encoding}"));
        }
    }

    #[test]
    fn texts_become_a_table() {
        let (fits, long) = ("v".repeat(64), "v".repeat(65));
        check(&format!(
            "SADD s {fits} => :1 | OBJECT ENCODING s => $8 listpack | SADD s {long} => :1 | \
                        OBJECT ENCODING s => $9 hashtable | SREM s {long} => :1 | OBJECT ENCODING s => $9 hashtable"
        ));
        check(&format!("SADD s 1 => :1 | SADD s {long} => :1 | OBJECT ENCODING s => $9 hashtable"));
        let mut bench = Bench::new();
        add(&mut bench, 0..128, |i| format!("m{i}"));
        bench.script("OBJECT ENCODING s => $8 listpack | SADD s m0 => :0 | OBJECT ENCODING s => $8 listpack");
        bench.script("SADD s more => :1 | OBJECT ENCODING s => $9 hashtable | SCARD s => :129");
    }

    /// As in Valkey, the number of arguments is taken for the size of the set, although some are repeated.
    #[test]
    fn many_arguments_make_a_table_at_once() {
        for (arguments, first, encoding) in
            [(128, "a", "$8 listpack"), (129, "a", "$9 hashtable"), (129, "1", "$6 intset"), (513, "1", "$9 hashtable")]
        {
            let mut bench = Bench::new();
            add(&mut bench, 0..arguments, |_| first.to_owned());
            bench.script(&format!("SCARD s => :1 | OBJECT ENCODING s => {encoding}"));
        }
    }

    #[test]
    fn works_as_other_types_do() {
        check(
            "SADD s a => :1 | TYPE s => +set | SCAN 0 TYPE set COUNT 99 => *2 $1 0 *1 $1 s | OBJECT REFCOUNT s => :1",
        );
        check(
            "SADD s a => :1 | COPY s t => :1 | SADD s b => :1 | SMEMBERS t => *1 $1 a | RENAME t s => +OK | SCARD s => :1",
        );
        check("SADD s a => :1 | DEL s => :1 | SADD s a => :1 | UNLINK s => :1 | EXISTS s => :0 | DBSIZE => :0");
    }
}
