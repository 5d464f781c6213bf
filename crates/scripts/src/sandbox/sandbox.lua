-- Builds what scripts see from the libraries of Lua and from `native`, the functions of this crate.
-- Nothing that a script can reach refers to this chunk's tables themselves: it sees read-only views of them.
local native = ...
local proxies = native.proxies
local getinfo, setmetatable, type, tostring, error = debug.getinfo, setmetatable, type, tostring, error
local sub, concat, pairs, loadstring, tonumber = string.sub, table.concat, pairs, loadstring, tonumber
local string_meta = getmetatable("")

local function copy(from)
  local to = {}
  for name, value in pairs(from) do to[name] = value end
  return to
end

-- A read-only table through which `real` is seen.
local function view(real)
  local meta = {__index = real, __newindex = native.readonly}
  local proxy = setmetatable({}, meta)
  proxies[proxy] = real
  proxies[meta] = false
  return proxy
end

-- Where an error counts as raised: in the function of the script that called what raised it.
local function handler(err)
  local level = 2
  local info = getinfo(level, "nSl")
  while info and (info.what == "C" or info.source == "=sandbox") do
    level = level + 1
    info = getinfo(level, "nSl")
  end
  if type(err) ~= "table" then
    err = {err = "ERR " .. tostring(err)}
  end
  if info then
    err.source = info.source
    err.line = info.currentline
  end
  return err
end

-- What a match is replaced by, and where it is.
local function replacement(repl, is_table, first, last, ...)
  if not first then return nil end
  if is_table then return first, last, repl[(...)] end
  return first, last, (repl(...))
end

-- Called through an entry in C, as all functions that are put into `native` here: positions of errors are at level 3.
function native.gsub(s, pattern, repl, limit)
  local kind = type(repl)
  if kind ~= "function" and kind ~= "table" then
    return native.gsub_text(s, pattern, repl, limit)
  end
  limit = tonumber(limit) or 2147483647
  local parts, count, at, copied = {}, 0, 0, 0
  while count < limit and at <= #s do
    local first, last, value = replacement(repl, kind == "table", native.gsub_next(s, pattern, at))
    if not first then break end
    if not value then
      value = sub(s, first, last)
    elseif type(value) ~= "string" and type(value) ~= "number" then
      error("invalid replacement value (a " .. type(value) .. ")", 3)
    end
    parts[#parts + 1] = sub(s, copied + 1, first - 1)
    parts[#parts + 1] = value
    count = count + 1
    copied = last
    at = last >= first and last or last + 1
  end
  parts[#parts + 1] = sub(s, copied + 1)
  return concat(parts), count
end

function native.gmatch(s, pattern)
  local at = 0
  local function captures(next_at, ...)
    at = next_at
    return ...
  end
  return function()
    return captures(native.gmatch_next(s, pattern, at))
  end
end

function native.load(reader, name)
  local parts = {}
  while true do
    local ok, part = native.attempt(reader)
    native.pass_kill()
    if not ok then return nil, part end
    if part == nil or part == "" then break end
    if type(part) ~= "string" then
      if type(part) ~= "number" then return nil, "reader function must return a string" end
      part = tostring(part)
    end
    parts[#parts + 1] = part
  end
  return native.loadstring(concat(parts), name or "=(load)")
end

-- Code that starts as compiled code does is no code here: the parser says so.
function native.loadstring(code, name)
  if type(code) == "string" and code:byte(1) == 27 then
    return loadstring(" " .. code, name or code)
  end
  return loadstring(code, name)
end

function native.foreach(t, f)
  for k, v in native.next, t do
    local result = f(k, v)
    if result ~= nil then return result end
  end
end

local strings = copy(string)
for _, name in pairs {"find", "match", "rep"} do strings[name] = native[name] end
strings.gmatch, strings.gfind, strings.gsub = native.entries.gmatch, native.entries.gmatch, native.entries.gsub
local tables = copy(table)
for _, name in pairs {"insert", "remove", "sort", "setn"} do tables[name] = native["table_" .. name] end
tables.foreach = native.entries.foreach
local maths = copy(math)
maths.random, maths.randomseed = native.random, native.randomseed
local coroutines = copy(coroutine)
coroutines.resume = native.resume

local globals = {
  _VERSION = _VERSION, assert = assert, collectgarbage = native.collectgarbage, error = error, gcinfo = gcinfo,
  getmetatable = native.getmetatable, ipairs = ipairs, load = native.entries.load,
  loadstring = native.entries.loadstring, next = native.next, pairs = native.pairs, pcall = native.pcall,
  rawequal = rawequal, rawget = native.rawget, rawset = native.rawset, select = select,
  setmetatable = native.setmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = native.unpack,
  xpcall = native.xpcall,
  string = view(strings), table = view(tables), math = view(maths), coroutine = view(coroutines),
  os = view {clock = os.clock}, cjson = view(native.cjson), cmsgpack = view(native.cmsgpack),
  bit = view(native.bit), struct = view(native.struct),
}
string_meta.__index = strings
proxies[string_meta] = view {__index = globals.string}

local function with_errors(real)
  return setmetatable(real, {__index = native.nonexistent})
end

local api = native.api
globals.server = view(api)
globals.redis = globals.server

-- What scripts and functions have as their globals. A library is loaded with others than it runs with.
local meta = {__index = globals, __newindex = native.readonly}
local env = setmetatable({}, meta)
proxies[env] = globals
proxies[meta] = view {__index = native.nonexistent}
globals._G = env
with_errors(globals)

local loading
if native.is_eval then
  globals.__redis__err__handler, globals.__server__err__handler = handler, handler
else
  local load_api = view(with_errors(native.load_api))
  loading = with_errors {redis = load_api, server = load_api}
end

return {
  env = env,
  globals = globals,
  run = function(f, keys, args)
    if keys then
      return native.protect(handler, f, keys, args)
    end
    return native.protect(handler, f)
  end,
  load = function(f)
    meta.__index = loading
    proxies[env] = loading
    local ok, err = native.attempt(f)
    meta.__index = globals
    proxies[env] = globals
    return ok, err
  end,
}
