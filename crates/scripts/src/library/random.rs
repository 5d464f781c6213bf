//! `math.random`: the generator of `drand48`, so that a seed gives the same numbers on every machine.

use std::cell::Cell;
use std::rc::Rc;

use mlua::Value;

use crate::sandbox::native::{Raise, Registry, text};

/// The state before the first `math.randomseed`.
const FIRST: u64 = 0x1234_ABCD_330E;
const MASK: u64 = (1 << 48) - 1;

/// The next number, of 31 bits.
fn next(state: &Cell<u64>) -> u32 {
    state.set(state.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK);
    (state.get() >> 17) as u32
}

/// Adds `random` and `randomseed`. The state lasts as long as the Lua state, as in Valkey.
pub(crate) fn add(registry: &Registry<'_>) -> mlua::Result<()> {
    let state = Rc::new(Cell::new(FIRST));
    let seeded = Rc::clone(&state);
    registry.add("random", move |lua, args| {
        const LIMIT: f64 = 2_147_483_647.0;
        let number = f64::from(next(&state) % 2_147_483_647) / LIMIT;
        let int = |number| Ok::<_, Raise>(args.integer(lua, number)? as i32);
        let (from, to) = match args.len() {
            0 => return Ok(Value::Number(number)),
            1 => (1, int(1)?),
            2 => (int(1)?, int(2)?),
            _ => return text("wrong number of arguments"),
        };
        if from > to {
            return Err(Raise::Argument(args.len(), "interval is empty".to_owned()));
        }
        let width = f64::from(to.wrapping_sub(from).wrapping_add(1));
        Ok(Value::Number((number * width).floor() + f64::from(from)))
    })?;
    registry.add("randomseed", move |lua, args| {
        let seed = args.integer(lua, 1)? as u32;
        seeded.set((u64::from(seed) << 16) | 0x330E);
        Ok(())
    })
}
