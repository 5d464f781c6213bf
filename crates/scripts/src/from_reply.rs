//! Replies of commands as Lua values.

use fastness_resp::Protocol;
use fastness_resp::value::{self, Value as Reply};
use mlua::{Lua, Table, Value};

/// The value that a script gets for a reply, and whether the reply is no error.
pub(crate) fn value(lua: &Lua, reply: &[u8], protocol: Protocol) -> mlua::Result<(bool, Value)> {
    match value::parse(reply) {
        Ok(Some((parsed, length))) if length == reply.len() => {
            let is_ok = !matches!(parsed, Reply::Error(_));
            Ok((is_ok, convert(lua, parsed, protocol)?))
        }
        _ => Err(mlua::Error::runtime("the reply to a command is no reply")),
    }
}

/// A table with one field.
fn single(lua: &Lua, field: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, value)?;
    Ok(Value::Table(table))
}

fn array(lua: &Lua, members: Vec<Reply>, protocol: Protocol) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(members.len(), 0)?;
    for (index, member) in members.into_iter().enumerate() {
        table.raw_set(index + 1, convert(lua, member, protocol)?)?;
    }
    Ok(Value::Table(table))
}

/// Sets a field unless its key is nil, which no table can have.
fn set(table: &Table, key: Value, value: Value) -> mlua::Result<()> {
    if key.is_nil() { Ok(()) } else { table.raw_set(key, value) }
}

fn convert(lua: &Lua, reply: Reply, protocol: Protocol) -> mlua::Result<Value> {
    let string = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    match reply {
        Reply::Simple(text) => single(lua, "ok", lua.create_string(text)?),
        Reply::Error(line) => {
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string(line)?)?;
            // The command has counted it.
            table.raw_set("ignore_error_stats_update", true)?;
            Ok(Value::Table(table))
        }
        Reply::Integer(number) => Ok(Value::Number(number as f64)),
        Reply::Bulk(bytes) => string(&bytes),
        Reply::Array(members) | Reply::Push(members) => array(lua, members, protocol),
        Reply::Map(pairs) => {
            let table = lua.create_table_with_capacity(0, pairs.len())?;
            for (key, value) in pairs {
                set(&table, convert(lua, key, protocol)?, convert(lua, value, protocol)?)?;
            }
            single(lua, "map", table)
        }
        Reply::Set(members) => {
            let table = lua.create_table_with_capacity(0, members.len())?;
            for member in members {
                set(&table, convert(lua, member, protocol)?, Value::Boolean(true))?;
            }
            single(lua, "set", table)
        }
        Reply::Double(number) => single(lua, "double", number),
        Reply::Bool(yes) => Ok(Value::Boolean(yes)),
        Reply::BigNumber(digits) => single(lua, "big_number", lua.create_string(digits)?),
        Reply::Verbatim(format, text) => {
            let table = lua.create_table()?;
            table.raw_set("string", lua.create_string(text)?)?;
            table.raw_set("format", lua.create_string(format)?)?;
            single(lua, "verbatim_string", table)
        }
        Reply::Attribute(_, reply) => convert(lua, *reply, protocol),
        // RESP2 has no null of its own: a missing string and a missing array are false.
        Reply::Null if protocol == Protocol::Resp3 => Ok(Value::Nil),
        Reply::Null | Reply::NullArray => Ok(Value::Boolean(false)),
    }
}
