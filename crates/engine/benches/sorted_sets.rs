//! Cost of changes and reads of a sorted set of a million members: scores that rise, that are scattered, and that are
//! equal. `cargo bench -p fastness-engine --bench sorted_sets`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock; the engine does not")]

use fastness_engine::zset::MemberTable;
use fastness_types::HashSeed;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MEMBERS: u64 = 1_000_000;
const READS: u64 = 200_000;

/// The members in no order: a step that has no divisor in common with their number.
fn scattered(number: u64) -> u64 {
    number * 618_033 % MEMBERS
}

fn name(number: u64) -> Vec<u8> {
    format!("member:{number:08}").into_bytes()
}

fn report(what: &str, started: Instant, count: u64) {
    println!("{what:<44} {:>7} ns", started.elapsed().as_nanos() as u64 / count);
}

fn measure(kind: &str, score: impl Fn(u64) -> f64) {
    let mut table = MemberTable::new(HashSeed([1; 16]));
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for number in 0..MEMBERS {
        let one = Instant::now();
        table.set(&name(scattered(number)), score(number), &mut None);
        longest = longest.max(one.elapsed());
    }
    report(&format!("{kind}: add"), started, MEMBERS);
    println!("{:<44} {:>7} bytes, the longest addition {longest:.1?}", "", table.heap_bytes() as u64 / MEMBERS);
    let started = Instant::now();
    (0..READS).for_each(|number| _ = black_box(table.rank(&name(scattered(number)))));
    report(&format!("{kind}: rank"), started, READS);
    let started = Instant::now();
    for number in 0..READS {
        let rank = scattered(number) as usize;
        table.range(rank..rank + 10, false).for_each(|member| _ = black_box(member));
    }
    report(&format!("{kind}: ten members from a rank"), started, READS);
    let started = Instant::now();
    table.range(0..MEMBERS as usize, false).for_each(|member| _ = black_box(member));
    report(&format!("{kind}: a member of all in order"), started, MEMBERS);
    let started = Instant::now();
    (0..READS).for_each(|number| table.set(&name(scattered(number)), score(number) + 0.5, &mut None));
    report(&format!("{kind}: another score"), started, READS);
    let started = Instant::now();
    (0..MEMBERS).for_each(|number| table.remove(&name(scattered(number)), &mut None));
    report(&format!("{kind}: remove"), started, MEMBERS);
}

fn main() {
    measure("rising scores", |number| number as f64);
    measure("scattered scores", |number| scattered(number * 7 % MEMBERS) as f64);
    measure("equal scores", |_| 1.0);
}
