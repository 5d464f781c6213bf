//! Duration of freeing, and of its longest slice: three million keys after FLUSHALL, a removed hash of five million
//! fields, and a text of 512 MB. `cargo bench -p fastness-engine --bench freeing`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock; the engine does not")]

use fastness_engine::ExpiryChange;
use fastness_engine::keyspace::Keyspace;
use fastness_types::{HashSeed, WallMs};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: WallMs = WallMs(1_700_000_000_000);
/// Frees as the engine does.
const STEPS: usize = 256;

fn free(name: &str, mut keyspace: Keyspace) {
    let (began, bytes) = (Instant::now(), keyspace.account().bytes);
    let (mut slices, mut longest) = (0u32, Duration::ZERO);
    loop {
        let slice = Instant::now();
        let more = keyspace.release(STEPS);
        longest = longest.max(slice.elapsed());
        slices += 1;
        if !more {
            break;
        }
    }
    let (took, freed) = (began.elapsed(), bytes - keyspace.account().bytes);
    println!(
        "{name}: {freed} bytes in {took:.2?}, {slices} slices, {:.1?} each, the longest {longest:.1?}",
        took / slices
    );
}

fn main() {
    let new = || Keyspace::new(HashSeed([1; 16]));
    let mut keyspace = new();
    for i in 0..3_000_000 {
        let key = format!("key:{i:012}");
        keyspace.set(&keyspace.key(key.as_bytes()), &[b'x'; 100], ExpiryChange::Drop, NOW);
    }
    keyspace.clear();
    free("3,000,000 keys", keyspace);

    let mut keyspace = new();
    let key = b"hash";
    for chunk in 0..5_000 {
        let fields: Vec<String> = (0..1_000).map(|i| format!("field:{:09}", chunk * 1_000 + i)).collect();
        let pairs = fields.iter().map(|field| (field.as_bytes(), &b"value of a field"[..]));
        keyspace.set_fields(&keyspace.key(key), pairs, ExpiryChange::Drop, NOW);
    }
    keyspace.unlink(&keyspace.key(key));
    free("a hash of 5,000,000 fields", keyspace);

    let mut keyspace = new();
    let text = vec![b'x'; 512 * 1024 * 1024];
    keyspace.set(&keyspace.key(b"text"), &text, ExpiryChange::Drop, NOW);
    drop(text);
    keyspace.unlink(&keyspace.key(b"text"));
    free("a text of 512 MiB", keyspace);
}
