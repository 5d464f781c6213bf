//! Records of images, which snapshots consist of.

use super::input::{hash, joined, none, pieces};
use crate::Target;
use crate::bench::{ENGINES_BYTES, NOW, copy_by_image, image, run, with_engines};
use fastness_engine::EffectBuf;

pub(super) const IMAGE: Target = Target {
    name: "image",
    what: "records of images, in up to two chunks: what was loaded is written and loaded as itself, whole or in parts",
    bytes_max: 800,
    share: 3,
    seeds,
    words: none,
    memory: |length| ENGINES_BYTES + 4096 * length,
    run: load,
};

/// Images of some data: with records of any length, and with short ones.
pub(super) fn images() -> Vec<Vec<u8>> {
    with_engines(|[engine, ..]| {
        let mut effects = EffectBuf::new();
        let long = [b'x'; 150];
        let commands: &[&[&[u8]]] = &[
            &[b"SET", b"a", b"text"],
            &[b"SET", b"number", b"-123"],
            &[b"SET", b"long", &long],
            &[b"SET", b"until", b"v", b"PXAT", b"1700000001000"],
            &[b"HSET", b"small", b"f", b"1", b"g", b"two"],
            &[b"HSET", b"large", b"f", &long, b"g", b"1", b"h", b"2"],
            &[b"ZADD", b"ranks", b"1", b"f", b"-2.5", b"g", b"inf", b"h"],
            &[b"ZADD", b"wide", b"1", &long, b"300", b"g"],
            &[b"HPEXPIREAT", b"large", b"1700000001000", b"FIELDS", b"1", b"g"],
            &[b"SADD", b"integers", b"5", b"-70000", b"9223372036854775807"],
            &[b"SADD", b"texts", b"a", b"12", b""],
            &[b"SADD", b"members", b"a", &long, b"12"],
        ];
        let mut images = Vec::new();
        for command in commands {
            let reply = run(engine, command, &mut effects);
            assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
            images.push(image(engine, usize::MAX));
            images.push(image(engine, 48));
        }
        images
    })
}

fn seeds() -> Vec<Vec<u8>> {
    images().iter().map(|image| joined([&image[..]])).collect()
}

fn load(input: &[u8]) -> bool {
    with_engines(|[first, second, third]| {
        let loaded = pieces(input).into_iter().try_for_each(|chunk| first.load_image(NOW, chunk));
        let is_whole = loaded.is_ok() & first.end_image_load().is_ok();
        if !is_whole {
            // What is not complete is forgotten, one value at a time.
            while first.end_image_load().is_err() {}
            return false;
        }
        if hash(input) & 1 == 0 {
            copy_by_image(first, second, usize::MAX);
        } else {
            copy_by_image(first, third, 48);
        }
        first.keyspace_stats().keys > 0
    })
}
