//! The Lua states in which scripts run, and what scripts see in them.

mod api;
pub(crate) mod native;
mod raw;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fastness_resp::Protocol;
use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};

use crate::coroutine::Link;
use crate::library::{bit, json, msgpack, random, strings, structs};
use crate::options::Options;
use crate::script::FunctionSpec;
use api::Api;

/// Collections that are only begun happen once in so many runs, as in Valkey.
const RUNS_PER_STEP: u32 = 50;

/// One Lua state. Scripts have one, functions another.
#[derive(Debug)]
pub(crate) struct State {
    lua: Lua,
    api: Rc<Api>,
    /// What scripts have as their globals: a read-only view.
    env: Table,
    /// What is behind it.
    globals: Table,
    /// Calls a function and catches its error: `(function, keys, arguments)`.
    run: Function,
    /// Runs the code of a library.
    load: Function,
    /// Compiled scripts, or the functions of libraries, by a number that [`State::keep`] gives.
    kept: Table,
    /// Runs since the last step of a collection.
    runs: Cell<u32>,
    /// Bytes that were left after the last complete collection.
    kept_bytes: Cell<usize>,
    memory_max: usize,
}

/// How a call ended.
pub(crate) enum Called {
    /// It returned this.
    Returned(Value),
    /// It raised this.
    Raised(Value),
}

fn libraries(lua: &Lua, native: &Table, link: &Rc<Link>) -> mlua::Result<()> {
    let registry = native::Registry { lua, table: native.clone() };
    strings::add(&registry, link)?;
    random::add(&registry)?;
    native.raw_set("bit", bit::table(lua)?)?;
    native.raw_set("struct", structs::table(lua)?)?;
    native.raw_set("cmsgpack", msgpack::table(lua, link)?)?;
    native.raw_set("cjson", json::table(lua, link)?)
}

fn replaced(lua: &Lua, native: &Table, proxies: &Table) -> mlua::Result<()> {
    raw::install(lua, native, proxies)?;
    let globals = lua.globals();
    raw::entries(lua, native)?;
    native.raw_set("pairs", raw::pairs(lua, native.raw_get("next")?)?)?;
    native.raw_set("unpack", raw::unpacking(lua)?)?;
    native.raw_set("collectgarbage", raw::collecting(lua, globals.raw_get("collectgarbage")?)?)?;
    native.raw_set("setmetatable", raw::guarded(lua, proxies, globals.raw_get("setmetatable")?)?)?;
    let table: Table = globals.raw_get("table")?;
    for name in ["insert", "remove", "sort", "setn"] {
        native.raw_set(format!("table_{name}"), raw::guarded(lua, proxies, table.raw_get(name)?)?)?;
    }
    let coroutine: Table = globals.raw_get("coroutine")?;
    native.raw_set("resume", raw::passing_kills(lua, proxies, coroutine.raw_get("resume")?)?)
}

impl State {
    /// A new state, for scripts or for functions.
    pub(crate) fn new(options: &Options, link: &Rc<Link>, is_eval: bool) -> mlua::Result<State> {
        let lua = open();
        let protocol = Cell::new(Protocol::Resp2);
        let api = Rc::new(Api { link: Rc::clone(link), protocol, registered: RefCell::new(None) });
        let (native, proxies) = (lua.create_table()?, lua.create_table()?);
        replaced(&lua, &native, &proxies)?;
        libraries(&lua, &native, link)?;
        native.raw_set("proxies", proxies)?;
        native.raw_set("is_eval", is_eval)?;
        native.raw_set("api", api::table(&lua, &api, options.server_version, is_eval)?)?;
        native.raw_set("load_api", api::load_table(&lua, &api, options.server_version)?)?;
        let built: Table = lua.load(include_str!("sandbox.lua")).set_name("=sandbox").call(native)?;
        let env: Table = built.raw_get("env")?;
        lua.set_globals(env.clone())?;
        let hooked = Rc::clone(link);
        let triggers = HookTriggers::new().every_nth_instruction(options.slice_instructions.max(1_000));
        lua.set_global_hook(triggers, move |_, _| match hooked.slice() {
            Ok(()) => Ok(VmState::Continue),
            Err(_) => Err(mlua::Error::runtime("the run was killed")),
        })?;
        lua.gc_collect()?;
        // Lua 5.1 does not collect when memory is short, so collections begin early.
        lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(120).step_multiplier(300)));
        lua.set_memory_limit(options.memory_max)?;
        let kept = lua.create_table()?;
        let (globals, run, load) = (built.raw_get("globals")?, built.raw_get("run")?, built.raw_get("load")?);
        let (runs, kept_bytes) = (Cell::new(0), Cell::new(lua.used_memory()));
        Ok(State { lua, api, env, globals, run, load, kept, runs, kept_bytes, memory_max: options.memory_max })
    }

    /// Bytes that the state uses.
    pub(crate) fn bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// The version in which the running script wants replies.
    pub(crate) fn protocol(&self) -> Protocol {
        self.api.protocol.get()
    }

    /// Compiles code.
    pub(crate) fn compile(&self, code: &[u8], name: &str) -> mlua::Result<Function> {
        let chunk = self.lua.load(code).set_name(name).set_mode(ChunkMode::Text);
        chunk.set_environment(self.env.clone()).into_function()
    }

    /// Keeps a function under a number.
    pub(crate) fn keep(&self, number: u64, function: &Function) -> mlua::Result<()> {
        self.kept.raw_set(number, function)
    }

    /// A function that was kept.
    pub(crate) fn kept(&self, number: u64) -> mlua::Result<Function> {
        self.kept.raw_get(number)
    }

    /// Forgets a function that was kept.
    pub(crate) fn release(&self, number: u64) {
        // A field that exists is set without memory, so this cannot fail for lack of it.
        let _ = self.kept.raw_set(number, Value::Nil);
    }

    fn list(&self, strings: &[Vec<u8>]) -> mlua::Result<Table> {
        let list = self.lua.create_table_with_capacity(strings.len(), 0)?;
        for (index, string) in strings.iter().enumerate() {
            list.raw_set(index + 1, self.lua.create_string(string)?)?;
        }
        Ok(list)
    }

    /// Calls a script, with its keys and arguments as globals, or a function, with them as arguments.
    pub(crate) fn call(
        &self,
        function: &Function,
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        is_eval: bool,
    ) -> mlua::Result<Called> {
        self.api.protocol.set(Protocol::Resp2);
        let (keys, args) = (self.list(keys)?, self.list(args)?);
        let (is_ok, value) = if is_eval {
            self.globals.raw_set("KEYS", keys)?;
            self.globals.raw_set("ARGV", args)?;
            self.run.call(function)?
        } else {
            self.run.call((function, keys, args))?
        };
        Ok(if is_ok { Called::Returned(value) } else { Called::Raised(value) })
    }

    /// Runs the code of a library; the functions that it has registered.
    pub(crate) fn load(&self, code: &Function) -> mlua::Result<Result<Vec<(FunctionSpec, Function)>, Value>> {
        self.api.registered.replace(Some(Vec::new()));
        let ended: mlua::Result<(bool, Value)> = self.load.call(code);
        let registered = self.api.registered.take().unwrap_or_default();
        let (is_ok, value) = ended?;
        Ok(if is_ok { Ok(registered) } else { Err(value) })
    }

    /// Lifts the memory limit after a script has ended, perhaps because it had reached it: what remains to be done
    /// takes little.
    pub(crate) fn lift_limit(&self) {
        // The limit can always be set in a state that has the allocator of mlua.
        let _ = self.lua.set_memory_limit(0);
    }

    /// Ends a run: forgets keys and arguments, collects what the run has left behind, and puts the limit into force. A
    /// little is collected each time, and everything when the state has become large since that was done last.
    pub(crate) fn settle(&self) {
        self.lift_limit();
        let nothing_left = [self.globals.raw_set("KEYS", Value::Nil), self.globals.raw_set("ARGV", Value::Nil)];
        let runs = self.runs.get() + 1;
        self.runs.set(runs % RUNS_PER_STEP);
        let threshold = (self.memory_max / 8).max(2 * self.kept_bytes.get());
        if self.bytes() > threshold.min(self.memory_max / 2) {
            // A collection that fails leaves the state as large as it is, which `is_exhausted` sees.
            let _ = self.lua.gc_collect();
            self.kept_bytes.set(self.bytes());
        } else if runs == RUNS_PER_STEP {
            let _ = self.lua.gc_step();
        }
        let _ = (nothing_left, self.lua.set_memory_limit(self.memory_max));
    }

    /// Whether the state keeps so much that it has to be replaced.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.bytes() > self.memory_max / 2
    }
}

/// A Lua state with the libraries of which the sandbox is built. `debug` is among them: the sandbox finds where errors
/// are raised with it, and does not pass it on.
#[allow(unsafe_code)]
fn open() -> Lua {
    let libraries = StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::MATH | StdLib::DEBUG;
    // SAFETY: scripts cannot reach `debug`, the loaders of modules or of compiled code, see sandbox.lua.
    unsafe { Lua::unsafe_new_with(libraries, LuaOptions::new().catch_rust_panics(true)) }
}
