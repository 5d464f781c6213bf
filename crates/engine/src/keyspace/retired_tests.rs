use super::budget::SLICE_BYTES;
use super::retired::{Freeing, TEXT_PART};
use super::{ExpiryChange, Keyspace};
use fastness_types::{HashSeed, Seq, WallMs};

const NOW: WallMs = WallMs(1_000);
const STEPS: usize = 100;
const KEYS: u64 = 20_000;

/// Small keys, some with deadlines; a hash of many fields; texts of both kinds that are long.
fn full() -> Keyspace {
    let mut keyspace = Keyspace::new(HashSeed([9; 16]));
    for i in 0..KEYS {
        let key = format!("key{i}");
        let expiry = if i % 2 == 0 { ExpiryChange::At(WallMs(5_000 + i)) } else { ExpiryChange::Drop };
        keyspace.set(&keyspace.key(key.as_bytes()), b"value", expiry, NOW);
    }
    let fields: Vec<String> = (0..KEYS).map(|i| format!("field{i}")).collect();
    let pairs = fields.iter().map(|field| (field.as_bytes(), &b"v"[..]));
    keyspace.set_fields(&keyspace.key(b"hash"), pairs, ExpiryChange::At(WallMs(9_000)), NOW);
    keyspace.set(&keyspace.key(b"text"), &vec![b'x'; 8 * SLICE_BYTES], ExpiryChange::Drop, NOW);
    keyspace.set_range(&keyspace.key(b"grown"), 8 * SLICE_BYTES as u64, b"x", NOW);
    keyspace.append(&keyspace.key(b"grown"), b"x", NOW);
    // Found: an entry with a long name was shortened without end, and nothing after it was freed.
    let name = |kind: u8| vec![kind; 2 * SLICE_BYTES];
    keyspace.set(&keyspace.key(&name(b'e')), b"", ExpiryChange::Drop, NOW);
    keyspace.set(&keyspace.key(&name(b't')), b"text", ExpiryChange::At(WallMs(9_000)), NOW);
    keyspace.set(&keyspace.key(&name(b'i')), b"17", ExpiryChange::Drop, NOW);
    keyspace.set(&keyspace.key(&name(b'l')), &vec![b'x'; 2 * SLICE_BYTES], ExpiryChange::Drop, NOW);
    keyspace.set_fields(&keyspace.key(&name(b'f')), [(&b"f"[..], &b"v"[..])].into_iter(), ExpiryChange::Drop, NOW);
    keyspace.set_range(&keyspace.key(&name(b'g')), 8 * SLICE_BYTES as u64, b"x", NOW);
    while keyspace.release(STEPS) {}
    keyspace
}

/// Frees everything; asserts what each slice did, and returns their number.
fn free_all(keyspace: &mut Keyspace, empty: u64) -> usize {
    let mut slices = 0;
    loop {
        let (before, pending) = (keyspace.account().bytes, keyspace.freeing().pending_objects);
        let more = keyspace.release(STEPS);
        let freed = before - keyspace.account().bytes;
        // A text shrinks by the allocator's size classes, which are at most a quarter of its size apart.
        assert!(freed <= (5 * SLICE_BYTES + TEXT_PART) as u64, "a slice freed {freed} bytes");
        assert!(pending.saturating_sub(keyspace.freeing().pending_objects) <= STEPS as u64);
        assert_eq!(more, keyspace.has_retired());
        slices += 1;
        assert!(slices < 10_000, "{:?}", keyspace.freeing());
        if !more {
            break;
        }
    }
    assert_eq!(keyspace.account().bytes, empty);
    assert_eq!(keyspace.freeing().pending_objects, 0);
    slices
}

#[test]
fn every_slice_is_bounded_and_all_is_freed() {
    let empty = Keyspace::new(HashSeed([9; 16])).account().bytes;
    for way in ["flushed", "unlinked", "replaced", "restarted", "committed"] {
        let mut keyspace = full();
        let names: Vec<Vec<u8>> = keyspace.iter().map(|entry| entry.key().to_vec()).collect();
        let used = keyspace.account().bytes;
        match way {
            "flushed" => keyspace.clear(),
            "unlinked" => names.iter().for_each(|name| keyspace.unlink(&keyspace.key(name))),
            "replaced" => {
                names.iter().for_each(|name| keyspace.set(&keyspace.key(name), b"1", ExpiryChange::Drop, NOW));
                names.iter().for_each(|name| keyspace.unlink(&keyspace.key(name)));
            }
            "restarted" => {
                keyspace.keep_undo(WallMs(1), usize::MAX);
                keyspace.unlink(&keyspace.key(b"hash"));
                keyspace.restart();
            }
            _ => {
                keyspace.keep_undo(WallMs(1), usize::MAX);
                names.iter().for_each(|name| keyspace.unlink(&keyspace.key(name)));
                keyspace.end_unit(Seq(1), WallMs(1));
                assert!(!keyspace.has_retired(), "what may come back is not freed");
                keyspace.forget_undo(Seq(1));
            }
        }
        assert!(keyspace.is_empty());
        assert!(keyspace.account().bytes > used / 2, "{way}: what is large is freed later, and counts until then");
        let Freeing { pending_objects, .. } = keyspace.freeing();
        assert!(pending_objects >= 3, "{way}: {pending_objects}");
        let slices = free_all(&mut keyspace, empty);
        // The fields alone are that many steps, the texts that many bytes.
        assert!(slices > KEYS as usize / STEPS, "{way}: {slices}");
        assert!(keyspace.freeing().freed_objects >= pending_objects, "{way}");
    }
}

#[test]
fn data_discarded_by_a_restart_counts_until_it_is_freed() {
    let mut keyspace = full();
    let (used, keys) = (keyspace.account().bytes, keyspace.len());
    keyspace.restart();
    let empty = Keyspace::new(HashSeed([9; 16])).account().bytes;
    assert!(keyspace.account().bytes >= used, "the old memory is still in use");
    assert_eq!(keyspace.freeing().pending_objects, keys);
    keyspace.set(&keyspace.key(b"new"), b"value", ExpiryChange::Drop, NOW);
    while keyspace.release(STEPS) {}
    assert_eq!(keyspace.len(), 1);
    keyspace.unlink(&keyspace.key(b"new"));
    assert_eq!(keyspace.account().bytes, empty);
}
