//! Whole commands, over RESP and over gRPC: the same requests, the same replies.

use anyhow::{Result, ensure};
use fastness_testkit::payload::{VERSION, sealed};

use super::{Target, call, execute};

const TOO_LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const NOT_A_FLOAT: &str = "-ERR value is not a valid float";
const BAD_FORMAT: &str = "-ERR Bad data format";
const BAD_FOOTER: &str = "-ERR DUMP payload version or checksum are wrong";
const CORRUPTED: &str = "-INVALIDOBJ Corrupted HLL object detected";
const NO_PERMISSION: &str = "User copier has no permissions to access the";

type Request = Vec<Vec<u8>>;

/// A request and its reply.
type Step = (Request, String);

/// The inputs of one CVE, in their order.
struct Row {
    cve: &'static str,
    steps: Vec<Step>,
}

/// A request of words.
fn words(line: &str) -> Request {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

fn steps(lines: &[(&str, &str)]) -> Vec<Step> {
    lines.iter().map(|(line, reply)| (words(line), (*reply).to_owned())).collect()
}

/// Words, and arguments that are no words.
fn with(line: &str, rest: &[&[u8]], reply: impl Into<String>) -> Step {
    let mut request = words(line);
    request.extend(rest.iter().map(|arg| arg.to_vec()));
    (request, reply.into())
}

fn row(cve: &'static str, lines: &[(&str, &str)]) -> Row {
    Row { cve, steps: steps(lines) }
}

/// Offsets and lengths at which a sum overflows.
fn numbers() -> Vec<Row> {
    vec![
        row(
            "CVE-2022-35977: the end of SETRANGE overflows",
            &[
                ("SETRANGE s 9223372036854775807 x", TOO_LONG),
                ("SETRANGE s 9223372036854775806 xyz", TOO_LONG),
                ("SETRANGE s 4294967295 x", TOO_LONG),
                ("SETRANGE s 536870912 x", TOO_LONG),
                ("SETRANGE s 9223372036854775808 x", "-ERR value is not an integer or out of range"),
                ("SETRANGE s -9223372036854775808 x", "-ERR offset is out of range"),
                ("EXISTS s", "0"),
                ("SET s abc", "OK"),
                ("GETRANGE s -9223372036854775808 9223372036854775807", "abc"),
                ("GETRANGE s 9223372036854775807 -9223372036854775808", ""),
                ("DEL s", "1"),
            ],
        ),
        row(
            "CVE-2023-22458 and CVE-2023-25155: the smallest count has no absolute value",
            &[
                ("HSET h a 1 b 2", "2"),
                (
                    "HRANDFIELD h -9223372036854775808",
                    "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ),
                ("HRANDFIELD h -9223372036854775807 WITHVALUES", "-ERR value is out of range"),
                ("HRANDFIELD h -4611686018427387903 WITHVALUES", "-ERR the reply would be too large"),
                ("HRANDFIELD h -9223372036854775807", "-ERR the reply would be too large"),
                ("HRANDFIELD h 9223372036854775808", "-ERR value is not an integer or out of range"),
                ("HRANDFIELD none -9223372036854775807", ""),
                ("HLEN h", "2"),
                ("DEL h", "1"),
            ],
        ),
        row(
            "CVE-2023-28425: a key twice in MSETNX",
            &[
                ("MSETNX {t}a 1 {t}a 2", "1"),
                ("GET {t}a", "2"),
                ("MSETNX {t}b 1 {t}a 2 {t}b 3", "0"),
                ("EXISTS {t}b", "0"),
                ("MSETEX 2 {t}c 1 {t}c 2 NX", "1"),
                ("GET {t}c", "2"),
                ("DEL {t}a {t}a {t}c", "2"),
            ],
        ),
        row(
            "CVE-2023-28856: a field that is no number",
            &[
                ("HINCRBYFLOAT f a inf", "-ERR value is NaN or Infinity"),
                ("HINCRBYFLOAT f a -inf", "-ERR value is NaN or Infinity"),
                ("HINCRBYFLOAT f a nan", NOT_A_FLOAT),
                ("HINCRBYFLOAT f a 1e99999", NOT_A_FLOAT),
                ("EXISTS f", "0"),
                ("HSET f a inf b nan", "2"),
                ("HINCRBYFLOAT f a 1", "-ERR increment would produce NaN or Infinity"),
                ("HINCRBYFLOAT f b 1", "-ERR hash value is not a float"),
                ("HINCRBY f a 1", "-ERR hash value is not an integer"),
                ("HGET f a", "inf"),
                ("HRANDFIELD f 5", "a\nb"),
                ("SET f2 1e308", "OK"),
                ("INCRBYFLOAT f2 inf", "-ERR increment would produce NaN or Infinity"),
                ("INCRBYFLOAT f2 nan", NOT_A_FLOAT),
                ("GET f2", "1e308"),
                ("DEL f", "1"),
            ],
        ),
    ]
}

/// Counts of sets, and counts and scores of sorted sets.
fn sets() -> Vec<Row> {
    vec![
        row(
            "CVE-2023-22458 and CVE-2023-25155 of sets",
            &[
                ("SADD s a", "1"),
                (
                    "SRANDMEMBER s -9223372036854775808",
                    "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ),
                ("SRANDMEMBER s -9223372036854775807", "-ERR the reply would be too large"),
                ("SRANDMEMBER s 9223372036854775808", "-ERR value is not an integer or out of range"),
                ("SRANDMEMBER none -9223372036854775807", ""),
                ("DEL s", "1"),
            ],
        ),
        row(
            "CVE-2023-22458 of sorted sets, and scores that are no numbers",
            &[
                ("ZADD z 1 a 2 b", "2"),
                (
                    "ZRANDMEMBER z -9223372036854775808 WITHSCORES",
                    "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ),
                ("ZRANDMEMBER z -9223372036854775807 WITHSCORES", "-ERR value is out of range"),
                ("ZRANDMEMBER z -4611686018427387903 WITHSCORES", "-ERR the reply would be too large"),
                ("ZRANDMEMBER z 9223372036854775808", "-ERR value is not an integer or out of range"),
                ("ZADD z nan a", NOT_A_FLOAT),
                ("ZADD z inf a", "0"),
                ("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)"),
                ("ZINCRBY z nan b", NOT_A_FLOAT),
                ("ZCARD z", "2"),
                ("DEL z", "1"),
            ],
        ),
    ]
}

/// Commands in commands, and patterns.
fn commands() -> Vec<Row> {
    let stars = "*a".repeat(20_000) + "b";
    let classes = "[".repeat(50_000);
    let questions = "*?".repeat(20_000);
    let name = "a".repeat(3_000);
    let patterned = |before: &str, after: &str, reply: &str| -> Vec<Step> {
        [&stars, &classes, &questions]
            .map(|pattern| {
                let mut request = words(before);
                request.push(pattern.clone().into_bytes());
                request.extend(words(after));
                (request, reply.to_owned())
            })
            .into()
    };
    let mut patterns = vec![(words(&format!("SET {name} v")), "OK".to_owned())];
    patterns.extend(patterned("KEYS", "", ""));
    patterns.extend(patterned("SCAN 0 MATCH", "COUNT 10000", "0\n"));
    patterns.push((words(&format!("HSET patterns {name} v")), "1".to_owned()));
    patterns.extend(patterned("HSCAN patterns 0 MATCH", "COUNT 10000", "0\n"));
    patterns.extend(patterned("COMMAND LIST FILTERBY PATTERN", "", ""));
    patterns.push((words(&format!("DEL {name}")), "1".to_owned()));
    patterns.push((words("DEL patterns"), "1".to_owned()));
    vec![
        row(
            "CVE-2023-36824: COMMAND GETKEYS of a command whose number of keys lies",
            &[
                ("COMMAND GETKEYS MSETEX 2147483647 a 1", "-ERR Invalid arguments specified for command"),
                ("COMMAND GETKEYS MSETEX -1 a 1", "-ERR Invalid arguments specified for command"),
                ("COMMAND GETKEYS MSETEX 9223372036854775808 a 1", "-ERR Invalid arguments specified for command"),
                ("COMMAND GETKEYSANDFLAGS MSETEX 1000000 a 1", "-ERR Invalid arguments specified for command"),
                ("COMMAND GETKEYS EVAL x 2147483647 a", ""),
                ("COMMAND GETKEYS ZUNIONSTORE t 4294967295 a", "-ERR Invalid arguments specified for command"),
                ("COMMAND GETKEYS MSET a", "-ERR Invalid number of arguments specified for command"),
                ("COMMAND GETKEYS MSET a 1 b", "a\nb"),
                ("COMMAND GETKEYS PING", "-ERR The command has no key arguments"),
                ("COMMAND GETKEYS COMMAND GETKEYS GET a", "-ERR The command has no key arguments"),
                ("COMMAND GETKEYS MSET a 1 b 2", "a\nb"),
                ("ACL DRYRUN default MSETEX 2147483647 a 1", "OK"),
            ],
        ),
        Row { cve: "CVE-2022-36021 and CVE-2024-31228: patterns that take for ever, or recurse", steps: patterns },
    ]
}

/// Sorting, positions, and consumers of streams.
fn types() -> Vec<Row> {
    vec![
        row(
            "CVE-2022-35977: SORT and SORT_RO with limits that overflow",
            &[
                ("RPUSH l 3 1 2", "3"),
                ("SORT l LIMIT 9223372036854775807 9223372036854775807", ""),
                ("SORT l LIMIT -9223372036854775808 2", "1\n2"),
                ("SORT_RO l LIMIT 1 9223372036854775807", "2\n3"),
                ("DEL l", "1"),
            ],
        ),
        row(
            "2020: GEORADIUS with two STORE options, of which the last counts",
            &[
                ("COMMAND GETKEYS GEORADIUS g 0 0 1 km STORE a STORE b", "g\nb"),
                ("COMMAND GETKEYS GEORADIUSBYMEMBER g m 1 km STOREDIST a STORE b STOREDIST c", "g\nc"),
                ("GEOADD {g} 13.4 38.1 m", "1"),
                ("GEORADIUS {g} 13.4 38.1 1 km STORE {g}a STORE {g}b", "1"),
                ("EXISTS {g}a", "0"),
                ("ZCARD {g}b", "1"),
                ("DEL {g} {g}b", "2"),
            ],
        ),
        row(
            "CVE-2022-35951, CVE-2022-31144 and CVE-2026-63639: pending entries that are claimed, removed or many",
            &[
                ("XADD s 1 a 1", "1-0"),
                ("XADD s 2 a 1", "2-0"),
                ("XADD s 3 a 1", "3-0"),
                ("XGROUP CREATE s g 0", "OK"),
                ("XREADGROUP GROUP g c NOACK COUNT 1 STREAMS s >", "s\n1-0\na\n1"),
                ("XCLAIM s g c 0 1 2 3 FORCE JUSTID", "1-0\n2-0\n3-0"),
                ("XDEL s 1 2 3", "3"),
                ("XAUTOCLAIM s g c 0 0 COUNT 4611686018427387905", "-ERR COUNT must be > 0"),
                ("XAUTOCLAIM s g c 0 0 COUNT 576460752303423488", "-ERR COUNT must be > 0"),
                ("XAUTOCLAIM s g c 0 0 COUNT 2", "3-0\n\n1-0\n2-0"),
                ("XAUTOCLAIM s g d 0 0 COUNT 576460752303423487", "0-0\n\n3-0"),
                ("XREADGROUP GROUP g c STREAMS s 0", "s\n"),
                ("XGROUP DELCONSUMER s g c", "0"),
                ("XGROUP DESTROY s g", "1"),
                ("DEL s", "1"),
            ],
        ),
    ]
}

/// Users, their selectors, and what COPY may read and write.
fn rights() -> Vec<Row> {
    let syntax = |rule: &str| format!("-ERR Error in ACL SETUSER modifier '{rule}': Syntax error");
    let mut selectors = Vec::new();
    for rule in ["%", "%~", "%~*", "(%~)", "(%~x", "(%)", "(()", "%R~", "((+get))", "(+get", "%R%~a"] {
        let reply = match rule {
            "(%~x" | "(+get" => format!("-ERR Unmatched parenthesis in acl selector starting at '{rule}'."),
            "%R~" => "OK".to_owned(),
            rule => syntax(rule),
        };
        selectors.push((words(&format!("ACL SETUSER broken {rule}")), reply));
    }
    selectors.extend(steps(&[("ACL DELUSER broken", "1"), ("ACL USERS", "default")]));
    let key = |key: &str| format!("{NO_PERMISSION} '{key}' key");
    let mut copies = steps(&[("ACL SETUSER copier on nopass resetkeys %R~src:* %W~dst:* +copy", "OK")]);
    for (arguments, reply) in [
        ("src:a dst:a", "OK".to_owned()),
        ("src:a dst:a DB 0 REPLACE", "OK".to_owned()),
        ("dst:a dst:b", key("dst:a")),
        ("src:a src:b", key("src:b")),
        ("src:a other DB 0 REPLACE", key("other")),
        ("other dst:a REPLACE", key("other")),
        ("dst:a src:a", key("dst:a")),
    ] {
        copies.push((words(&format!("ACL DRYRUN copier COPY {arguments}")), reply));
    }
    copies.extend(steps(&[("ACL DELUSER copier", "1")]));
    let sorts = steps(&[
        ("ACL SETUSER sorter on nopass resetkeys ~own:* +sort_ro", "OK"),
        ("ACL DRYRUN sorter SORT_RO own:a", "OK"),
        ("ACL DRYRUN sorter SORT_RO other", &key("other").replace("copier", "sorter")),
        ("ACL DELUSER sorter", "1"),
    ]);
    vec![
        Row { cve: "CVE-2024-31227: malformed selectors", steps: selectors },
        Row { cve: "2026: COPY reads or writes a key beyond the user's patterns", steps: copies },
        Row { cve: "CVE-2023-41053: SORT_RO reads a key beyond the user's patterns", steps: sorts },
    ]
}

/// HyperLogLogs whose runs are of more registers than there are, or of fewer, and what PFMERGE may read and write.
fn hyperloglogs() -> Vec<Row> {
    let mut steps = Vec::new();
    for runs in [
        [&b"\x7f\xff".repeat(100)[..], b"\x84"].concat(),
        b"\x7f\xff".repeat(1_000_000),
        b"\x87".repeat(100_000),
        b"\x7f\xff\xff".to_vec(),
        b"\x7f".to_vec(),
        Vec::new(),
    ] {
        steps.push(with("SET h", &[&[b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", &runs[..]].concat()], "OK"));
        let lines =
            ["PFCOUNT h", "PFCOUNT h h", "PFMERGE {h}d h", "PFMERGE h", "PFDEBUG GETREG h", "PFDEBUG TODENSE h"];
        for line in lines {
            steps.push((words(line), CORRUPTED.to_owned()));
        }
    }
    steps.push((words("PFADD h a"), CORRUPTED.to_owned()));
    steps.push((words("EXISTS {h}d"), "0".to_owned()));
    steps.push((words("DEL h"), "1".to_owned()));
    let key = |key: &str| format!("{NO_PERMISSION} '{key}' key").replace("copier", "merger");
    let mut merges = self::steps(&[("ACL SETUSER merger on nopass resetkeys %R~src:* %W~out:* ~dst:* +pfmerge", "OK")]);
    for (arguments, reply) in [
        ("dst:a src:a", "OK".to_owned()),
        ("dst:a dst:b src:a", "OK".to_owned()),
        ("out:a src:a", key("out:a")),
        ("src:a dst:a", key("src:a")),
        ("dst:a src:a out:a", key("out:a")),
        ("dst:a other", key("other")),
    ] {
        merges.push((words(&format!("ACL DRYRUN merger PFMERGE {arguments}")), reply));
    }
    merges.push((words("ACL DELUSER merger"), "1".to_owned()));
    vec![
        Row { cve: "CVE-2025-32023: HyperLogLogs of too many registers", steps },
        Row { cve: "PFMERGE reads or writes a key beyond the user's patterns", steps: merges },
    ]
}

/// Payloads of RESTORE that lie.
fn payloads() -> Vec<Row> {
    let restore = |value: &[u8], version: u16, reply: &str| {
        let payload = sealed(value, version);
        with("RESTORE r 0", &[&payload], reply)
    };
    let mut steps = vec![
        with("RESTORE r 0", &[b""], BAD_FOOTER),
        with("RESTORE r 0", &[b"\x00"], BAD_FOOTER),
        with("RESTORE r 0", &[&[0; 10]], BAD_FOOTER),
        restore(b"", VERSION, BAD_FORMAT),
        restore(b"\x00\x01a", u16::MAX, BAD_FOOTER),
    ];
    for value in [
        // A string that is longer than its payload, in every form of a length.
        &b"\x00\x3f"[..],
        b"\x00\x80\xff\xff\xff\xff",
        b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        // Compressed: of an absurd length, with a reference to before its start.
        b"\x00\xc3\x01\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x00",
        b"\x00\xc3\x03\x0a\x20\xff\xff",
        // A hash of no fields, of more fields than bytes, with a field twice, with a list that ends early.
        b"\x04\x00",
        b"\x04\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x02\x01a\x01b\x01a\x01c",
        b"\x10\x07\x07\x00\x00\x00\xff\xff\xff",
        b"\x10\x07\xff\xff\xff\xff\x00\x00\xff",
        // CVE-2026-25243 and the fix for NaN: a sorted set with a score that is no number; an empty list; a stream and
        // a module, neither of which exists.
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f",
        b"\x15\x01\x10\x00",
        b"\x12\x01\x02\x07\x07\x00\x00\x00\x00\x00\xff",
        b"\x07\x81\x00\x00\x00\x00\x00\x00\x00\x01\x00",
        b"\xff",
    ] {
        steps.push(restore(value, VERSION, BAD_FORMAT));
    }
    steps.push(with("EXISTS r", &[], "0"));
    steps.push(restore(b"\x00\x01a", VERSION, "OK"));
    steps.push(with("DEL r", &[], "1"));
    vec![Row { cve: "CVE-2026-21864 and CVE-2026-25243: RESTORE", steps }]
}

/// Texts with zero bytes and line ends, quoted by errors: CVE-2025-67733.
fn injections() -> Vec<Row> {
    let nasty: &[u8] = b"x\0y\r\n+OK\r\n$1\r\nz";
    let steps = vec![
        with("", &[nasty], "-ERR unknown command 'x', with args beginning with: "),
        with("", &[b"no\r\n+OK", b"a\r\nb"], "-ERR unknown command 'no  +OK', with args beginning with: 'a  b' "),
        with("OBJECT", &[nasty], "-ERR unknown subcommand 'x'. Try OBJECT HELP."),
        with("CONFIG SET", &[nasty, b"1"], "-ERR Unknown option or number of arguments for CONFIG SET - 'x'"),
        with("ACL SETUSER injected", &[nasty], "-ERR Error in ACL SETUSER modifier 'x': Syntax error"),
        with("ACL CAT", &[nasty], "-ERR Unknown category 'x'"),
        with("ACL DRYRUN", &[nasty, b"GET", b"k"], "-ERR User 'x' not found"),
        with("ACL DRYRUN default", &[nasty], "-ERR Command 'x' not found"),
        with("INCRBY k", &[nasty], "-ERR value is not an integer or out of range"),
        with("SET n", &[nasty], "OK"),
        with("GET n", &[], String::from_utf8_lossy(nasty)),
        with("INCR n", &[], "-ERR value is not an integer or out of range"),
        with("DEL n", &[], "1"),
    ];
    vec![Row { cve: "CVE-2025-67733: a text that an error quotes ends the error", steps }]
}

fn table() -> Vec<Row> {
    [numbers(), sets(), commands(), types(), rights(), hyperloglogs(), payloads(), injections()]
        .into_iter()
        .flatten()
        .collect()
}

fn shown(request: &[Vec<u8>]) -> String {
    let all = request.join(&b' ').escape_ascii().to_string();
    all.chars().take(120).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_cves_are_answered_over_both_front_ends() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let (mut resp, mut grpc) = (target.resp().await?, target.grpc().await?);
    let mut wrong = Vec::new();
    for Row { cve, steps } in table() {
        for (request, expected) in &steps {
            let reply = call(&mut resp, request).await?;
            if reply != *expected {
                wrong.push(format!("{cve}, RESP: {}: {reply:?}, expected {expected:?}", shown(request)));
            }
        }
        target.check(cve).await?;
        for (request, expected) in &steps {
            let reply = execute(&mut grpc, request).await;
            if reply != *expected {
                wrong.push(format!("{cve}, gRPC: {}: {reply:?}, expected {expected:?}", shown(request)));
            }
        }
        target.check(cve).await?;
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

/// What scripts did to the server that runs them.
const SCRIPTS: [(&str, &str, &str); 10] = [
    (
        "CVE-2018-11218: a length in MessagePack",
        "pcall(cmsgpack.unpack, string.char(0xdd, 255, 255, 255, 255))",
        "false",
    ),
    ("CVE-2018-11219: a length in a struct", "pcall(struct.unpack, '>I4c0', string.char(255, 255, 255, 255))", "false"),
    ("CVE-2020-14147: a size in a format", "pcall(struct.pack, 'i99999999999', 1)", "false"),
    (
        "CVE-2021-32626: a deep table",
        "pcall(cjson.encode, (function() local t = {} for i = 1, 100000 do t = {t} end return t end)())",
        "false",
    ),
    ("CVE-2022-24735: another user's functions", "pcall(function() redis.call = 1 end)", "false"),
    ("CVE-2024-31449: a number of digits", "bit.tohex(65535, -2147483648)", "0000FFFF"),
    ("CVE-2025-46817: a range of unpack", "pcall(unpack, {}, 0, 2147483647)", "false"),
    ("CVE-2025-46818: metatables of strings", "pcall(function() getmetatable('').__index = 1 end)", "false"),
    (
        "CVE-2025-46819: a long string without an end",
        "loadstring('return [' .. string.rep('=', 100000) .. '[x')",
        "nil",
    ),
    (
        "CVE-2025-49844: collections while code is parsed",
        "loadstring(string.rep('local a = {} ', 150)) ~= collectgarbage('collect')",
        "true",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_of_cves_fail_alone() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let (mut resp, mut grpc) = (target.resp().await?, target.grpc().await?);
    for (name, expression, expected) in SCRIPTS {
        let script = format!("return tostring({expression})");
        let request = [&b"EVAL"[..], script.as_bytes(), b"0"].map(<[u8]>::to_vec).to_vec();
        for reply in [call(&mut resp, &request).await?, execute(&mut grpc, &request).await] {
            ensure!(reply == expected, "{name}: {reply:?}, expected {expected:?}");
        }
    }
    target.check("scripts").await
}

/// The commands of the rows in the module's list of what concerns nothing, and scripts that are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_other_cves_are_refused() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let (mut resp, mut grpc) = (target.resp().await?, target.grpc().await?);
    for line in [
        "EVAL x 0",
        "EVALSHA x 0",
        "FCALL x 0",
        "FUNCTION LOAD x",
        "SCRIPT LOAD x",
        "CLUSTER SYNCSLOTS SNAPSHOT",
        "RESTORE-ASKING k 0 x",
        "MODULE LOAD /x",
    ] {
        for reply in [call(&mut resp, &words(line)).await?, execute(&mut grpc, &words(line)).await] {
            ensure!(reply.starts_with("-ERR ") || reply.starts_with("-NOSCRIPT "), "{line}: {reply}");
        }
    }
    let sockets = call(&mut resp, &words("CONFIG GET unixsocket*")).await?;
    ensure!(sockets.is_empty(), "Unix sockets exist: add CVE-2023-45145 to this test");
    target.check("refused commands").await
}
