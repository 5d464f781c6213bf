//! Compares scripts with those of a real Valkey server: every snippet is run here, with its commands answered by the
//! server, and then by EVAL of the server, in both versions of the protocol. The replies must be equal.

#![allow(clippy::unwrap_used)]

#[path = "../../acl/tests/against_valkey/server.rs"]
mod server;

use fastness_resp::{Protocol, ReplyBuf, Value, value};
use fastness_scripts::{Answer, CallerFacts, Options, Origin, Program, Run, Scripts, Step};

use server::{Connection, Server};

const KEYS: [&str; 2] = ["k1", "k2"];
const ARGS: [&str; 3] = ["a", "b", "3"];

/// Snippets that are longer than a line.
const LONG: &[&str] = &[
    "#!lua\nreturn 1",
    "#!lua flags=no-writes\nreturn redis.call('get','k1')",
    "#!lua flags=allow-oom,allow-stale,no-writes,allow-cross-slot-keys,no-cluster\nreturn 1",
    "#!lua flags=nosuch\nreturn 1",
    "#!lua flags=\nreturn 1",
    "#!lua flags=no-writes,\nreturn 1",
    "#!LUA\nreturn 1",
    "#!nosuch\nreturn 1",
    "#!\nreturn 1",
    "#!lua other=1\nreturn 1",
    "#!lua \"flags=no-writes\"\nreturn 1",
    "#!lua \"flags\nreturn 1",
    "#!lua",
    "#!lua\nreturn nosuch",
    "local x = 1\n\nerror('third line')",
    "local function f()\n  return redis.call('nosuch')\nend\nreturn f()",
    "local function f()\n  error({err='E x'})\nend\nlocal ok, e = pcall(f)\nreturn e",
    "return 1\nreturn 2",
    "x = \n\n1",
];

/// Snippets whose replies differ, each with the reason.
const DIFFERENT: &[(&str, &str)] =
    &[("return pcall()", "Valkey calls a function that is not there, and returns what is left")];

/// What the server answers to a command, as a script sees it.
fn reply_for_script(reply: Value) -> Value {
    match reply {
        Value::Error(line) if line.starts_with(b"ERR unknown command") => {
            Value::Error(b"ERR Unknown command called from script".to_vec())
        }
        Value::Error(line) if line.starts_with(b"ERR wrong number of arguments for") => {
            Value::Error(b"ERR Wrong number of args calling command from script".to_vec())
        }
        reply => reply,
    }
}

/// Connections to the server in both versions.
struct Peers {
    resp2: Connection,
    resp3: Connection,
}

impl Peers {
    fn new(server: &Server) -> Peers {
        let mut resp3 = server.connect();
        resp3.call(&["HELLO", "3"]);
        Peers { resp2: server.connect(), resp3 }
    }

    fn of(&mut self, protocol: Protocol) -> &mut Connection {
        match protocol {
            Protocol::Resp2 => &mut self.resp2,
            Protocol::Resp3 => &mut self.resp3,
        }
    }

    /// The answer to a step.
    fn answer(&mut self, step: &Step) -> Answer {
        match step {
            Step::Call { args, protocol } => {
                let reply = reply_for_script(self.of(*protocol).call(args));
                let mut encoded = ReplyBuf::new(*protocol);
                reply.encode(&mut encoded);
                Answer::Reply(encoded.to_vec())
            }
            Step::MayRun { args } => Answer::MayRun(args[0].eq_ignore_ascii_case(b"get").then_some(true)),
            _ => Answer::Continue,
        }
    }
}

/// The reply of this crate.
fn ours(scripts: &mut Scripts, peers: &mut Peers, source: &str, protocol: Protocol) -> Vec<u8> {
    let sha = match scripts.load(source.as_bytes(), Origin::Eval) {
        Ok(sha) => sha,
        Err(error) => {
            let mut reply = ReplyBuf::new(protocol);
            reply.error(&error.line);
            return reply.to_vec();
        }
    };
    let [keys, args] = [&KEYS[..], &ARGS[..]].map(|list| list.iter().map(|word| word.as_bytes().to_vec()).collect());
    let mut run = scripts.start(Program::Script(sha), keys, args, CallerFacts { protocol }).unwrap();
    let mut step = run.step(Answer::Continue);
    loop {
        match step {
            Step::Done(outcome) => return outcome.reply,
            other => step = run.step(peers.answer(&other)),
        }
    }
}

fn shown(reply: &[u8]) -> String {
    match value::parse(reply) {
        Ok(Some((value, length))) if length == reply.len() => text(&value),
        _ => format!("no reply: {}", reply.escape_ascii()),
    }
}

fn text(value: &Value) -> String {
    let all = |values: &[Value]| values.iter().map(text).collect::<Vec<_>>().join(", ");
    match value {
        Value::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Simple(bytes) => format!("+{}", bytes.escape_ascii()),
        Value::Error(bytes) => format!("-{}", bytes.escape_ascii()),
        Value::Array(values) => format!("[{}]", all(values)),
        other => format!("{other:?}"),
    }
}

#[test]
fn scripts_reply_as_those_of_valkey() {
    let Some(server) = Server::start() else { return };
    let mut peers = Peers::new(&server);
    let mut scripts = Scripts::new(Options { server_version: version(&mut peers.resp2), ..Options::default() });
    let lines = include_str!("against_valkey/snippets.lua").lines().filter(|line| !line.starts_with("--"));
    let snippets: Vec<&str> = lines.chain(LONG.iter().copied()).collect();
    let mut wrong = Vec::new();
    for source in &snippets {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            peers.resp2.call(&["FLUSHALL"]);
            let ours = shown(&ours(&mut scripts, &mut peers, source, protocol));
            peers.resp2.call(&["FLUSHALL"]);
            let mut words = vec!["EVAL", source, "2"];
            words.extend(KEYS.iter().chain(&ARGS));
            let theirs = text(&peers.of(protocol).call(&words));
            if ours != theirs && !DIFFERENT.iter().any(|(known, _)| known == source) {
                wrong.push(format!("{source}\n  here:   {ours}\n  valkey: {theirs}"));
            }
        }
    }
    println!("{} scripts were compared in both versions of the protocol", snippets.len());
    assert!(wrong.is_empty(), "{} replies differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Libraries after their first line, which is `#!lua name=lib` unless they have one. None logs: Valkey 9.1.2 crashes.
const LIBRARIES: &[&str] = &[
    "redis.register_function('f', function(keys, args) return {keys[1], args[1], #keys, #args} end)",
    "redis.register_function('f', function() return 1 end) redis.register_function('G', function() return 2 end)",
    "server.register_function{function_name='f', callback=function() return 'named' end, description='text'}",
    "redis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}",
    "redis.register_function{function_name='f', callback=function() return 1 end, flags={'nosuch'}}",
    "redis.register_function{function_name='f', callback=function() return 1 end, flags={5}}",
    "redis.register_function{function_name='f', callback=function() return 1 end, flags='no-writes'}",
    "redis.register_function{function_name='f', callback=5}",
    "redis.register_function{function_name={}, callback=function() end}",
    "redis.register_function{function_name='f', description={}, callback=function() end}",
    "redis.register_function{callback=function() end}",
    "redis.register_function{function_name='f'}",
    "redis.register_function{function_name='f', callback=function() end, other=1}",
    "redis.register_function{function_name='f', callback=function() end, [true]=1}",
    "redis.register_function()",
    "redis.register_function('f')",
    "redis.register_function('f', 5)",
    "redis.register_function({}, function() end)",
    "redis.register_function('f', function() end, 1)",
    "redis.register_function('f-g', function() end)",
    "redis.register_function('', function() end)",
    "redis.register_function('f', function() end) redis.register_function('f', function() end)",
    "redis.register_function('f', function() return KEYS end)",
    "redis.register_function('f', function() x = 1 end)",
    "redis.register_function('f', function() return redis.call('set', 'k1', 'v') end)",
    "redis.register_function('f', function() return redis.call('nosuch') end)",
    "redis.register_function('f', function() return redis.pcall('nosuch') end)",
    "redis.register_function('f', function() error('text') end)",
    "redis.register_function('f', function() error({err='E text'}) end)",
    "redis.register_function('f', function() return redis.register_function end)",
    "redis.register_function('f', function() redis.register_function('g', function() end) end)",
    "redis.register_function('f', function() redis.setresp(3) return redis.call('hgetall', 'k1') end)",
    "redis.register_function('f', function() return redis.breakpoint end)",
    "redis.register_function('f', function() return {type(math), type(cjson), type(redis), type(server), _VERSION} end)",
    "redis.register_function('f', function() return math.random ~= nil end)",
    "local n = 0 redis.register_function('f', function() n = n + 1 return n end)",
    "local t = {} redis.register_function('f', function() t.x = (t.x or 0) + 1 return t.x end)",
    "redis.call('get', 'k1')",
    "redis.nosuch()",
    "return math.floor(1)",
    "return string.rep('x', 3)",
    "pcall(function() end)",
    "x = 1",
    "error('text')",
    "error({err='E text'})",
    "error({})",
    "return nosuch",
    "return return",
    "local a = 1",
    "",
    "#!lua\nlocal a",
    "#!lua name=\nlocal a",
    "#!lua name=a-b\nlocal a",
    "#!lua name=a name=b\nlocal a",
    "#!lua name=a other=b\nlocal a",
    "#!lua name=lib",
    "#!nosuch name=lib\nlocal a",
    "#!LUA name=lib\nredis.register_function('f', function() return 1 end)",
    "#!lua NAME=lib\nredis.register_function('f', function() return 1 end)",
    "#!lua name=\"lib\"\nredis.register_function('f', function() return 1 end)",
    "#!\nlocal a",
    "# no first line\nlocal a",
];

/// Runs to the end; the reply, or what was read.
fn finish(mut run: Run, peers: &mut Peers) -> String {
    let mut step = run.step(Answer::Continue);
    loop {
        match step {
            Step::Done(outcome) => return shown(&outcome.reply),
            Step::Library(Ok(spec)) => return format!("\"{}\"", spec.name.escape_ascii()),
            Step::Library(Err(error)) => {
                let mut reply = ReplyBuf::default();
                reply.error(&error.line);
                return shown(&reply.to_vec());
            }
            other => step = run.step(peers.answer(&other)),
        }
    }
}

/// The replies of this crate to the library and to three calls of its functions.
fn our_functions(code: &str, peers: &mut Peers) -> Vec<String> {
    let mut scripts = Scripts::new(Options::default());
    let mut run = scripts.start_library(code.as_bytes()).unwrap();
    let mut step = run.step(Answer::Continue);
    while !matches!(step, Step::Library(_)) {
        step = run.step(peers.answer(&step));
    }
    let Step::Library(read) = step else { unreachable!("the loop ends with it") };
    let mut replies = Vec::new();
    match read {
        Ok(spec) => {
            replies.push(format!("\"{}\"", spec.name.escape_ascii()));
            scripts.install(spec);
        }
        Err(error) => {
            let mut reply = ReplyBuf::default();
            reply.error(&error.line);
            return vec![shown(&reply.to_vec())];
        }
    }
    for name in ["f", "F", "g"] {
        let (keys, args) = (vec![b"k1".to_vec()], vec![b"a".to_vec(), b"b".to_vec()]);
        replies.push(match scripts.start(Program::Function(name.as_bytes()), keys, args, CallerFacts::default()) {
            Ok(run) => finish(run, peers),
            Err(_) => "-ERR Function not found".to_owned(),
        });
    }
    replies
}

#[test]
fn libraries_are_read_as_those_of_valkey() {
    let Some(server) = Server::start() else { return };
    let mut peers = Peers::new(&server);
    let mut wrong = Vec::new();
    for body in LIBRARIES {
        let code = if body.starts_with('#') { (*body).to_owned() } else { format!("#!lua name=lib\n{body}") };
        peers.resp2.call(&["FLUSHALL"]);
        let ours = our_functions(&code, &mut peers);
        peers.resp2.call(&["FLUSHALL"]);
        peers.resp2.call(&["FUNCTION", "FLUSH"]);
        let loaded = peers.resp2.call(&["FUNCTION", "LOAD", &code]);
        let mut theirs = vec![text(&loaded)];
        if let Value::Bulk(_) = loaded {
            theirs.extend(["f", "F", "g"].map(|name| text(&peers.resp2.call(&["FCALL", name, "1", "k1", "a", "b"]))));
        }
        if ours != theirs {
            wrong.push(format!("{code}\n  here:   {ours:?}\n  valkey: {theirs:?}"));
        }
    }
    println!("{} libraries were compared", LIBRARIES.len());
    assert!(wrong.is_empty(), "{} libraries differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The version of the server.
fn version(connection: &mut Connection) -> (u8, u8, u8) {
    let Value::Bulk(info) = connection.call(&["INFO", "server"]) else { panic!("INFO replies with a text") };
    let info = String::from_utf8(info).unwrap();
    let version = info.lines().find_map(|line| line.strip_prefix("valkey_version:")).unwrap();
    let parts: Vec<u8> = version.split('.').map(|part| part.parse().unwrap()).collect();
    (parts[0], parts[1], parts[2])
}
