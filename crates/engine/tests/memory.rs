//! The memory of a key, counted at the allocator, which the account of the keyspace must not understate.
#![allow(unsafe_code, reason = "an allocator that counts is the only way to see what was really asked for")]

use fastness_engine::keyspace::memory::size_class;
use fastness_engine::keyspace::{ExpiryChange, Keyspace};
use fastness_engine::set::SetForm;
use fastness_types::{HashSeed, WallMs};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static IN_USE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(size_class(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(size_class(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: u32 = 1_000_000;
const NOW: WallMs = WallMs(1_700_000_000_000);

fn fill(keyspace: &mut Keyspace, expiry: impl Fn(u32) -> ExpiryChange) {
    for key in 0..KEYS {
        let name = format!("key:{key:012}");
        keyspace.set(&keyspace.key(name.as_bytes()), &[b'x'; 100], expiry(key), NOW);
    }
}

/// Bytes per key: requested from the allocator, in its size classes, and accounted.
fn measure(label: &str, expiry: impl Fn(u32) -> ExpiryChange) -> (f64, f64) {
    let before = IN_USE.load(Ordering::Relaxed);
    let mut keyspace = Keyspace::new(HashSeed([5; 16]));
    fill(&mut keyspace, expiry);
    let per_key = |bytes: usize| bytes as f64 / f64::from(KEYS);
    let allocated = per_key(IN_USE.load(Ordering::Relaxed) - before);
    let accounted = per_key(keyspace.account().bytes as usize);
    println!("{label}: {allocated:.1} bytes per key allocated, {accounted:.1} accounted");
    assert!((allocated - accounted).abs() < 0.02 * allocated, "{allocated:.1} and {accounted:.1}");
    (allocated, accounted)
}

/// How many fields or members are measured, in values of so many: each slot has a table, so that the cost of a key is
/// that of many keys.
fn parts_in_all(of_one: u32) -> u32 {
    if of_one < KEYS { KEYS } else { KEYS / 4 }
}

/// Bytes per field of hashes with `fields` fields of 8 bytes and values of 16, allocated and accounted.
fn measure_hashes(label: &str, fields: u32, expiry: impl Fn(u32) -> ExpiryChange) -> f64 {
    let total = parts_in_all(fields);
    let before = IN_USE.load(Ordering::Relaxed);
    let mut keyspace = Keyspace::new(HashSeed([5; 16]));
    for number in 0..total {
        let (name, field) = (format!("key:{:012}", number / fields), format!("f{:07}", number % fields));
        let pair = (field.as_bytes(), &[b'x'; 16][..]);
        keyspace.set_fields(&keyspace.key(name.as_bytes()), std::iter::once(pair), expiry(number), NOW);
    }
    let per_field = |bytes: usize| bytes as f64 / f64::from(total);
    let allocated = per_field(IN_USE.load(Ordering::Relaxed) - before);
    let accounted = per_field(keyspace.account().bytes as usize);
    println!("{label}: {allocated:.1} bytes per field allocated, {accounted:.1} accounted");
    assert!((allocated - accounted).abs() < 0.02 * allocated, "{allocated:.1} and {accounted:.1}");
    allocated
}

/// Bytes per member of sets with `members` members, allocated and accounted.
fn measure_sets(label: &str, members: u32, name: impl Fn(u32) -> String) -> f64 {
    let total = parts_in_all(members);
    let before = IN_USE.load(Ordering::Relaxed);
    let mut keyspace = Keyspace::new(HashSeed([5; 16]));
    for number in 0..total {
        let (key, member) = (format!("key:{:012}", number / members), name(number % members));
        let member = std::iter::once(member.as_bytes());
        keyspace.add_members(&keyspace.key(key.as_bytes()), member, SetForm::Ints, NOW);
    }
    let per_member = |bytes: usize| bytes as f64 / f64::from(total);
    let allocated = per_member(IN_USE.load(Ordering::Relaxed) - before);
    let accounted = per_member(keyspace.account().bytes as usize);
    println!("{label}: {allocated:.1} bytes per member allocated, {accounted:.1} accounted");
    assert!((allocated - accounted).abs() < 0.02 * allocated, "{allocated:.1} and {accounted:.1}");
    allocated
}

/// Bytes per member of sorted sets with `members` members of 8 bytes, allocated and accounted.
fn measure_sorted_sets(label: &str, members: u32, score: impl Fn(u32) -> f64) -> f64 {
    let total = parts_in_all(members);
    let before = IN_USE.load(Ordering::Relaxed);
    let mut keyspace = Keyspace::new(HashSeed([5; 16]));
    for number in 0..total {
        let (name, member) = (format!("key:{:012}", number / members), format!("m{:07}", number % members));
        let member = (member.as_bytes(), score(number));
        keyspace.set_scores(&keyspace.key(name.as_bytes()), std::iter::once(member), false, NOW);
    }
    let per_member = |bytes: usize| bytes as f64 / f64::from(total);
    let allocated = per_member(IN_USE.load(Ordering::Relaxed) - before);
    let accounted = per_member(keyspace.account().bytes as usize);
    println!("{label}: {allocated:.1} bytes per member allocated, {accounted:.1} accounted");
    assert!((allocated - accounted).abs() < 0.02 * allocated, "{allocated:.1} and {accounted:.1}");
    allocated
}

/// One test, because the counter counts all threads.
#[test]
fn a_key_costs_at_most_what_it_costs_valkey() {
    // 16-byte keys and 100-byte values: Valkey 9.1.2 takes 163.2 bytes per key.
    let (allocated, _) = measure("without deadlines", |_| ExpiryChange::Drop);
    assert!(allocated <= 163.0);
    // A deadline costs 8 bytes in the entry (here: the next size class) and its place in the index. Valkey: 204.4.
    let (allocated, _) = measure("with deadlines", |key| ExpiryChange::At(WallMs(NOW.0 + u64::from(key) * 7919)));
    assert!(allocated <= 204.0);
    // 24 bytes of field and value, in hashes of ten in a row, and in one table. Valkey: 35.1 and 67.3.
    assert!(measure_hashes("small hashes", 10, |_| ExpiryChange::Drop) <= 36.0);
    assert!(measure_hashes("a large hash", KEYS, |_| ExpiryChange::Drop) <= 80.0);
    let rising = |field: u32| ExpiryChange::At(WallMs(NOW.0 + u64::from(field) * 7919));
    assert!(measure_hashes("a large hash with deadlines", KEYS, rising) <= 110.0);
    // Members of 8 bytes, in sets of ten in a row, and in one table; integers of at most 9 are 2 bytes each. Valkey:
    // 17.8, 9.5 and 53.5.
    assert!(measure_sets("small sets", 10, |member| format!("m{member:07}")) <= 17.0);
    assert!(measure_sets("small sets of integers", 10, |member| member.to_string()) <= 10.0);
    assert!(measure_sets("a large set", KEYS, |member| format!("m{member:07}")) <= 56.0);
    // A large one of Valkey: 79.7.
    let spread = |member: u32| f64::from(member.wrapping_mul(2_654_435_761));
    assert!(measure_sorted_sets("small sorted sets", 10, |member| f64::from(member % 1_000)) <= 20.0);
    assert!(measure_sorted_sets("a large sorted set", KEYS, spread) <= 80.0);
    assert!(measure_sorted_sets("a large sorted set of rising scores", KEYS, f64::from) <= 72.0);
    assert!(measure_sorted_sets("a large sorted set of equal scores", KEYS, |_| 1.0) <= 72.0);
}
