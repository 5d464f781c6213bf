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
