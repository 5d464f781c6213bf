//! Long texts that memory and effects share. They are kept outside of their entries from 120 bytes on here.

use crate::testing::Bench;
use fastness_types::Seq;
use proptest::prelude::*;

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.engine.keyspace.set_inline_max(120);
    bench
}

/// What a replica has that has applied the effects.
fn applied(bench: &Bench) -> crate::Digest {
    let mut replica = Bench::new();
    replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
    replica.engine.digest()
}

#[test]
fn effects_keep_what_a_key_held_when_they_were_staged() {
    let mut bench = bench();
    let long = vec![b'x'; 300];
    bench.run(&[b"SET", b"k", &long, b"PX", b"5000"]);
    let first = bench.effects.encoded().to_vec();
    assert!(bench.effects.encoded().pieces().any(|piece| piece == long), "in a piece of its own");
    bench.run(&[b"COPY", b"k", b"other"]);
    bench.run(&[b"SETRANGE", b"k", b"10", b"yyy"]);
    bench.run(&[b"APPEND", b"k", b"z"]);
    bench.run(&[b"APPEND", b"other", b"z"]);
    bench.run(&[b"RENAME", b"other", b"third"]);
    bench.run(&[b"GETSET", b"third", &long]);
    bench.run(&[b"DEL", b"k"]);
    assert_eq!(bench.effects.encoded().to_vec()[..first.len()], first[..]);
    bench.script("EXISTS k => :0 | STRLEN third => :300");
    assert_eq!(applied(&bench), bench.engine.digest());
}

#[test]
fn a_text_changes_in_place_after_its_last_reader() {
    let mut bench = bench();
    let address = |bench: &Bench| {
        let key = bench.engine.key(b"k");
        bench.engine.keyspace.find(&key).unwrap().value().text(&mut itoa::Buffer::new()).unwrap().as_ptr()
    };
    bench.run(&[b"SET", b"k", &[b'x'; 300]]);
    let shared = address(&bench);
    bench.effects.clear();
    bench.run(&[b"SETRANGE", b"k", b"10", b"yyy"]);
    assert_eq!(address(&bench), shared);
    bench.run(&[b"SET", b"k", &[b'x'; 300]]);
    let shared = address(&bench);
    bench.run(&[b"SETRANGE", b"k", b"10", b"yyy"]);
    assert_ne!(address(&bench), shared, "the effects of SET still read it");
}

#[test]
fn a_reply_shows_what_a_key_held_when_it_was_read() {
    for get in [&[&b"GET"[..], b"k"][..], &[b"GETEX", b"k"], &[b"GETDEL", b"k"], &[b"GETSET", b"k", b"other"]] {
        let mut bench = bench();
        bench.run(&[b"SET", b"k", &[b'x'; 300]]);
        bench.effects.clear();
        let (reply, expected) = (bench.reply(get), [&b"$300\r\n"[..], &[b'x'; 300], b"\r\n"].concat());
        assert!(reply.buf().pieces().any(|piece| piece == [b'x'; 300]), "{get:?}");
        bench.run(&[b"SETRANGE", b"k", b"10", b"yyy"]);
        bench.run(&[b"DEL", b"k"]);
        assert_eq!(reply.to_vec(), expected);
    }
}

fn long(n: usize) -> Vec<u8> {
    (0..n).map(|i| b'a' + (i % 23) as u8).collect()
}

/// A command on one of three keys.
fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let number = |n: usize| n.to_string().into_bytes();
    (0..9u8, 0..3usize, 0..3usize, 0..400usize).prop_map(move |(what, key, to, len)| {
        let (key, to) = (vec![b'a' + key as u8], vec![b'a' + to as u8]);
        match what {
            0..=2 => vec![b"SET".to_vec(), key, long(len)],
            3 => vec![b"SET".to_vec(), key, long(len), b"KEEPTTL".to_vec()],
            4 => vec![b"APPEND".to_vec(), key, long(len / 8)],
            5 => vec![b"SETRANGE".to_vec(), key, number(len / 2), long(len / 8)],
            6 => vec![b"COPY".to_vec(), key, to, b"REPLACE".to_vec()],
            7 => vec![b"RENAME".to_vec(), key, to],
            _ => vec![b"DEL".to_vec(), key],
        }
    })
}

proptest! {
    /// Replicas have the primary's data, whatever happens to shared texts before their effects are sent; rolled-back
    /// units and undone batches leave nothing.
    #[test]
    fn shared_texts_are_as_good_as_copies(
        committed in prop::collection::vec(command(), 0..8),
        units in prop::collection::vec((prop::collection::vec(command(), 1..4), 0..900usize), 0..12),
        freed in any::<bool>(),
    ) {
        let mut bench = bench();
        let run = |bench: &mut Bench, command: &[Vec<u8>]| {
            bench.run(&command.iter().map(Vec::as_slice).collect::<Vec<_>>());
        };
        committed.iter().for_each(|command| run(&mut bench, command));
        let before = (bench.engine.digest(), bench.engine.keyspace_stats());
        bench.engine.keep_undo(usize::MAX);
        for (i, (commands, bytes_max)) in units.iter().enumerate() {
            let unit = (bench.engine.digest(), bench.engine.keyspace_stats(), bench.effects.encoded().to_vec());
            let savepoint = bench.engine.begin_unit(&mut bench.effects, *bytes_max);
            commands.iter().for_each(|command| run(&mut bench, command));
            if bench.effects.has_overflowed() {
                bench.engine.roll_back(savepoint, &mut bench.effects);
                prop_assert_eq!(
                    (bench.engine.digest(), bench.engine.keyspace_stats(), bench.effects.encoded().to_vec()),
                    unit
                );
            } else {
                bench.engine.end_unit(Seq(i as u64 + 1));
            }
            while freed && bench.engine.release_some() {}
        }
        prop_assert_eq!(applied(&bench), bench.engine.digest());
        let encoded = bench.effects.encoded().to_vec();
        prop_assert!(bench.engine.undo());
        prop_assert_eq!((bench.engine.digest(), bench.engine.keyspace_stats()), before);
        prop_assert_eq!(bench.effects.encoded().to_vec(), encoded);
    }
}
