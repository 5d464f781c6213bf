use super::*;
use crate::command::table;
use crate::engine::EngineOptions;
use crate::keyspace::ExpiryChange;
use crate::testing::Bench;
use fastness_types::HashSeed;

fn queue(session: &mut TransactionState, words: &[&[u8]]) -> Result<(), CommandError> {
    session.enqueue(table().named(words[0]).unwrap(), Args::slices(words))
}

#[test]
fn a_transaction_runs_what_was_queued() {
    let mut bench = Bench::new();
    let mut session = TransactionState::new(1);
    assert!(matches!(session.exec(&mut bench.engine, bench.now), Exec::Refused(_)));
    session.multi().unwrap();
    queue(&mut session, &[b"set", b"k", b"v"]).unwrap();
    queue(&mut session, &[b"get", b"k"]).unwrap();
    assert_eq!(session.queued(), 2);
    let Exec::Run(commands) = session.exec(&mut bench.engine, bench.now) else { panic!("runs") };
    let names: Vec<&str> = commands.iter().map(|queued| queued.spec.name).collect();
    assert_eq!(names, ["set", "get"]);
    assert!(!session.in_multi());
}

#[test]
fn a_refused_command_fails_the_transaction() {
    let mut bench = Bench::new();
    let mut session = TransactionState::new(1);
    session.multi().unwrap();
    assert!(session.multi().is_err());
    assert!(session.is_failed());
    let Exec::Refused(error) = session.exec(&mut bench.engine, bench.now) else { panic!("refused") };
    assert_eq!(error.to_string(), "EXECABORT Transaction discarded because of previous errors.");
    assert!(session.discard(&mut bench.engine).is_err());
}

#[test]
fn a_transaction_is_bounded() {
    let mut session = TransactionState { queue_bytes_max: 10_000, ..TransactionState::new(1) };
    session.multi().unwrap();
    let value = vec![0; 4_800];
    queue(&mut session, &[b"set", b"a", &value]).unwrap();
    queue(&mut session, &[b"set", b"b", &value]).unwrap();
    let error = queue(&mut session, &[b"set", b"c", &value]).unwrap_err();
    assert_eq!(error.to_string(), "ERR the transaction's commands are longer than 10000 bytes");
    assert!(session.is_failed());
    assert_eq!(session.queued_bytes(), 0, "nothing is kept of it");
}

#[test]
fn memory_is_checked_again_at_exec() {
    let mut engine = Engine::new(EngineOptions { seed: HashSeed([0; 16]), maxmemory: 0 });
    let mut session = TransactionState::new(1);
    session.multi().unwrap();
    queue(&mut session, &[b"set", b"k", b"v"]).unwrap();
    engine.set_maxmemory(1);
    let Exec::Refused(error) = session.exec(&mut engine, WallMs(1)) else { panic!("refused") };
    let expected =
        "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(error.to_string(), expected);
}

/// Sets up with `before`, watches `k`, runs `after`, and tells whether EXEC fails.
fn touched(before: &str, after: &str) -> bool {
    let mut bench = Bench::new();
    if !before.is_empty() {
        bench.script(before);
    }
    let mut session = TransactionState::new(1);
    session.watch(&mut bench.engine, Args::slices(&[b"watch", b"k"]), bench.now).unwrap();
    if !after.is_empty() {
        bench.script(after);
    }
    session.multi().unwrap();
    matches!(session.exec(&mut bench.engine, bench.now), Exec::Touched)
}

#[test]
fn watch_sees_every_change() {
    let set = "SET k v => +OK";
    assert!(!touched(set, ""));
    assert!(!touched(set, "GET k => $1 v | SET other v => +OK | SET k v NX => $-1"));
    assert!(touched(set, "SET k v => +OK"));
    assert!(touched(set, "APPEND k v => :2"));
    assert!(touched(set, "SETRANGE k 0 x => :1"));
    assert!(touched(set, "GETDEL k => $1 v"));
    assert!(touched(set, "GETEX k EX 10 => $1 v"));
    assert!(touched("", "SET k v => +OK"));
    assert!(touched(set, "FLUSHALL => +OK"));
    assert!(!touched("", "FLUSHALL => +OK"));
}

#[test]
fn watch_sees_expiry_unless_it_was_before() {
    assert!(touched("SET k v PX 10 => +OK", "wait 11"));
    assert!(touched("SET k v PX 10 => +OK", "wait 11 | GET k => $-1"));
    assert!(!touched("SET k v PX 10 => +OK | wait 11", "GET k => $-1"));
    let fields = "HSET k a 1 b 2 => :2 | HPEXPIRE k 10 FIELDS 1 a => *1 :1";
    assert!(touched(fields, "HSET k b 3 => :0") && touched(fields, "wait 11"));
    assert!(!touched(fields, "wait 9 | HGETALL k => *4 $1 a $1 1 $1 b $1 2"));
    assert!(!touched(&format!("{fields} | wait 11"), "HGET k a => $-1"));
}

#[test]
fn unwatch_forgets() {
    let mut bench = Bench::new();
    let mut session = TransactionState::new(1);
    let mut other = TransactionState::new(2);
    for session in [&mut session, &mut other] {
        session.watch(&mut bench.engine, Args::slices(&[b"watch", b"k", b"k"]), bench.now).unwrap();
    }
    session.unwatch(&mut bench.engine);
    bench.script("SET k v => +OK");
    assert!(!bench.engine.is_touched(1, bench.now));
    assert!(bench.engine.is_touched(2, bench.now));
    other.multi().unwrap();
    other.end(&mut bench.engine);
    assert!(!bench.engine.is_touched(2, bench.now) && !other.in_multi());
}

#[test]
fn a_restored_replica_touches_all() {
    let mut bench = Bench::new();
    let key = bench.engine.key(b"k");
    bench.engine.keyspace.set(&key, b"v", ExpiryChange::Drop, bench.now);
    bench.engine.watch(7, b"k", bench.now);
    bench.engine.touch_every_watcher();
    assert!(bench.engine.is_touched(7, bench.now));
}

#[test]
fn a_field_that_was_past_its_deadline_before_is_removed_unnoticed() {
    for (waits_first, expected) in [(true, false), (false, true)] {
        let mut bench = Bench::new();
        let mut session = TransactionState::new(1);
        bench.script("HSET k a 1 b 2 => :2 | HPEXPIRE k 10 FIELDS 1 a => *1 :1");
        let past = bench.now.0 + 11;
        bench.now.0 = if waits_first { past } else { bench.now.0 };
        session.watch(&mut bench.engine, Args::slices(&[b"watch", b"k"]), bench.now).unwrap();
        bench.now.0 = past;
        let (engine, now) = (&mut bench.engine, bench.now);
        assert_eq!(engine.expire_due(now, 9, &mut bench.effects), 1);
        session.multi().unwrap();
        assert_eq!(matches!(session.exec(engine, now), Exec::Touched), expected);
    }
}
