//! The library `cjson`.

mod decode;
mod encode;
mod number;
mod settings;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use self::settings::{NotNumbers, Settings};
use crate::coroutine::Link;
use crate::sandbox::native::{Arguments, Raise, Registry};

fn at_most(args: &Arguments, count: usize) -> Result<(), Raise> {
    if args.len() <= count {
        return Ok(());
    }
    Err(Raise::Argument(count + 1, "found too many arguments".to_owned()))
}

/// Sets an integer setting if the argument is given; its value.
fn integer(
    lua: &Lua,
    args: &Arguments,
    number: usize,
    setting: &Cell<i64>,
    (min, max): (i64, i64),
) -> Result<Value, Raise> {
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
        settings.encode_invalid.set([NotNumbers::Refuse, NotNumbers::Allow, NotNumbers::Null][chosen]);
    }
    Ok(match settings.encode_invalid.get() {
        NotNumbers::Refuse => Value::Boolean(false),
        NotNumbers::Allow => Value::Boolean(true),
        NotNumbers::Null => Value::String(lua.create_string("null")?),
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

type NumberSetting = fn(&Settings) -> &Cell<i64>;
type Switch = fn(&Settings) -> &Cell<bool>;

fn add_settings(registry: &Registry<'_>, settings: &Rc<Settings>) -> mlua::Result<()> {
    const DEPTHS: (i64, i64) = (1, i32::MAX as i64);
    let own = Rc::clone(settings);
    registry.add("encode_sparse_array", move |lua, args| encode_sparse_array(lua, args, &own))?;
    let own = Rc::clone(settings);
    registry.add("encode_invalid_numbers", move |lua, args| encode_invalid_numbers(lua, args, &own))?;
    let numbers: [(&str, NumberSetting, (i64, i64)); 3] = [
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
    let switches: [(&str, Switch); 2] = [
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
