//! The library `cjson`.

mod decode;
mod encode;
pub(crate) mod number;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use crate::coroutine::Link;
use crate::sandbox::native::{Arguments, Raise, Registry};

/// Tables in one another that are encoded, whatever the setting says: as many as the stack of a run takes.
const ENCODED_DEPTH_MAX: usize = 1_000;
/// Arrays and objects in one another that are decoded, whatever the setting says.
const DECODED_DEPTH_MAX: usize = 3_000;

/// What to do with NaN and infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Allow,
    Null,
}

/// The settings of one `cjson` table.
#[derive(Debug)]
pub(crate) struct Settings {
    sparse_convert: Cell<bool>,
    sparse_ratio: Cell<i64>,
    sparse_safe: Cell<i64>,
    encode_depth: Cell<i64>,
    decode_depth: Cell<i64>,
    encode_invalid: Cell<Invalid>,
    decode_invalid: Cell<bool>,
    precision: Cell<i64>,
    keep_buffer: Cell<bool>,
}

impl Settings {
    pub(crate) fn new() -> Settings {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth: Cell::new(1_000),
            decode_depth: Cell::new(1_000),
            encode_invalid: Cell::new(Invalid::Refuse),
            decode_invalid: Cell::new(true),
            precision: Cell::new(14),
            keep_buffer: Cell::new(true),
        }
    }
}

fn at_most(args: &Arguments, count: usize) -> Result<(), Raise> {
    if args.len() <= count {
        return Ok(());
    }
    Err(Raise::Argument(count + 1, "found too many arguments".to_owned()))
}

/// Sets an integer setting if the argument is given; its value.
fn integer(lua: &Lua, args: &Arguments, number: usize, setting: &Cell<i64>, (min, max): (i64, i64)) -> Result<Value, Raise> {
    if !args.get(number).is_nil() {
        let value = i64::from(args.integer(lua, number)? as i32);
        if !(min..=max).contains(&value) {
            return Err(Raise::Argument(1, format!("expected integer between {min} and {max}")));
        }
        setting.set(value);
    }
    Ok(Value::Number(setting.get() as f64))
}

/// The option that an argument names; a boolean stands for one of the first two.
fn option(lua: &Lua, args: &Arguments, number: usize, options: &[&str]) -> Result<Option<usize>, Raise> {
    match args.get(number) {
        Value::Nil => Ok(None),
        Value::Boolean(yes) => Ok(Some(usize::from(*yes))),
        _ => {
            let text = args.string(lua, number)?;
            let found = options.iter().position(|option| option.as_bytes() == &*text.as_bytes());
            let wrong = || Raise::Argument(number, format!("invalid option '{}'", text.to_string_lossy()));
            found.map(Some).ok_or_else(wrong)
        }
    }
}

/// Sets a setting that is on or off; its value.
fn switch(lua: &Lua, args: &Arguments, number: usize, setting: &Cell<bool>) -> Result<Value, Raise> {
    if let Some(chosen) = option(lua, args, number, &["off", "on"])? {
        setting.set(chosen == 1);
    }
    Ok(Value::Boolean(setting.get()))
}

fn encode_invalid_numbers(lua: &Lua, args: &Arguments, settings: &Settings) -> Result<Value, Raise> {
    at_most(args, 1)?;
    if let Some(chosen) = option(lua, args, 1, &["off", "on", "null"])? {
        settings.encode_invalid.set([Invalid::Refuse, Invalid::Allow, Invalid::Null][chosen]);
    }
    Ok(match settings.encode_invalid.get() {
        Invalid::Refuse => Value::Boolean(false),
        Invalid::Allow => Value::Boolean(true),
        Invalid::Null => Value::String(lua.create_string("null")?),
    })
}

fn encode_sparse_array(lua: &Lua, args: &Arguments, settings: &Settings) -> Result<MultiValue, Raise> {
    const RANGE: (i64, i64) = (0, i32::MAX as i64);
    at_most(args, 3)?;
    Ok(MultiValue::from_vec(vec![
        switch(lua, args, 1, &settings.sparse_convert)?,
        integer(lua, args, 2, &settings.sparse_ratio, RANGE)?,
        integer(lua, args, 3, &settings.sparse_safe, RANGE)?,
    ]))
}

fn one_argument(args: &Arguments) -> Result<(), Raise> {
    if args.len() == 1 { Ok(()) } else { Err(Raise::Argument(1, "expected 1 argument".to_owned())) }
}

fn add_settings(registry: &Registry<'_>, settings: &Rc<Settings>) -> mlua::Result<()> {
    const DEPTHS: (i64, i64) = (1, i32::MAX as i64);
    let own = Rc::clone(settings);
    registry.add("encode_sparse_array", move |lua, args| encode_sparse_array(lua, args, &own))?;
    let own = Rc::clone(settings);
    registry.add("encode_invalid_numbers", move |lua, args| encode_invalid_numbers(lua, args, &own))?;
    let numbers: [(&str, fn(&Settings) -> &Cell<i64>, (i64, i64)); 3] = [
        ("encode_max_depth", |settings| &settings.encode_depth, DEPTHS),
        ("decode_max_depth", |settings| &settings.decode_depth, DEPTHS),
        ("encode_number_precision", |settings| &settings.precision, (1, 14)),
    ];
    for (name, setting, range) in numbers {
        let own = Rc::clone(settings);
        registry.add(name, move |lua, args| {
            at_most(args, 1)?;
            integer(lua, args, 1, setting(&own), range)
        })?;
    }
    // The buffer is not kept in any case: there is nothing to gain from it here.
    let switches: [(&str, fn(&Settings) -> &Cell<bool>); 2] = [
        ("encode_keep_buffer", |settings| &settings.keep_buffer),
        ("decode_invalid_numbers", |settings| &settings.decode_invalid),
    ];
    for (name, setting) in switches {
        let own = Rc::clone(settings);
        registry.add(name, move |lua, args| {
            at_most(args, 1)?;
            switch(lua, args, 1, setting(&own))
        })?;
    }
    Ok(())
}

/// A table `cjson` with settings of its own.
pub(crate) fn table(lua: &Lua, link: &Rc<Link>) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    let settings = Rc::new(Settings::new());
    let (own, encoding) = (Rc::clone(&settings), Rc::clone(link));
    registry.add("encode", move |lua, args| {
        one_argument(args)?;
        Ok(lua.create_string(encode::encode(&own, &encoding, args.get(1))?)?)
    })?;
    let (own, decoding) = (Rc::clone(&settings), Rc::clone(link));
    registry.add("decode", move |lua, args| {
        one_argument(args)?;
        let string = args.string(lua, 1)?;
        decode::decode(lua, &own, &decoding, &string.as_bytes())
    })?;
    add_settings(&registry, &settings)?;
    let link = Rc::clone(link);
    registry.add("new", move |lua, _| Ok(table(lua, &link)?))?;
    registry.table.raw_set("null", Value::NULL)?;
    registry.table.raw_set("_NAME", "cjson")?;
    registry.table.raw_set("_VERSION", "2.1.0")?;
    Ok(registry.table)
}
