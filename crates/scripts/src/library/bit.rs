//! The library `bit`: operations on 32-bit numbers.

use mlua::{Lua, Table, Value};

use crate::sandbox::native::{Arguments, Raise, Registry, as_number, type_name};

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

/// An argument as 32 bits: rounded to the nearest whole number, modulo 2^32. A magnitude of 2^51 or more is not exact,
/// as in the original, which adds a large constant and reads the low bits of the sum.
fn bits(lua: &Lua, args: &Arguments, number: usize) -> Result<u32, Raise> {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    match as_number(lua, args.get(number)) {
        Some(value) => Ok((value + MAGIC).to_bits() as u32),
        None => {
            let found = if args.len() < number { "no value" } else { type_name(args.get(number)) };
            Err(Raise::Argument(number, format!("number expected, got {found}")))
        }
    }
}

fn signed(bits: u32) -> Value {
    Value::Number(f64::from(bits as i32))
}

fn hex(lua: &Lua, args: &Arguments) -> Result<Vec<u8>, Raise> {
    let mut value = bits(lua, args, 1)?;
    let digits = if args.len() < 2 { 8 } else { bits(lua, args, 2)? as i32 };
    let alphabet = if digits < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut text = vec![0; digits.unsigned_abs().min(8) as usize];
    for digit in text.iter_mut().rev() {
        *digit = alphabet[(value & 15) as usize];
        value >>= 4;
    }
    Ok(text)
}

/// The table `bit`.
pub(crate) fn table(lua: &Lua) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    let unary: [(&str, Unary); 3] = [("tobit", |bits| bits), ("bnot", |bits| !bits), ("bswap", u32::swap_bytes)];
    for (name, operation) in unary {
        registry.add(name, move |lua, args| Ok(signed(operation(bits(lua, args, 1)?))))?;
    }
    let folds: [(&str, Binary); 3] = [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, operation) in folds {
        registry.add(name, move |lua, args| {
            let first = bits(lua, args, 1)?;
            // From the last argument on: the first wrong one from there is the one that is reported.
            let folded =
                (2..=args.len()).rev().try_fold(first, |sum, i| Ok::<_, Raise>(operation(sum, bits(lua, args, i)?)));
            Ok(signed(folded?))
        })?;
    }
    let shifts: [(&str, Binary); 5] = [
        ("lshift", |bits, by| bits << by),
        ("rshift", |bits, by| bits >> by),
        ("arshift", |bits, by| ((bits as i32) >> by) as u32),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, operation) in shifts {
        registry.add(name, move |lua, args| Ok(signed(operation(bits(lua, args, 1)?, bits(lua, args, 2)? & 31))))?;
    }
    registry.add("tohex", |lua, args| Ok(lua.create_string(hex(lua, args)?)?))?;
    Ok(registry.table)
}
