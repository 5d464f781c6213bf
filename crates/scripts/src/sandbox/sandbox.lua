-- Builds what scripts see from the libraries of Lua and from `native`, the functions of this crate.
-- Nothing that a script can reach refers to this chunk's tables themselves: it sees read-only views of them.
local native = ...
local proxies = native.proxies
local getinfo, setmetatable, type, tostring, error = debug.getinfo, setmetatable, type, tostring, error
local sub, concat, pairs, loadstring, xpcall = string.sub, table.concat, pairs, loadstring, native.xpcall
local plain_pcall, string_meta, collectgarbage = pcall, getmetatable(""), collectgarbage

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

-- Where an error counts as raised: in the function that called the C function or the function of this chunk.
local function handler(err)
  local level = 2
  local info = getinfo(level, "nSl")
  if info and info.what == "C" then
    level = level + 1
    info = getinfo(level, "nSl")
  end
  while info and info.source == "=sandbox" do
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

local function gsub(s, pattern, repl, limit)
  local kind = type(repl)
  if kind ~= "function" and kind ~= "table" then
    return native.gsub_text(s, pattern, repl, limit)
  end
  s, pattern, limit = native.gsub_start(s, pattern, limit)
  local parts, count, at, copied = {}, 0, 0, 0
  while count < limit and at <= #s do
    local first, last, value = replacement(repl, kind == "table", native.gsub_next(s, pattern, at))
    if not first then break end
    if not value then
      value = sub(s, first, last)
    elseif type(value) ~= "string" and type(value) ~= "number" then
      error("invalid replacement value (a " .. type(value) .. ")", 2)
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

local function gmatch(s, pattern)
  s, pattern = native.gmatch_start(s, pattern)
  local at = 0
  local function captures(next_at, ...)
    at = next_at
    return ...
  end
  return function()
    return captures(native.gmatch_next(s, pattern, at))
  end
end

local function load(reader, name)
  if type(reader) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. (reader == nil and "no value" or type(reader)) .. ")", 2)
  end
  local parts = {}
  while true do
    local ok, part = plain_pcall(reader)
    if native.is_killed() then native.raise("the run was killed") end
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

local strings = copy(string)
for _, name in pairs {"find", "match", "rep"} do strings[name] = native[name] end
strings.gmatch, strings.gfind, strings.gsub = gmatch, gmatch, gsub
local tables = copy(table)
for _, name in pairs {"insert", "remove", "sort", "setn"} do tables[name] = native["table_" .. name] end
local function foreach(t, f)
  for k, v in native.next, t do
    local result = f(k, v)
    if result ~= nil then return result end
  end
end
tables.foreach = foreach
local maths = copy(math)
maths.random, maths.randomseed = native.random, native.randomseed
local coroutines = copy(coroutine)
coroutines.resume = native.resume

-- What would change the collector for all scripts has no effect.
local function collect(option, argument)
  option = option or "collect"
  if option == "stop" or option == "restart" then return 0 end
  if option == "setpause" or option == "setstepmul" then return 200 end
  return collectgarbage(option, argument)
end

local globals = {
  _VERSION = _VERSION, assert = assert, collectgarbage = collect, error = error, gcinfo = gcinfo,
  getmetatable = native.getmetatable, ipairs = ipairs, load = load, next = native.next, pcall = native.pcall,
  rawequal = rawequal, rawget = native.rawget, rawset = native.rawset, select = select,
  setmetatable = native.setmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = native.xpcall,
  loadstring = function(code, name)
    if type(code) ~= "string" and type(code) ~= "number" then
      local got = code == nil and "no value" or type(code)
      error("bad argument #1 to 'loadstring' (string expected, got " .. got .. ")", 2)
    end
    return native.loadstring(code, name)
  end,
  pairs = function(t)
    if type(t) ~= "table" then
      error("bad argument #1 to 'pairs' (table expected, got " .. (t == nil and "no value" or type(t)) .. ")", 2)
    end
    return native.next, t, nil
  end,
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

-- What scripts and functions have as their globals. `seen` is what is behind it.
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
      return xpcall(function() return f(keys, args) end, handler)
    end
    return xpcall(f, handler)
  end,
  load = function(f)
    meta.__index = loading
    proxies[env] = loading
    local ok, err = plain_pcall(f)
    meta.__index = globals
    proxies[env] = globals
    return ok, err
  end,
}
