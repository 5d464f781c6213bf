//! A replica that applies what the primary staged has the same data: random commands, with time advancing.

mod support;

use fastness_engine::{EffectBuf, Engine};
use fastness_types::WallMs;
use proptest::prelude::*;
use support::{Step, engine, read_all, run, step, words};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_gives_the_same_data_as_executing(steps in prop::collection::vec(step(), 1..150)) {
        // Another seed, so that nothing depends on places in tables.
        let (mut primary, mut replica) = (engine(1), engine(2));
        let mut now = WallMs(1_000_000);
        let mut effects = EffectBuf::new();
        let mut log: Vec<(WallMs, Vec<u8>)> = Vec::new();
        for step in steps.into_iter().chain([Step::NextBatch(1)]) {
            match step {
                Step::Run(words) => {
                    let before = primary.digest();
                    let len = effects.len();
                    run(&mut primary, &words, now, true, &mut effects);
                    prop_assert!(effects.len() > len || primary.digest() == before, "a change without an effect");
                }
                Step::Flush => {
                    run(&mut primary, &words("FLUSHALL".to_owned()), now, true, &mut effects);
                    prop_assert!(effects.touches_all());
                }
                Step::NextBatch(ms) => {
                    primary.expire_due(now, 3, &mut effects);
                    primary.advance_timestamp(now);
                    let batch = effects.take().to_vec();
                    replica.apply(now, &batch).unwrap();
                    prop_assert_eq!(primary.digest(), replica.digest());
                    prop_assert_eq!(primary.keyspace_stats(), replica.keyspace_stats());
                    prop_assert_eq!(replica.newest_timestamp(), now);
                    prop_assert_eq!(read_all(&mut replica, now), read_all(&mut primary, now));
                    log.push((now, batch));
                    now.0 += ms;
                }
            }
        }
        let mut restarted = engine(1);
        for (timestamp, batch) in &log {
            restarted.apply(*timestamp, batch).unwrap();
        }
        prop_assert_eq!(primary.digest(), restarted.digest());
        let settled = [&mut primary, &mut restarted].map(|engine| {
            while engine.release_some() {}
            engine.memory_used()
        });
        prop_assert_eq!(settled[0], settled[1], "memory is counted alike");
    }
}

#[test]
fn replicas_hide_what_is_past_and_remove_nothing() {
    let mut replica = engine(1);
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    let now = WallMs(1_000);
    run(&mut primary, &words("SET k v PX 10".to_owned()), now, true, &mut effects);
    replica.apply(now, &effects.take().to_vec()).unwrap();
    let get = words("GET k".to_owned());
    assert_eq!(run(&mut replica, &get, WallMs(1_010), false, &mut effects), b"$1\r\nv\r\n");
    assert_eq!(run(&mut replica, &get, WallMs(1_011), false, &mut effects), b"$-1\r\n");
    assert!(effects.is_empty());
    assert_eq!(replica.keyspace_stats().keys, 1);
    assert_eq!(primary.expire_due(WallMs(1_010), 10, &mut effects), 0);
    assert_eq!(primary.first_deadline(), Some(WallMs(1_010)));
    assert_eq!(primary.expire_due(WallMs(1_011), 10, &mut effects), 1);
    assert_eq!(effects.touched(), [primary.hash_key(b"k")]);
    replica.apply(WallMs(1_011), &effects.encoded().to_vec()).unwrap();
    assert_eq!(replica.keyspace_stats().keys, 0);
}

#[test]
fn expiring_is_bounded_and_in_order() {
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    for key in 0..100u64 {
        let set = words(format!("SET k{key} v PXAT {}", 2_000 + (key * 37) % 100));
        run(&mut primary, &set, WallMs(1_000), true, &mut effects);
    }
    effects.clear();
    assert_eq!(primary.expire_due(WallMs(5_000), 30, &mut effects), 30);
    assert_eq!(effects.count(), 30);
    assert_eq!(primary.first_deadline(), Some(WallMs(2_030)));
    assert_eq!(primary.expire_due(WallMs(5_000), 1_000, &mut effects), 70);
    assert_eq!(primary.keyspace_stats().keys, 0);
}

#[test]
fn writes_are_refused_while_memory_is_short() {
    let mut primary = engine(1);
    let mut effects = EffectBuf::new();
    let now = WallMs(1_000);
    let mut run = |primary: &mut Engine, text: &str| {
        String::from_utf8(run(primary, &words(text.to_owned()), now, true, &mut effects)).unwrap()
    };
    primary.set_maxmemory(primary.memory_used() + 1_000);
    let mut count = 0;
    while run(&mut primary, &format!("SET key{count} {}", "v".repeat(100))) == "+OK\r\n" {
        count += 1;
        assert!(count < 20);
    }
    let refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(run(&mut primary, "APPEND key0 x"), refused);
    assert_eq!(run(&mut primary, "GET key0").len(), 108);
    assert_eq!(run(&mut primary, "DEL key0 key1 key2"), ":3\r\n");
    assert_eq!(run(&mut primary, "SET key0 v"), "+OK\r\n");
}
