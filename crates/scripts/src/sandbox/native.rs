//! Functions in Rust that scripts call: their arguments, and the errors that they raise.

use std::ffi::CString;

use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::raw;
use crate::coroutine::Killed;

/// An error that a function raises in the script.
#[derive(Debug)]
pub(crate) enum Raise {
    /// A text, to which the position of the caller is added.
    Text(Vec<u8>),
    /// An argument, counted from 1, and what is wrong with it.
    Argument(usize, String),
    /// A text, to which no position is added.
    Plain(&'static str),
    /// A value as it is.
    Value(Value),
    /// The run was killed; nothing else matters.
    Killed,
    /// An error of Lua itself, such as that its memory is used up.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Raise {
    fn from(error: mlua::Error) -> Raise {
        Raise::Lua(error)
    }
}

impl From<Killed> for Raise {
    fn from(_: Killed) -> Raise {
        Raise::Killed
    }
}

/// An error with a text and the position of the caller.
pub(crate) fn text<T>(text: impl Into<Vec<u8>>) -> Result<T, Raise> {
    Err(Raise::Text(text.into()))
}

/// An error with a text alone.
pub(crate) fn without_position<T>(text: &'static str) -> Result<T, Raise> {
    Err(Raise::Plain(text))
}

/// The arguments of a call.
pub(crate) struct Arguments(pub(crate) MultiValue);

impl Arguments {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// An argument, counted from 1; nil if it is missing.
    pub(crate) fn get(&self, number: usize) -> &Value {
        self.0.get(number - 1).unwrap_or(&Value::Nil)
    }

    fn wrong_type<T>(&self, number: usize, expected: &str) -> Result<T, Raise> {
        let found = match self.0.get(number - 1) {
            None => "no value",
            Some(value) => type_name(value),
        };
        Err(Raise::Argument(number, format!("{expected} expected, got {found}")))
    }

    /// A string; a number is converted as Lua does.
    pub(crate) fn string(&self, lua: &Lua, number: usize) -> Result<LuaString, Raise> {
        match self.get(number) {
            Value::String(string) => Ok(string.clone()),
            value @ (Value::Integer(_) | Value::Number(_)) => match lua.coerce_string(value.clone())? {
                Some(string) => Ok(string),
                None => self.wrong_type(number, "string"),
            },
            _ => self.wrong_type(number, "string"),
        }
    }

    /// A number; a string is converted as Lua does.
    pub(crate) fn number(&self, lua: &Lua, number: usize) -> Result<f64, Raise> {
        match as_number(lua, self.get(number)) {
            Some(value) => Ok(value),
            None => self.wrong_type(number, "number"),
        }
    }

    /// A number that is converted to an integer as C does.
    pub(crate) fn integer(&self, lua: &Lua, number: usize) -> Result<i64, Raise> {
        self.number(lua, number).map(to_integer)
    }

    /// An integer, or `default` if the argument is missing or nil.
    pub(crate) fn integer_or(&self, lua: &Lua, number: usize, default: i64) -> Result<i64, Raise> {
        if self.get(number).is_nil() { Ok(default) } else { self.integer(lua, number) }
    }
}

/// The name of a value's type in Lua.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// The value of a number.
pub(crate) fn number_in(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// The number in a value, if it is a number or a string with one.
pub(crate) fn as_number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        value => number_in(value),
    }
}

/// A number as C converts it to a 64-bit integer on the machines that Valkey runs on: what does not fit is the least
/// one.
pub(crate) fn to_integer(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

fn raised(lua: &Lua, raise: Raise) -> mlua::Result<MultiValue> {
    match raise {
        Raise::Text(text) => (Value::Nil, lua.create_string(text)?).into_lua_multi(lua),
        Raise::Argument(number, text) => {
            // The text goes through C.
            let text = CString::new(text).unwrap_or_default();
            (Value::Nil, lua.create_string(text.as_bytes())?, number).into_lua_multi(lua)
        }
        Raise::Plain(text) => (false, text).into_lua_multi(lua),
        Raise::Value(value) => (false, value).into_lua_multi(lua),
        Raise::Killed => (false, "the run was killed").into_lua_multi(lua),
        Raise::Lua(mlua::Error::MemoryError(_)) => (false, "not enough memory").into_lua_multi(lua),
        Raise::Lua(error) => Err(error),
    }
}

fn inner<R: IntoLuaMulti>(
    lua: &Lua,
    function: impl Fn(&Lua, &Arguments) -> Result<R, Raise> + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, args: MultiValue| {
        let returned = function(lua, &Arguments(args));
        match returned.and_then(|values| values.into_lua_multi(lua).map_err(Raise::Lua)) {
            Ok(mut values) => {
                values.push_front(Value::Boolean(true));
                Ok(values)
            }
            Err(raise) => raised(lua, raise),
        }
    })
}

/// A function for scripts.
pub(crate) fn function<R: IntoLuaMulti>(
    lua: &Lua,
    function: impl Fn(&Lua, &Arguments) -> Result<R, Raise> + 'static,
) -> mlua::Result<Function> {
    raw::raising(lua, inner(lua, function)?)
}

/// A function for the sandbox's own Lua code, whose errors count as raised by the script that has called that code:
/// through an entry in C if `is_entered`.
pub(crate) fn function_of_sandbox<R: IntoLuaMulti>(
    lua: &Lua,
    is_entered: bool,
    function: impl Fn(&Lua, &Arguments) -> Result<R, Raise> + 'static,
) -> mlua::Result<Function> {
    raw::raising_above(lua, inner(lua, function)?, is_entered)
}

/// A table of functions.
pub(crate) struct Registry<'a> {
    pub(crate) lua: &'a Lua,
    pub(crate) table: Table,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(lua: &'a Lua) -> mlua::Result<Registry<'a>> {
        Ok(Registry { lua, table: lua.create_table()? })
    }

    /// Adds a function.
    pub(crate) fn add<R: IntoLuaMulti>(
        &self,
        name: &str,
        body: impl Fn(&Lua, &Arguments) -> Result<R, Raise> + 'static,
    ) -> mlua::Result<()> {
        self.table.raw_set(name, function(self.lua, body)?)
    }
}
