//! Payloads of RESTORE.

use fastness_engine::EffectBuf;
use fastness_engine::fuzzing::restore_payload;
use fastness_resp::value::{self, Value};

use super::input::{hash, inputs, words};
use crate::Target;
use crate::bench::{ENGINES_BYTES, NOW, copy_by_image, run, with_engines};

pub(super) const RESTORE: Target = Target {
    name: "restore",
    what: "payloads of RESTORE, of all types that exist: what is restored is dumped and restored as itself, on a replica \
           and in an image too, and memory follows the payload",
    bytes_max: 500,
    share: 3,
    seeds,
    words: || {
        words(&["\u{0}", "\u{2}", "\u{3}", "\u{4}", "\u{5}", "\u{b}", "\u{c}", "\u{10}", "\u{11}", "\u{14}", "\u{16}"])
    },
    // A field of a hash of LZF strings can take some thousand times as much as its payload.
    memory: |length| ENGINES_BYTES + 8192 * length,
    run: restore,
};

/// The first byte: 0, the rest is a whole payload; else version and checksum are appended.
fn seeds() -> Vec<Vec<u8>> {
    let bodies = inputs(&[
        b"\x00\xc0\x01",
        b"\x00\xc1\xe8\x03",
        b"\x00\xc2\xa0\x86\x01\x00",
        b"\x00\n9999999999",
        b"\x00\xc3\t7\x01bb\xe0*\x00\x01bb",
        b"\x00\x80\x00\x00\x00\x02ab",
        b"\x04\x02\x01a\x011\x01b\xc3\t7\x01bb\xe0*\x00\x01bb",
        b"\x10\x0d\x0d\x00\x00\x00\x02\x00\x81a\x02\x01\x01\xff",
        b"\x10\xc3\x17+\x0f+\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x9a2\xe0\x10\x00\x01\x1b\xff",
        b"\x16\x02\x01a\xc0\x01Q\xf4g!\xa2\x01\x00\x00\x01b\xc3\t\x1a\x0122\xe0\r\x00\x0122\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x03\x01a\xc0\x01\xc3\t7\x01bb\xe0*\x00\x01bb",
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\xff\xff\x02\0",
        b"\x0b\x10\x08\0\0\0\x01\0\0\0\x00\xf2\x05\x2a\x01\0\0\0",
        b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff",
        b"\x03\x02\x01a\x031.5\x01b\xff",
        b"\x05\x02\x01b\x00\x00\x00\x00\x00\x00\xf0\xff\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f",
        b"\x0c\x1c\x1c\x00\x00\x00\x16\x00\x00\x00\x04\x00\x00\x01b\x03\x04-inf\x06\x01a\x03\x031.5\xff",
        b"\x11\x18\x18\x00\x00\x00\x04\x00\x81b\x02\x84-inf\x05\x81a\x02\x831.5\x04\xff",
        b"\x0d\x1b\x1b\x00\x00\x00\x15\x00\x00\x00\x04\x00\x00\x01a\x03\x011\x03\x01b\x03\xf3\xff",
        b"\x09\x08\x02\x01a\x01\x00\x31\xff",
    ]);
    let mut seeds: Vec<Vec<u8>> = bodies.iter().map(|body| [&[1][..], body].concat()).collect();
    seeds.push([&[0][..], &restore_payload(b"\x00\xc0\x01")].concat());
    seeds.push(b"\0\x00\xc0\x01P\x00\xe9R.'OSv\x08".to_vec());
    seeds
}

fn dumped(reply: &[u8]) -> Vec<u8> {
    match value::parse(reply) {
        Ok(Some((Value::Bulk(payload), _))) => payload,
        other => panic!("DUMP replies {other:?}"),
    }
}

fn restore(input: &[u8]) -> bool {
    let Some((first, body)) = input.split_first() else { return false };
    let payload = if *first == 0 { body.to_vec() } else { restore_payload(body) };
    let mut effects = EffectBuf::new();
    with_engines(|[first, second, third]| {
        let reply = run(first, &[b"RESTORE", b"k", b"0", &payload], &mut effects);
        if reply != b"+OK\r\n" {
            assert!(reply.starts_with(b"-ERR "), "RESTORE replies {}", reply.escape_ascii());
            assert!(effects.is_empty() && first.keyspace_stats().keys == 0, "a refused payload changes something");
            return false;
        }
        second.apply(NOW, &effects.take().to_vec()).unwrap_or_else(|error| panic!("the effects of RESTORE: {error}"));
        assert_eq!(first.digest(), second.digest(), "a replica has the same data");
        if first.keyspace_stats().keys == 0 {
            // All fields have expired.
            return true;
        }
        let dump = dumped(&run(first, &[b"DUMP", b"k"], &mut effects));
        assert_eq!(run(second, &[b"RESTORE", b"k", b"0", &dump, b"REPLACE"], &mut effects), b"+OK\r\n");
        assert_eq!(first.digest(), second.digest(), "what was dumped is restored");
        match hash(input) & 7 {
            0 => copy_by_image(first, third, 64),
            1 => copy_by_image(first, third, usize::MAX),
            _ => {}
        }
        true
    })
}
