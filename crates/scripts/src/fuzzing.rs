//! Decoders for the fuzz targets: whatever the bytes are, they give a value or an error.

use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use crate::coroutine::Link;
use crate::library::{json, msgpack, strings, structs};
use crate::sandbox::native::Registry;

/// A Lua state with the libraries alone, outside of a run.
struct Bench {
    lua: Lua,
    json: Table,
    msgpack: Table,
    structs: Table,
    strings: Table,
}

impl Bench {
    fn new() -> mlua::Result<Bench> {
        let lua = Lua::new();
        let link = Rc::new(Link::new(u32::MAX));
        let registry = Registry::new(&lua)?;
        strings::add(&registry, &link)?;
        let strings = registry.table.clone();
        let (json, msgpack, structs) = (json::table(&lua, &link)?, msgpack::table(&lua, &link)?, structs::table(&lua)?);
        Ok(Bench { lua, json, msgpack, structs, strings })
    }
}

thread_local! {
    static BENCH: Bench = Bench::new().expect("a Lua state is made without a memory limit");
}

fn call(table: &Table, name: &str, args: impl mlua::IntoLuaMulti) -> mlua::Result<MultiValue> {
    table.raw_get::<Function>(name)?.call(args)
}

fn string(lua: &Lua, bytes: &[u8]) -> Option<LuaString> {
    lua.create_string(bytes).ok()
}

/// Decodes with `decode` of the table, encodes what came with `encode`, and expects that this is decoded and encoded
/// again as itself. Whether the bytes were decoded.
fn settles(lua: &Lua, table: &Table, (decode, encode): (&str, &str), input: &[u8]) -> bool {
    let decoded = |bytes: &[u8]| call(table, decode, string(lua, bytes)).ok();
    let encoded = |values: MultiValue| match call(table, encode, values).ok()?.pop_front() {
        Some(Value::String(text)) => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    let Some(values) = decoded(input) else { return false };
    if let Some(text) = encoded(values) {
        let again = decoded(&text).and_then(encoded);
        // Order and precision are settled after the first time.
        let third = again.as_deref().and_then(decoded).and_then(encoded);
        assert_eq!(again.map(|text| text.len()), third.map(|text| text.len()), "{}", input.escape_ascii());
    }
    true
}

/// `cjson.decode`; whether the bytes are JSON.
pub fn json(input: &[u8]) -> bool {
    BENCH.with(|bench| settles(&bench.lua, &bench.json, ("decode", "encode"), input))
}

/// `cmsgpack.unpack`; whether the bytes are MessagePack.
pub fn message_pack(input: &[u8]) -> bool {
    BENCH.with(|bench| settles(&bench.lua, &bench.msgpack, ("unpack", "pack"), input))
}

/// `struct.unpack` and `struct.size` with a format and data; whether the data fit.
pub fn structure(format: &[u8], data: &[u8]) -> bool {
    BENCH.with(|bench| {
        let (format, data) = (string(&bench.lua, format), string(&bench.lua, data));
        let _ = call(&bench.structs, "size", format.clone());
        call(&bench.structs, "unpack", (format, data)).is_ok()
    })
}

/// `string.find` with a pattern, which must find what Lua's own finds; whether it found something.
pub fn pattern(pattern: &[u8], text: &[u8]) -> bool {
    BENCH.with(|bench| {
        let args = (string(&bench.lua, text), string(&bench.lua, pattern));
        let shown = |found: mlua::Result<MultiValue>| found.ok().map(|values| format!("{values:?}"));
        let original = bench.lua.globals().raw_get("string").and_then(|table| call(&table, "find", args.clone()));
        let found = shown(call(&bench.strings, "find", args));
        assert_eq!(found, shown(original), "{} in {}", pattern.escape_ascii(), text.escape_ascii());
        found.is_some_and(|found| !found.contains("Nil"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next of a series of numbers.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    fn any(state: &mut u64, words: &[&[u8]], count: usize) -> Vec<u8> {
        (0..next(state) % (count + 1)).flat_map(|_| words[next(state) % words.len()].to_vec()).collect()
    }

    #[test]
    fn patterns_find_what_those_of_lua_find() {
        const SIGNS: &[&[u8]] = &[
            b"a", b"b", b"-", b"*", b"+", b"?", b".", b"%", b"(", b")", b"()", b"[", b"[^", b"]", b"^", b"$", b"%a",
            b"%w", b"%D", b"%1", b"%2", b"%b()", b"%bab", b"%f[a]", b"%f[%w]", b"[a-c]", b"[%a-]", b"1", b" ", b"\0",
            b"%z", b"(a*)", b"(.-)", b"%s", b"%p",
        ];
        const BYTES: &[&[u8]] = &[b"a", b"b", b"ab", b"(", b")", b"1", b" ", b"]", b"-", b"^", b"\0", b"c", b"%"];
        let (mut found, mut state) = (0, 1);
        for _ in 0..20_000 {
            let (signs, text) = (any(&mut state, SIGNS, 7), any(&mut state, BYTES, 10));
            found += usize::from(pattern(&signs, &text));
        }
        assert!(found > 2_000, "only {found} patterns found something");
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        const JSON: &[&[u8]] = &[
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b"\"",
            b"\"a\"",
            b"\\u12",
            b"\\ud83d\\ude00",
            b"1",
            b"-",
            b"1.5e3",
            b"null",
            b"true",
            b"0x1",
            b"nan",
            b" ",
            b"{\"a\":",
            b"[1,",
        ];
        const FORMATS: &[&[u8]] =
            &[b"i", b"I4", b"i16", b"b", b"c0", b"c", b"s", b"d", b"f", b"<", b">", b"!4", b"x", b"L"];
        let (mut decoded, mut state) = ([0; 3], 7);
        for _ in 0..5_000 {
            let bytes: Vec<u8> = (0..next(&mut state) % 20).map(|_| next(&mut state) as u8).collect();
            decoded[0] += usize::from(json(&any(&mut state, JSON, 8)));
            decoded[1] += usize::from(message_pack(&bytes));
            decoded[2] += usize::from(structure(&any(&mut state, FORMATS, 6), &bytes));
        }
        assert!(decoded.iter().all(|count| *count > 100), "{decoded:?}");
    }
}
