//! The functions that have to use Lua's C interface: those that raise errors with Lua values, those that catch errors,
//! and those that see through read-only tables.
//!
//! Each of them may be left by a jump of Lua's (an error raised below it), so none has anything to drop.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::raw::c_int;

use mlua::ffi::{self, lua_State, lua_upvalueindex};
use mlua::{Function, Lua, Table};

use crate::coroutine::is_killed_here;

/// A Lua function that calls `inner` and returns its results after the first, which says how it went: true; nil and a
/// text, which is raised with the position of the caller, or as an error of an argument if its number follows; false
/// and a value, which is raised as it is.
pub(crate) fn raising(lua: &Lua, inner: Function) -> mlua::Result<Function> {
    closure(lua, (inner,), 1, raise_first)
}

/// As [`raising`], for as many arguments as Lua's stack takes: `inner` gets a table with them, and their number.
pub(crate) fn raising_long(lua: &Lua, inner: Function) -> mlua::Result<Function> {
    closure(lua, (inner,), 1, raise_long)
}

/// As [`raising`], for a function that the sandbox's own Lua code calls: the position is that of the script.
/// `is_entered`: the code was called through one of [`entries`].
pub(crate) fn raising_above(lua: &Lua, inner: Function, is_entered: bool) -> mlua::Result<Function> {
    closure(lua, (inner,), 1, if is_entered { raise_third } else { raise_second })
}

/// Adds C functions that check their arguments and call the functions of these names in `into`, which are Lua's: a Lua
/// function has no caller when it is called at the end of another one, so it could not say where an error was.
pub(crate) fn entries(lua: &Lua, into: &Table) -> mlua::Result<()> {
    let functions: [(&str, ffi::lua_CFunction); 5] =
        [("gsub", gsub), ("gmatch", gmatch), ("load", load), ("loadstring", loadstring), ("foreach", foreach)];
    let wrapped = lua.create_table()?;
    for (name, function) in functions {
        wrapped.raw_set(name, closure(lua, (into.clone(), name), 2, function)?)?;
    }
    into.raw_set("entries", wrapped)
}

/// The functions of the base library that are replaced, by name. `proxies` has the table behind each read-only one.
pub(crate) fn install(lua: &Lua, into: &Table, proxies: &Table) -> mlua::Result<()> {
    let functions: [(&str, ffi::lua_CFunction); 11] = [
        ("pcall", pcall),
        ("xpcall", xpcall),
        ("next", next),
        ("rawget", rawget),
        ("rawset", rawset),
        ("getmetatable", getmetatable),
        ("nonexistent", nonexistent),
        ("readonly", readonly),
        ("pass_kill", pass_kill_on),
        ("attempt", attempt),
        ("protect", protect),
    ];
    for (name, function) in functions {
        into.raw_set(name, closure(lua, (proxies.clone(),), 1, function)?)?;
    }
    Ok(())
}

/// A function that passes its arguments to `original` unless the first one is a read-only table.
pub(crate) fn guarded(lua: &Lua, proxies: &Table, original: Function) -> mlua::Result<Function> {
    closure(lua, (proxies.clone(), original), 2, guard)
}

/// `pairs`, with this `next`.
pub(crate) fn pairs(lua: &Lua, next: Function) -> mlua::Result<Function> {
    closure(lua, (next,), 1, begin_pairs)
}

/// `unpack`. Lua's own counts the results in 32 bits, and a compiler may remove its check of them (CVE-2025-46817).
pub(crate) fn unpacking(lua: &Lua) -> mlua::Result<Function> {
    closure(lua, (), 0, unpack)
}

/// `collectgarbage`, except for what would change the collector for all scripts, which has no effect.
pub(crate) fn collecting(lua: &Lua, original: Function) -> mlua::Result<Function> {
    closure(lua, (false, original), 2, collect)
}

/// A function that passes its arguments to `original` and raises an error afterwards if the run was killed meanwhile.
pub(crate) fn passing_kills(lua: &Lua, proxies: &Table, original: Function) -> mlua::Result<Function> {
    closure(lua, (proxies.clone(), original), 2, call_original)
}

fn closure(
    lua: &Lua,
    upvalues: impl mlua::IntoLuaMulti,
    count: c_int,
    function: ffi::lua_CFunction,
) -> mlua::Result<Function> {
    // SAFETY: the stack has the `count` upvalues on its top, and becomes one value higher at most.
    unsafe { lua.exec_raw(upvalues, |state| ffi::lua_pushcclosure(state, function, count)) }
}

/// Arguments of a function that keeps handles of all of them: the stack on which they are kept has 8000 places.
const ARGUMENTS_MAX: c_int = 7_000;

unsafe extern "C-unwind" fn raise_first(state: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(state) > ARGUMENTS_MAX {
            raise_static(state, 1, c"too many arguments");
        }
        call_and_raise(state, 1)
    }
}

unsafe extern "C-unwind" fn raise_second(state: *mut lua_State) -> c_int {
    unsafe { call_and_raise(state, 2) }
}

unsafe extern "C-unwind" fn raise_third(state: *mut lua_State) -> c_int {
    unsafe { call_and_raise(state, 3) }
}

unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        // Lua's own takes limits for integers of 32 bits, too.
        let first = ffi::luaL_optinteger(state, 2, 1) as c_int;
        let last = if ffi::lua_isnoneornil(state, 3) != 0 {
            ffi::lua_objlen(state, 1) as c_int
        } else {
            ffi::luaL_checkinteger(state, 3) as c_int
        };
        if first > last {
            return 0;
        }
        let count = i64::from(last) - i64::from(first) + 1;
        match c_int::try_from(count) {
            Ok(count) if ffi::lua_checkstack(state, count) != 0 => {
                (first..=last).for_each(|at| ffi::lua_rawgeti_(state, 1, at));
                count
            }
            _ => raise_static(state, 1, c"too many results to unpack"),
        }
    }
}

/// Calls the Lua function that is named by the second upvalue in the table that is the first one.
unsafe fn enter(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        let count = ffi::lua_gettop(state);
        ffi::lua_pushvalue(state, lua_upvalueindex(2));
        ffi::lua_rawget(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, count, ffi::LUA_MULTRET);
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn gsub(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
        ffi::luaL_optinteger(state, 4, 0);
        let kind = ffi::lua_type(state, 3);
        if ![ffi::LUA_TNUMBER, ffi::LUA_TSTRING, ffi::LUA_TFUNCTION, ffi::LUA_TTABLE].contains(&kind) {
            return ffi::luaL_argerror(state, 3, c"string/function/table expected".as_ptr());
        }
        enter(state)
    }
}

unsafe extern "C-unwind" fn gmatch(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        ffi::luaL_checklstring(state, 2, std::ptr::null_mut());
        enter(state)
    }
}

unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TFUNCTION);
        enter(state)
    }
}

unsafe extern "C-unwind" fn loadstring(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checklstring(state, 1, std::ptr::null_mut());
        enter(state)
    }
}

unsafe extern "C-unwind" fn foreach(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checktype(state, 2, ffi::LUA_TFUNCTION);
        enter(state)
    }
}

/// Bytes of the strings among these arguments.
const ARGUMENT_BYTES_MAX: usize = 512 * 1024 * 1024;

unsafe extern "C-unwind" fn raise_long(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        let count = ffi::lua_gettop(state);
        let mut bytes = 0;
        for index in 1..=count {
            if ffi::lua_type(state, index) == ffi::LUA_TSTRING {
                bytes += ffi::lua_objlen(state, index);
            }
        }
        if bytes > ARGUMENT_BYTES_MAX {
            raise_static(state, 1, c"the arguments are too long");
        }
        ffi::lua_createtable(state, count, 0);
        ffi::lua_insert(state, 1);
        for index in (1..=count).rev() {
            ffi::lua_rawseti(state, 1, ffi::lua_Integer::from(index));
        }
        ffi::lua_pushnumber(state, f64::from(count));
        call_and_raise(state, 1)
    }
}

unsafe fn call_and_raise(state: *mut lua_State, level: c_int) -> c_int {
    unsafe {
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        let count = ffi::lua_gettop(state);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, count, ffi::LUA_MULTRET);
        if ffi::lua_isnil(state, 1) != 0 {
            if ffi::lua_isnumber(state, 3) != 0 {
                let number = ffi::lua_tonumber(state, 3) as c_int;
                return ffi::luaL_argerror(state, number, ffi::lua_tolstring(state, 2, std::ptr::null_mut()));
            }
            raise_text(state, level, 2);
        }
        if ffi::lua_toboolean(state, 1) == 0 {
            ffi::lua_settop(state, 2);
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - 1
    }
}

/// Raises the text at `index` with the position of the function at `level`.
unsafe fn raise_text(state: *mut lua_State, level: c_int, index: c_int) -> ! {
    unsafe {
        ffi::luaL_where(state, level);
        ffi::lua_pushvalue(state, index);
        ffi::lua_concat(state, 2);
        ffi::lua_error(state)
    }
}

unsafe fn raise_static(state: *mut lua_State, level: c_int, text: &'static CStr) -> ! {
    unsafe {
        ffi::lua_settop(state, 0);
        ffi::lua_pushliteral(state, text);
        raise_text(state, level, 1)
    }
}

/// What a script that was killed would catch.
const KILLED: &CStr = c"the run was killed";

const READ_ONLY: &CStr = c"Attempt to modify a readonly table";

/// Replaces a read-only table at `index` by the table behind it.
unsafe fn see_through(state: *mut lua_State, index: c_int) -> bool {
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE || ffi::lua_getmetatable(state, index) == 0 {
            return false;
        }
        ffi::lua_settop(state, -2);
        ffi::lua_pushvalue(state, index);
        ffi::lua_rawget(state, lua_upvalueindex(1));
        if ffi::lua_isnil(state, -1) != 0 {
            ffi::lua_settop(state, -2);
            return false;
        }
        ffi::lua_replace(state, index);
        true
    }
}

unsafe fn refuse_read_only(state: *mut lua_State) {
    unsafe {
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        if ffi::lua_gettop(state) > 0 && see_through(state, 1) {
            ffi::lua_pushliteral(state, READ_ONLY);
            ffi::lua_error(state);
        }
    }
}

/// Passes the error on top of the stack on if the run was killed.
unsafe fn pass_kill(state: *mut lua_State) {
    unsafe {
        if is_killed_here() {
            ffi::lua_error(state);
        }
    }
}

/// As Valkey's: an error table with a text is replaced by its text.
unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkany(state, 1);
        ffi::luaL_checkstack(state, 4, c"too many arguments".as_ptr());
        let count = ffi::lua_gettop(state);
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        if ffi::lua_pcall(state, count - 1, ffi::LUA_MULTRET, 0) != 0 {
            pass_kill(state);
            ffi::lua_remove(state, 1);
            if ffi::lua_istable(state, -1) != 0 {
                ffi::lua_getfield(state, -1, c"err".as_ptr());
                if ffi::lua_isstring(state, -1) != 0 {
                    ffi::lua_replace(state, -2);
                }
            }
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, 1);
        }
        ffi::lua_gettop(state)
    }
}

unsafe extern "C-unwind" fn xpcall(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        ffi::lua_pushcclosure(state, handle, 1);
        ffi::lua_insert(state, 1);
        let status = ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 1);
        if status != 0 {
            pass_kill(state);
        }
        ffi::luaL_checkstack(state, 2, c"too many results".as_ptr());
        ffi::lua_pushboolean(state, c_int::from(status == 0));
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

/// For the sandbox: calls a function without arguments; whether it succeeded, and its first result or its error.
unsafe extern "C-unwind" fn attempt(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_settop(state, 1);
        let status = ffi::lua_pcall(state, 0, 1, 0);
        ffi::lua_pushboolean(state, c_int::from(status == 0));
        ffi::lua_insert(state, 1);
        2
    }
}

/// For the sandbox: calls a function, whose error goes through a handler: `(handler, function, arguments...)`. Whether
/// it succeeded, and its first result or its error.
unsafe extern "C-unwind" fn protect(state: *mut lua_State) -> c_int {
    unsafe {
        let status = ffi::lua_pcall(state, ffi::lua_gettop(state) - 2, 1, 1);
        ffi::lua_pushboolean(state, c_int::from(status == 0));
        ffi::lua_insert(state, 2);
        2
    }
}

/// Calls the handler of an `xpcall`, unless the run was killed: Lua calls it from within the hook then, where no other
/// hook runs, so that nothing could stop it.
unsafe extern "C-unwind" fn handle(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::lua_settop(state, 1);
        if !is_killed_here() {
            ffi::lua_pushvalue(state, lua_upvalueindex(1));
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, 1, 1);
        }
        1
    }
}

unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(state, 2);
        see_through(state, 1);
        if ffi::lua_next(state, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(state);
        1
    }
}

unsafe extern "C-unwind" fn begin_pairs(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(state, lua_upvalueindex(1));
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushnil(state);
        3
    }
}

unsafe extern "C-unwind" fn collect(state: *mut lua_State) -> c_int {
    unsafe {
        let option = ffi::luaL_optlstring(state, 1, c"collect".as_ptr(), std::ptr::null_mut());
        let unchanged = [(c"stop", 0), (c"restart", 0), (c"setpause", 200), (c"setstepmul", 200)];
        // SAFETY: a string of Lua's ends with a NUL.
        let option = CStr::from_ptr(option);
        if let Some((_, result)) = unchanged.iter().find(|(name, _)| *name == option) {
            ffi::lua_pushinteger(state, *result);
            return 1;
        }
        run_original(state)
    }
}

unsafe extern "C-unwind" fn rawget(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::lua_settop(state, 2);
        see_through(state, 1);
        ffi::lua_rawget(state, 1);
        1
    }
}

unsafe extern "C-unwind" fn rawset(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(state, 2);
        ffi::luaL_checkany(state, 3);
        ffi::lua_settop(state, 3);
        refuse_read_only(state);
        ffi::lua_rawset(state, 1);
        1
    }
}

/// Hides the metatables that make tables read-only, and those of userdata. What `proxies` has under the string's
/// metatable, and under that of globals, is shown instead of them.
unsafe extern "C-unwind" fn getmetatable(state: *mut lua_State) -> c_int {
    unsafe {
        ffi::luaL_checkany(state, 1);
        ffi::lua_settop(state, 1);
        if ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA || ffi::lua_getmetatable(state, 1) == 0 {
            ffi::lua_pushnil(state);
            return 1;
        }
        ffi::lua_pushvalue(state, 2);
        ffi::lua_rawget(state, lua_upvalueindex(1));
        if ffi::lua_isnil(state, 3) == 0 {
            // False: nothing is shown.
            if ffi::lua_istable(state, 3) == 0 {
                ffi::lua_pushnil(state);
            }
            return 1;
        }
        ffi::lua_settop(state, 2);
        // The field `__metatable`, if there is one, is what the caller gets.
        ffi::luaL_getmetafield(state, 1, c"__metatable".as_ptr());
        1
    }
}

/// `__index` of globals and of the tables of an API.
unsafe extern "C-unwind" fn nonexistent(state: *mut lua_State) -> c_int {
    unsafe {
        if ffi::lua_gettop(state) != 2 {
            raise_static(state, 1, c"Wrong number of arguments to luaProtectedTableError");
        }
        if ffi::lua_isstring(state, 2) == 0 {
            raise_static(state, 1, c"Second argument to luaProtectedTableError must be a string or number");
        }
        ffi::luaL_where(state, 1);
        ffi::lua_pushliteral(state, c"Script attempted to access nonexistent global variable '");
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushliteral(state, c"'");
        ffi::lua_concat(state, 4);
        ffi::lua_error(state)
    }
}

/// `__newindex` of read-only tables.
unsafe extern "C-unwind" fn readonly(state: *mut lua_State) -> c_int {
    unsafe { raise_static(state, 1, READ_ONLY) }
}

/// Raises an error if the run was killed.
unsafe extern "C-unwind" fn pass_kill_on(state: *mut lua_State) -> c_int {
    unsafe {
        if is_killed_here() {
            raise_static(state, 1, KILLED);
        }
        0
    }
}

unsafe extern "C-unwind" fn guard(state: *mut lua_State) -> c_int {
    unsafe {
        refuse_read_only(state);
        run_original(state)
    }
}

unsafe extern "C-unwind" fn call_original(state: *mut lua_State) -> c_int {
    unsafe {
        let count = run_original(state);
        if is_killed_here() {
            raise_static(state, 1, KILLED);
        }
        count
    }
}

/// Runs a C function of Lua's in the frame of the caller, so that its errors name position and function as ever. It
/// must not have upvalues.
unsafe fn run_original(state: *mut lua_State) -> c_int {
    unsafe {
        match ffi::lua_tocfunction(state, lua_upvalueindex(2)) {
            Some(original) => original(state),
            None => 0,
        }
    }
}
