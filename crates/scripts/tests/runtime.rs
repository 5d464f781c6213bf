//! Runs in steps: how they stop, resume and end, and what bounds them.

#![allow(clippy::unwrap_used)]

use fastness_resp::Protocol;
use fastness_scripts::{Answer, CallerFacts, Options, Origin, Program, Run, Scripts, Sha, StartError, Step};

fn scripts() -> Scripts {
    Scripts::new(Options { memory_max: 32 * 1024 * 1024, slice_instructions: 10_000, ..Options::default() })
}

fn start(scripts: &mut Scripts, source: &str) -> Run {
    let sha = scripts.load(source.as_bytes(), Origin::Eval).unwrap();
    scripts.start(Program::Script(sha), Vec::new(), Vec::new(), CallerFacts::default()).unwrap()
}

/// Runs to the end; every command is answered with `+OK`, every slice with `Continue`.
fn finish(run: &mut Run) -> String {
    let mut answer = Answer::Continue;
    for _ in 0..1_000_000 {
        answer = match run.step(answer) {
            Step::Call { .. } => Answer::Reply(b"+OK\r\n".to_vec()),
            Step::MayRun { .. } => Answer::MayRun(Some(true)),
            Step::Slice | Step::Log { .. } => Answer::Continue,
            Step::Done(outcome) => return outcome.reply.escape_ascii().to_string(),
            Step::Library(read) => panic!("{read:?}"),
        };
    }
    panic!("the script does not end");
}

fn eval(scripts: &mut Scripts, source: &str) -> String {
    finish(&mut start(scripts, source))
}

/// Lets a script run for some slices, and kills it. It must end at once.
fn kill(scripts: &mut Scripts, source: &str) -> String {
    let mut run = start(scripts, source);
    let mut answer = Answer::Continue;
    for _ in 0..10 {
        answer = match run.step(answer) {
            Step::Slice => Answer::Continue,
            Step::Call { .. } => Answer::Reply(b":1\r\n".to_vec()),
            other => panic!("{source}: {other:?}"),
        };
    }
    match run.step(Answer::Kill(b"ERR killed".to_vec())) {
        Step::Done(outcome) => outcome.reply.escape_ascii().to_string(),
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn a_run_stops_for_calls_and_resumes() {
    let mut scripts = scripts();
    let mut run = start(&mut scripts, "local a = redis.call('incr', 'x') return {a, redis.call('get', 5)}");
    let Step::Call { args, protocol } = run.step(Answer::Continue) else { panic!("the first call") };
    assert_eq!((args, protocol), (vec![b"incr".to_vec(), b"x".to_vec()], Protocol::Resp2));
    assert!(scripts.is_running());
    let sha = Sha::of(b"return 1");
    let busy = scripts.start(Program::Script(sha), Vec::new(), Vec::new(), CallerFacts::default());
    assert_eq!(busy.unwrap_err(), StartError::Busy);
    assert!(scripts.load(b"return 1", Origin::Load).unwrap_err().line.starts_with(b"BUSY"));
    let Step::Call { args, .. } = run.step(Answer::Reply(b":7\r\n".to_vec())) else { panic!("the second call") };
    assert_eq!(args, [b"get".to_vec(), b"5".to_vec()]);
    let Step::Done(outcome) = run.step(Answer::Reply(b"$1\r\nv\r\n".to_vec())) else { panic!("the end") };
    assert_eq!((outcome.reply.as_slice(), outcome.failure), (&b"*2\r\n:7\r\n$1\r\nv\r\n"[..], None));
    assert!(run.is_over() && !scripts.is_running());
}

#[test]
fn no_script_survives_its_kill() {
    let mut scripts = scripts();
    for source in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function(e) while true do end end) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "while true do load(function() while true do end end) end",
        "local function f() pcall(f) while true do end end f()",
        "local t = setmetatable({}, {__index = function() while true do end end}) while true do pcall(function() return t.x end) end",
        "while true do ('x'):gsub('x', function() while true do end end) end",
        "while true do table.sort({1, 2, 3}, function() while true do end end) end",
        "while true do redis.call('incr', 'x') end",
        "while true do redis.pcall('incr', 'x') end",
        "while true do pcall(redis.call, 'incr', 'x') end",
        "while true do coroutine.wrap(function() redis.pcall('incr', 'x') end)() end",
        "while true do local x = ('a'):rep(30000):find(('a-'):rep(40) .. 'b') end",
        "return ('a'):rep(5000):match(('a*'):rep(20) .. 'b')",
        "return ('a'):rep(5000):gsub(('a*'):rep(20) .. 'b', 'c')",
        "local t = {} for i = 1, 100 do t[i] = t end return t",
        "local t = {} for i = 1, 1000 do t[i] = i end local u = {} for i = 1, 1000 do u[i] = t end while true do cjson.encode(u) end",
        "local t = {} for i = 1, 100 do t[i] = t end while true do cmsgpack.pack(t) end",
        "local s = '[' .. ('1,'):rep(100000) .. '1]' while true do cjson.decode(s) end",
    ] {
        let reply = kill(&mut scripts, source);
        assert!(reply.starts_with("-ERR killed"), "{source}: {reply}");
        assert_eq!(eval(&mut scripts, "return 5"), ":5\\r\\n", "after {source}");
    }
}

#[test]
fn a_dropped_run_is_ended() {
    let mut scripts = scripts();
    for source in
        ["while true do end", "while true do pcall(redis.call, 'get', 'x') end", "return redis.call('get', 'x')"]
    {
        let mut run = start(&mut scripts, source);
        run.step(Answer::Continue);
        drop(run);
        assert!(!scripts.is_running());
        drop(start(&mut scripts, source));
        assert_eq!(eval(&mut scripts, "return 5"), ":5\\r\\n");
    }
}

#[test]
fn stacks_are_bounded() {
    let mut scripts = scripts();
    for source in [
        "local function f(n) return 1 + f(n + 1) end return f(1)",
        "local function f() return pcall(f) end return f()",
        "local function f() local ok, e = pcall(f) error(e) end f()",
        "local function f() ('x'):gsub('x', f) end f()",
        "local function f() table.sort({1, 2, 3}, f) end f()",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() return coroutine.resume(coroutine.create(f)) end f()",
        "local function f() return load(f) end f()",
        "local function f() return xpcall(f, f) end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. 'x'] end return t.x",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = tostring return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__concat = function(a, b) return a .. b end return t .. t",
        "local s = 'return 1' for i = 1, 300 do s = 'return function() ' .. s .. ' end' end return loadstring(s)",
        "return loadstring(('('):rep(100000))",
        "return loadstring('return ' .. ('{'):rep(100000))",
        "return loadstring(('a='):rep(100000))",
        "return loadstring('return ' .. ('-'):rep(100000) .. '1')",
        "return loadstring('return 1' .. ('..1'):rep(100000))",
        "return ('x'):rep(3000):find(('x?'):rep(3000) .. 'y')",
        "return ('x'):find(('('):rep(3000))",
        "return ('x'):rep(300):match('.-' .. ('x'):rep(100) .. 'y')",
        "local t = {} local u = t for i = 1, 100000 do u[1] = {} u = u[1] end return t",
        "local t = {} local u = t for i = 1, 100000 do u[1] = {} u = u[1] end return cjson.encode(t)",
        "local t = {} t[1] = t return t",
        "local t = {} t.t = t return cjson.encode(t)",
        "cjson.decode_max_depth(100000000) return cjson.decode(('['):rep(1000000))",
        "cjson.encode_max_depth(1000000) local t = {} local u = t for i = 1, 100000 do u[1] = {} u = u[1] end return cjson.encode(t)",
        "return cmsgpack.unpack(('\\145'):rep(1000000))",
        "return cmsgpack.unpack(('\\129\\1'):rep(1000000))",
        "return cmsgpack.unpack(('\\1'):rep(100000))",
        "return struct.unpack(('b'):rep(100000), ('x'):rep(100000))",
        "return {unpack({}, 1, 7990)}",
        "return pcall(unpack, {}, 0, 2147483647)",
        "return pcall(unpack, {}, -2147483648, 2147483647)",
        "local t = {} for i = 1, 7000 do t[i] = 'x' .. i end return bit.band(unpack(t))",
        "local t = {} for i = 1, 7900 do t[i] = 'x' .. i end return redis.call(unpack(t))",
        "local t = {} for i = 1, 7900 do t[i] = 'x' .. i end return #cmsgpack.pack(unpack(t))",
        "return ('x'):rep(7900):byte(1, -1)",
        "local t = {} for i = 1, 20000 do t[i] = ('x'):gmatch('x') end return #t",
        "local t = {} for i = 1, 500 do t[i] = coroutine.wrap(function() coroutine.yield(1) end) t[i]() end return #t",
    ] {
        let reply = eval(&mut scripts, source);
        assert!(!reply.contains("internal error"), "{source}: {reply}");
        assert_eq!(eval(&mut scripts, "return 5"), ":5\\r\\n", "after {source}");
    }
}

#[test]
fn memory_is_bounded_and_comes_back() {
    let mut scripts = scripts();
    for source in [
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "return ('x'):rep(1e9)",
        "return ('x'):rep(100e6)",
        "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end",
        "local t = {} while true do t[#t + 1] = function() return t end end",
        "local t = {} for i = 1, 3e5 do t[i] = cjson.decode('[{}]') end return #t",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "while true do local ok, e = pcall(function() local s = 'x' while true do s = s .. s end end) if not ok then return e end end",
        "return redis.sha1hex(string.format('%s', ('x'):rep(20e6)) .. ('y'):rep(20e6))",
    ] {
        let reply = eval(&mut scripts, source);
        assert!(reply.starts_with("-ERR") || reply.contains("not enough memory"), "{source}: {reply}");
        assert!(scripts.lua_bytes().0 < 4 * 1024 * 1024, "{source} leaves {} bytes", scripts.lua_bytes().0);
        assert_eq!(eval(&mut scripts, "return 5"), ":5\\r\\n", "after {source}");
    }
    for _ in 0..200 {
        eval(&mut scripts, "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1000) .. i end return #t");
    }
    assert!(scripts.lua_bytes().0 < 16 * 1024 * 1024, "{} bytes of garbage", scripts.lua_bytes().0);
}

#[test]
fn scripts_share_nothing() {
    let mut scripts = scripts();
    for (source, expected) in [
        ("local m = getmetatable('') m.__index.x = 1", "-ERR"),
        ("KEYS.x = 5 KEYS[1] = 'y' return KEYS[1]", "$1"),
        ("return KEYS[1]", "$-1"),
        ("return KEYS.x", "$-1"),
        ("table.insert(string, 'x')", "-ERR"),
        ("return rawget(string, 1)", "$-1"),
        ("local ok = pcall(function() _G.leak = 1 end) return tostring(ok)", "$5\\r\\nfalse"),
        ("return tostring(rawget(_G, 'leak'))", "$3\\r\\nnil"),
        ("local n, t = pairs(redis) rawset(t, 'leak', 1)", "-ERR"),
        (
            "for k, v in pairs(_G) do if type(v) == 'table' then local ok = pcall(rawset, v, 'leak', 1) if ok and k ~= 'KEYS' and k ~= 'ARGV' then return k end end end",
            "$-1",
        ),
        ("collectgarbage('stop') return collectgarbage('setpause', 1e6)", ":200"),
    ] {
        let reply = eval(&mut scripts, source);
        assert!(reply.starts_with(expected), "{source}: {reply}");
    }
}

#[test]
fn the_cache_evicts_what_eval_has_brought() {
    let mut scripts = Scripts::new(Options { cache_bytes_max: 400_000, ..Options::default() });
    let first = scripts.load(b"return 'first'", Origin::Load).unwrap();
    for i in 0..600 {
        scripts.load(format!("return {i}").as_bytes(), Origin::Eval).unwrap();
        assert!(scripts.find(Sha::of(b"return 0")).is_some() || i == 0);
    }
    assert_eq!(scripts.script_count(), 501);
    assert!(scripts.find(first).is_some() && scripts.find(Sha::of(b"return 1")).is_none());
    assert!(scripts.find(Sha::of(b"return 599")).is_some());
    let long = |i: usize| format!("return '{}{i}'", "x".repeat(50_000)).into_bytes();
    let loaded = (0..20).take_while(|i| scripts.load(&long(*i), Origin::Load).is_ok()).count();
    assert!((6..=8).contains(&loaded), "{loaded} scripts of 50 KB in 400 KB");
    assert!(scripts.load(&long(100), Origin::Eval).unwrap_err().line.starts_with(b"ERR The cache"));
    assert!(scripts.script_bytes() <= 400_000);
    assert_eq!(scripts.source(first).unwrap().as_ref(), b"return 'first'");
    assert_eq!(Sha::from_argument(&first.as_bytes().to_ascii_uppercase()), Some(first));
    scripts.flush();
    assert_eq!((scripts.script_count(), scripts.script_bytes(), scripts.find(first)), (0, 0, None));
}

#[test]
fn a_state_that_is_replaced_compiles_its_scripts_again() {
    let mut scripts = scripts();
    let sha = scripts.load(b"return 'again'", Origin::Load).unwrap();
    let run = |scripts: &mut Scripts| {
        finish(&mut scripts.start(Program::Script(sha), Vec::new(), Vec::new(), CallerFacts::default()).unwrap())
    };
    assert_eq!(run(&mut scripts), "$5\\r\\nagain\\r\\n");
    // Compiled code that does not fit next to what is compiled already.
    for i in 0..12 {
        let body: String = (0..20_000).map(|n| format!("t[{n}]='{i}-{n}' ")).collect();
        let _ = scripts.load(format!("local t = {{}} {body} return {i}").as_bytes(), Origin::Load);
        assert_eq!(run(&mut scripts), "$5\\r\\nagain\\r\\n", "after {i}");
    }
}

const LIBRARY: &str = "#!lua name=mylib\n\
    local count = 0\n\
    redis.register_function('echo', function(keys, args) return {keys[1], args[1], #keys, #args} end)\n\
    redis.register_function{function_name='count', callback=function() count = count + 1 return count end,\n\
      flags={'no-writes'}, description='counts'}\n\
    server.register_function('globals', function() return KEYS end)\n\
    server.register_function('call', function(keys) return redis.call('get', keys[1]) end)\n";

fn read(scripts: &mut Scripts, code: &str) -> Result<fastness_scripts::LibrarySpec, String> {
    let mut run = scripts.start_library(code.as_bytes()).unwrap();
    for _ in 0..100 {
        match run.step(Answer::Continue) {
            Step::Slice => {}
            Step::Library(read) => return read.map_err(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }
    match run.step(Answer::Kill(b"ERR FUNCTION LOAD timeout".to_vec())) {
        Step::Library(read) => read.map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn fcall(scripts: &mut Scripts, name: &str) -> String {
    let (keys, args) = (vec![b"k".to_vec()], vec![b"a".to_vec(), b"b".to_vec()]);
    finish(&mut scripts.start(Program::Function(name.as_bytes()), keys, args, CallerFacts::default()).unwrap())
}

#[test]
fn functions_of_libraries_are_called() {
    let mut scripts = scripts();
    let spec = read(&mut scripts, LIBRARY).unwrap();
    let names: Vec<_> = spec.functions.iter().map(|function| function.name.escape_ascii().to_string()).collect();
    assert_eq!(names, ["echo", "count", "globals", "call"]);
    assert_eq!(spec.functions[1].description.as_deref(), Some(&b"counts"[..]));
    assert!(spec.functions[1].flags.no_writes && !spec.functions[0].flags.no_writes);
    // On the replica that has read it, and on one that has not.
    let mut other = self::scripts();
    for scripts in [&mut scripts, &mut other] {
        scripts.install(spec.clone());
        assert_eq!(fcall(scripts, "ECHO"), "*4\\r\\n$1\\r\\nk\\r\\n$1\\r\\na\\r\\n:1\\r\\n:2\\r\\n");
        assert_eq!((fcall(scripts, "count"), fcall(scripts, "count")), (":1\\r\\n".to_owned(), ":2\\r\\n".to_owned()));
        assert!(fcall(scripts, "globals").contains("nonexistent global variable \\'KEYS\\'"));
        assert_eq!(fcall(scripts, "call"), "+OK\\r\\n");
        assert_eq!(scripts.find_function(b"Count").map(|(library, _)| library), Some(b"mylib".to_vec()));
        assert!(scripts.remove(b"mylib") && !scripts.remove(b"mylib"));
        let gone = scripts.start(Program::Function(b"echo"), Vec::new(), Vec::new(), CallerFacts::default());
        assert_eq!(gone.unwrap_err(), StartError::Unknown);
    }
}

#[test]
fn wrong_libraries_are_refused() {
    let mut scripts = scripts();
    for (code, expected) in [
        ("return 1", "ERR Missing library metadata"),
        ("#!lua name=x", "ERR Invalid library metadata"),
        ("#!lua\n", "ERR Library name was not given"),
        ("#!lua name=x name=y\n", "ERR Invalid metadata value, name argument was given multiple times"),
        ("#!lua name=x other=y\n", "ERR Invalid metadata value given: other=y"),
        ("#!nosuch name=x\n", "ERR Engine \\'nosuch\\' not found"),
        ("#!lua name=a-b\n", "ERR Library names can only contain letters"),
        (
            "#!lua name=x\nreturn return",
            "ERR Error compiling function: user_function:2: unexpected symbol near \\'return\\'",
        ),
        ("#!lua name=x\nlocal a", "ERR No functions registered"),
        ("#!lua name=x\nredis.call('get','x')", "ERR Error registering functions: ERR user_function:2: "),
        ("#!lua name=x\nreturn math.random()", "ERR Error registering functions: ERR user_function:2: "),
        (
            "#!lua name=x\nredis.register_function('f')",
            "ERR Error registering functions: ERR calling server.register_function",
        ),
        ("#!lua name=x\nredis.register_function('f', 5)", "ERR Error registering functions: ERR second argument to"),
        (
            "#!lua name=x\nredis.register_function{function_name='f'}",
            "ERR Error registering functions: ERR server.register",
        ),
        (
            "#!lua name=x\nredis.register_function('f', function() end) redis.register_function('f', function() end)",
            "ERR Function already exists in the library",
        ),
        ("#!lua name=x\nredis.register_function('f-g', function() end)", "ERR Function names can only contain letters"),
        ("#!lua name=x\nwhile true do end", "ERR Error registering functions: ERR FUNCTION LOAD timeout"),
        (
            "#!lua name=x\nwhile true do coroutine.wrap(error)() end",
            "ERR Error registering functions: ERR user_function:2:",
        ),
    ] {
        let error = read(&mut scripts, code).unwrap_err();
        assert!(error.starts_with(expected), "{code}: {error}");
    }
    assert!(read(&mut scripts, LIBRARY).is_ok());
}
