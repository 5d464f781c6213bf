//! PFADD.

use super::change::{Change, Ranges};
use super::layout::{HEADER_BYTES, STALE, STALE_AT};
use super::value::HllBuf;
use super::view::{Encoding, Hll};
use super::{dense, hash, look_up};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use std::collections::BTreeMap;

/// PFADD
pub const PFADD: Command = Command::data(
    "pfadd",
    "<key> [<element> [<element> ...]]",
    "Adds elements to a HyperLogLog, which is created if the key does not exist.",
    pfadd,
);

fn pfadd(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (key, elements) = (engine.first_key(args, env), args.skip(2));
    let limits = engine.keyspace().packed_limits();
    let change = match look_up::look_up(engine, &key, env)? {
        None => {
            let mut created = HllBuf::empty(limits);
            add(&mut created, elements)?;
            created.make_stale();
            Some(Change::between(&[], created.into_bytes()))
        }
        Some(hll) if hll.encoding == Encoding::Dense => added_to_dense(hll, elements),
        Some(hll) => {
            let mut changed = HllBuf::copy_of(hll, limits)?;
            let is_changed = add(&mut changed, elements)?;
            changed.make_stale();
            is_changed.then(|| Change::between(hll.bytes, changed.into_bytes()))
        }
    };
    env.reply.integer(i64::from(change.is_some()));
    if let Some(change) = change {
        change.make(engine, &key, env);
        engine.notify(NotifyClasses::STRING, "pfadd", &key);
    }
    Ok(())
}

/// Adds elements; returns whether a register was raised.
fn add(hll: &mut HllBuf, elements: Args<'_>) -> Result<bool, CommandError> {
    let mut is_changed = false;
    for element in elements.iter() {
        is_changed |= hll.raise(hash::of(element))?;
    }
    Ok(is_changed)
}

/// The change of a dense value to which elements are added; `None` if no register is raised.
fn added_to_dense(hll: Hll<'_>, elements: Args<'_>) -> Option<Change> {
    let mut raised = BTreeMap::new();
    for hash::Hashed { register, count } in elements.iter().map(hash::of) {
        if count > dense::get(hll.body(), register) {
            let raised: &mut u8 = raised.entry(register).or_default();
            *raised = count.max(*raised);
        }
    }
    if raised.is_empty() {
        return None;
    }
    let mut ranges = Ranges::of(hll.bytes);
    if !hll.is_stale() {
        ranges.edit(STALE_AT..STALE_AT + 1, |bytes| bytes[0] |= STALE);
    }
    for (register, count) in raised {
        let place = dense::place(register);
        ranges.edit(HEADER_BYTES + place.start..HEADER_BYTES + place.end, |bytes| dense::set(bytes, register, count));
    }
    Some(ranges.into())
}
