//! The tables `redis` and `server`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fastness_resp::{Protocol, double};
use mlua::{Function, Lua, LuaString, Table, Value};

use super::native::{Arguments, Raise, Registry, as_number, to_integer};
use super::raw;
use crate::coroutine::Link;
use crate::from_reply;
use crate::script::{FunctionSpec, ScriptFlags, Sha};
use crate::step::{Answer, Step};

/// Longest message of `redis.log`, in bytes; what is beyond it is left out.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// What the API of one Lua state shares with its runs.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) link: Rc<Link>,
    /// The version in which the script wants replies (`redis.setresp`).
    pub(crate) protocol: Cell<Protocol>,
    /// The functions that a library has registered while it is loaded; `None` at other times.
    pub(crate) registered: RefCell<Option<Vec<(FunctionSpec, Function)>>>,
}

/// A table with the field `err`, as scripts see errors.
pub(crate) fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(table)
}

/// Raises an error table with the code ERR.
fn raise<T>(lua: &Lua, message: &str) -> Result<T, Raise> {
    Err(Raise::Value(Value::Table(error_table(lua, format!("ERR {message}").as_bytes())?)))
}

/// The line of an error that a script makes: a code and a text, or a text alone, whose code is ERR. A `-` before it
/// does not matter.
fn error_line(text: &[u8]) -> Vec<u8> {
    let trimmed = |text: &[u8]| {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let from = text.iter().position(|byte| !is_end(byte)).unwrap_or(text.len());
        let to = text.iter().rposition(|byte| !is_end(byte)).map_or(from, |at| at + 1);
        text[from..to].to_vec()
    };
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    match rest.iter().position(|byte| *byte == b' ') {
        None => [b"ERR ".to_vec(), trimmed(rest)].concat(),
        Some(blank) => [&rest[..=blank], &trimmed(&rest[blank + 1..])].concat(),
    }
}

/// An argument of a command: a string, or a number in the form in which commands expect it.
fn word(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(string) => Some(string.as_bytes().to_vec()),
        Value::Integer(number) => Some(number_text(*number as f64)),
        Value::Number(number) => Some(number_text(*number)),
        _ => None,
    }
}

fn number_text(number: f64) -> Vec<u8> {
    let mut text = Vec::new();
    if number == 0.0 {
        text.push(b'0');
    } else if number.is_nan() {
        text.extend_from_slice(if number.is_sign_negative() { b"-nan" } else { b"nan" });
    } else {
        double::write(number, &mut text);
    }
    text
}

/// The words of a command, or why they are none.
fn words((args, count): (Table, usize)) -> Result<Vec<Vec<u8>>, &'static str> {
    if count == 0 {
        return Err("Please specify at least one argument for this call");
    }
    let words = (1..=count).map(|index| args.raw_get(index).ok().and_then(|value| word(&value)));
    words.collect::<Option<_>>().ok_or("Command arguments must be strings or integers")
}

/// What the trampoline in [`raw`] expects of a function: whether it succeeded, and its value.
type CallResult = mlua::Result<(bool, Value)>;

/// Runs a command of the script; whether it succeeded, and its reply.
fn call(lua: &Lua, api: &Api, args: (Table, usize)) -> CallResult {
    let words = match words(args) {
        Ok(words) => words,
        Err(message) => return Ok((false, Value::Table(error_table(lua, format!("ERR {message}").as_bytes())?))),
    };
    let protocol = api.protocol.get();
    match api.link.stop(Step::Call { args: words, protocol }) {
        Ok(Answer::Reply(reply)) => from_reply::value(lua, &reply, protocol),
        Ok(_) => Ok((false, Value::Table(error_table(lua, b"ERR internal error: the call was not answered")?))),
        Err(_) => Ok((false, Value::String(lua.create_string("the run was killed")?))),
    }
}

fn add_calls(registry: &Registry<'_>, api: &Rc<Api>) -> mlua::Result<()> {
    let lua = registry.lua;
    let own = Rc::clone(api);
    let inner = lua.create_function(move |lua, args: (Table, usize)| call(lua, &own, args))?;
    registry.table.raw_set("call", raw::raising_long(lua, inner)?)?;
    let own = Rc::clone(api);
    let inner = lua.create_function(move |lua, args: (Table, usize)| {
        let (is_ok, value) = call(lua, &own, args)?;
        Ok((is_ok || own.link.killed().is_none(), value))
    })?;
    registry.table.raw_set("pcall", raw::raising_long(lua, inner)?)?;
    let own = Rc::clone(api);
    let inner = lua.create_function(move |lua, args: (Table, usize)| -> CallResult {
        let failed = |message: &str| Ok((false, Value::Table(error_table(lua, format!("ERR {message}").as_bytes())?)));
        let words = match words(args) {
            Ok(words) => words,
            Err(message) => return failed(message),
        };
        match own.link.stop(Step::MayRun { args: words }) {
            Ok(Answer::MayRun(Some(may_run))) => Ok((true, Value::Boolean(may_run))),
            _ => failed("Invalid command passed to server.acl_check_cmd()"),
        }
    })?;
    registry.table.raw_set("acl_check_cmd", raw::raising_long(lua, inner)?)
}

fn single_string(args: &Arguments) -> Option<&LuaString> {
    match (args.len(), args.get(1)) {
        (1, Value::String(string)) => Some(string),
        _ => None,
    }
}

fn add_replies(registry: &Registry<'_>) -> mlua::Result<()> {
    const WRONG: &[u8] = b"ERR wrong number or type of arguments";
    registry.add("error_reply", |lua, args| {
        let line = single_string(args).map_or(WRONG.to_vec(), |text| error_line(&text.as_bytes()));
        Ok(error_table(lua, &line)?)
    })?;
    registry.add("status_reply", |lua, args| {
        let Some(text) = single_string(args) else { return Ok(error_table(lua, WRONG)?) };
        let table = lua.create_table()?;
        table.raw_set("ok", text)?;
        Ok(table)
    })?;
    registry.add("sha1hex", |lua, args| {
        if args.len() != 1 {
            return raise(lua, "wrong number of arguments");
        }
        let text = lua.coerce_string(args.get(1).clone())?;
        let sha = text.map_or_else(|| Sha::of(b""), |text| Sha::of(&text.as_bytes()));
        Ok(lua.create_string(sha.as_bytes())?)
    })
}

fn add_switches(registry: &Registry<'_>, api: &Rc<Api>) -> mlua::Result<()> {
    let own = Rc::clone(api);
    registry.add("setresp", move |lua, args| {
        if args.len() != 1 {
            return raise(lua, "server.setresp() requires one argument.");
        }
        match as_number(lua, args.get(1)).map_or(0, to_integer) {
            2 => own.protocol.set(Protocol::Resp2),
            3 => own.protocol.set(Protocol::Resp3),
            _ => return raise(lua, "RESP version must be 2 or 3."),
        }
        Ok(())
    })?;
    // What replicates here are the effects of the commands, and a shard always replicates them: a script may say
    // otherwise without effect, as where Valkey's replicas and its append-only file are concerned.
    registry.add("set_repl", |lua, args| {
        if args.len() != 1 {
            return raise(lua, "server.set_repl() requires one argument.");
        }
        if to_integer(as_number(lua, args.get(1)).unwrap_or(0.0)) & !3 != 0 {
            return raise(lua, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
        }
        Ok(())
    })?;
    for (name, value) in [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)] {
        registry.table.raw_set(name, value)?;
    }
    Ok(())
}

/// The strings and numbers after the first argument, with blanks between them.
fn message(lua: &Lua, args: &Arguments) -> Result<Vec<u8>, Raise> {
    let mut message = Vec::new();
    for number in 2..=args.len() {
        if let Value::String(_) | Value::Integer(_) | Value::Number(_) = args.get(number) {
            if number > 2 {
                message.push(b' ');
            }
            let part = args.string(lua, number)?;
            let part = part.as_bytes();
            message.extend_from_slice(&part[..part.len().min(MESSAGE_BYTES_MAX)]);
        }
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(MESSAGE_BYTES_MAX);
            break;
        }
    }
    Ok(message)
}

fn add_log(registry: &Registry<'_>, api: &Rc<Api>) -> mlua::Result<()> {
    let own = Rc::clone(api);
    registry.add("log", move |lua, args| {
        if args.len() < 2 {
            return raise(lua, "server.log() requires two arguments or more.");
        }
        let Some(level) = as_number(lua, args.get(1)) else {
            return raise(lua, "First argument must be a number (log level).");
        };
        let Ok(level @ 0..=3) = u8::try_from(to_integer(level)) else {
            return raise(lua, "Invalid log level.");
        };
        own.link.stop(Step::Log { level, message: message(lua, args)? })?;
        Ok(())
    })?;
    for (name, level) in [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)] {
        registry.table.raw_set(name, level)?;
    }
    Ok(())
}

fn add_versions(table: &Table, (major, minor, patch): (u8, u8, u8)) -> mlua::Result<()> {
    let number = |major: u8, minor: u8, patch: u8| u32::from_be_bytes([0, major, minor, patch]);
    table.raw_set("REDIS_VERSION_NUM", number(7, 2, 4))?;
    table.raw_set("REDIS_VERSION", "7.2.4")?;
    table.raw_set("VALKEY_VERSION_NUM", number(major, minor, patch))?;
    table.raw_set("VALKEY_VERSION", format!("{major}.{minor}.{patch}"))?;
    table.raw_set("SERVER_NAME", "valkey")
}

/// The API for scripts and functions that run.
pub(crate) fn table(lua: &Lua, api: &Rc<Api>, version: (u8, u8, u8), is_eval: bool) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    add_calls(&registry, api)?;
    add_log(&registry, api)?;
    add_versions(&registry.table, version)?;
    add_replies(&registry)?;
    add_switches(&registry, api)?;
    if is_eval {
        // There is no debugger here; without one Valkey's functions do just this.
        registry.add("breakpoint", |_, _| Ok(false))?;
        registry.add("debug", |_, _| Ok(()))?;
        registry.add("replicate_commands", |_, _| Ok(true))?;
    }
    Ok(registry.table)
}

/// The API for the code of a library while it is loaded.
pub(crate) fn load_table(lua: &Lua, api: &Rc<Api>, version: (u8, u8, u8)) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    add_log(&registry, api)?;
    add_versions(&registry.table, version)?;
    let own = Rc::clone(api);
    registry.add("register_function", move |lua, args| match register(lua, args) {
        Ok(function) => match own.registered.borrow_mut().as_mut() {
            Some(registered) => {
                registered.push(function);
                Ok(())
            }
            None => raise(lua, "server.register_function can only be called on FUNCTION LOAD command"),
        },
        Err(message) => raise(lua, message),
    })?;
    Ok(registry.table)
}

fn string_of(lua: &Lua, value: &Value, wrong: &'static str) -> Result<Vec<u8>, &'static str> {
    match value {
        Value::String(string) => Ok(string.as_bytes().to_vec()),
        Value::Integer(_) | Value::Number(_) => {
            let text = lua.coerce_string(value.clone()).ok().flatten().ok_or(wrong)?;
            Ok(text.as_bytes().to_vec())
        }
        _ => Err(wrong),
    }
}

/// The function that a call of `register_function` describes, or what is wrong with it.
fn register(lua: &Lua, args: &Arguments) -> Result<(FunctionSpec, Function), &'static str> {
    match (args.len(), args.get(1), args.get(2)) {
        (1, Value::Table(named), _) => register_named(lua, named),
        (1, ..) => Err("calling server.register_function with a single argument is only applicable to Lua table \
                        (representing named arguments)."),
        (2, name, callback) => {
            let name = string_of(lua, name, "first argument to server.register_function must be a string")?;
            let Value::Function(callback) = callback else {
                return Err("second argument to server.register_function must be a function");
            };
            Ok((FunctionSpec { name, description: None, flags: ScriptFlags::default() }, callback.clone()))
        }
        _ => Err("wrong number of arguments to server.register_function"),
    }
}

fn register_named(lua: &Lua, named: &Table) -> Result<(FunctionSpec, Function), &'static str> {
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, ScriptFlags::default());
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|_| "not enough memory")?;
        let key = string_of(lua, &key, "named argument key given to server.register_function is not a string")?;
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let wrong = "function_name argument given to server.register_function must be a string";
                name = Some(string_of(lua, &value, wrong)?);
            }
            b"description" => {
                let wrong = "description argument given to server.register_function must be a string";
                description = Some(string_of(lua, &value, wrong)?);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => return Err("callback argument given to server.register_function must be a function"),
            },
            b"flags" => match value {
                Value::Table(list) => flags = read_flags(lua, &list)?,
                _ => {
                    return Err(
                        "flags argument to server.register_function must be a table representing function flags",
                    );
                }
            },
            _ => return Err("unknown argument given to server.register_function"),
        }
    }
    let name = name.ok_or("server.register_function must get a function name argument")?;
    let callback = callback.ok_or("server.register_function must get a callback argument")?;
    Ok((FunctionSpec { name, description, flags }, callback))
}

fn read_flags(lua: &Lua, list: &Table) -> Result<ScriptFlags, &'static str> {
    const UNKNOWN: &str = "unknown flag given";
    let mut flags = ScriptFlags::default();
    for index in 1.. {
        let value: Value = list.raw_get(index).map_err(|_| UNKNOWN)?;
        if value.is_nil() {
            break;
        }
        let flag = string_of(lua, &value, UNKNOWN)?;
        if !flags.set(&flag.to_ascii_lowercase()) {
            return Err(UNKNOWN);
        }
    }
    Ok(flags)
}
