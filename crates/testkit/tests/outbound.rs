//! Replicas outside of the cluster: a real Valkey that attaches to a node has the same data, whatever is written
//! meanwhile, and attaches to another node when its own fails. Without a Valkey server the tests are skipped, and say
//! so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_resp::value::parse;
use fastness_resp::{Protocol, Value};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::differential::reference::{ReferenceConnection, SERVER_VARIABLE, words};
use fastness_testkit::ports::Ports;

const PATIENCE: Duration = Duration::from_secs(60);

/// A Valkey server without cluster mode.
struct ValkeyReplica {
    process: Child,
    ports: Ports,
    _folder: tempfile::TempDir,
}

/// The server; without one the reason is printed.
fn server() -> Option<PathBuf> {
    let server = std::env::var_os(SERVER_VARIABLE).map(PathBuf::from);
    if server.is_none() {
        eprintln!("SKIPPED: {SERVER_VARIABLE} names no valkey-server");
    }
    server
}

impl ValkeyReplica {
    fn start(server: &PathBuf) -> Result<ValkeyReplica> {
        let (folder, ports) = (tempfile::tempdir()?, Ports::reserve()?);
        let mut command = Command::new(server);
        command.args(["--port", &ports.at(0).to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().with_context(|| format!("starting {}", server.display()))?;
        Ok(ValkeyReplica { process, ports, _folder: folder })
    }

    fn connect(&self) -> Result<ReferenceConnection> {
        let until = Instant::now() + PATIENCE;
        loop {
            match ReferenceConnection::open("127.0.0.1", self.ports.at(0), Protocol::Resp2) {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Makes it a replica of a node, and waits until it has all data.
    fn follow(&self, cluster: &Cluster, node: u64) -> Result<ReferenceConnection> {
        let source = cluster.front_end(node, 1)?;
        let mut connection = self.connect()?;
        let reply = connection.call(&words(&["REPLICAOF", &source.host, &source.port.to_string()]))?;
        ensure!(reply == b"+OK\r\n", "{}", reply.escape_ascii());
        let until = Instant::now() + PATIENCE;
        while !text(&mut connection, "INFO replication")?.contains("master_link_status:up") {
            ensure!(Instant::now() < until, "it does not follow: {}", text(&mut connection, "INFO replication")?);
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(connection)
    }
}

impl Drop for ValkeyReplica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn call(connection: &mut ReferenceConnection, request: &str) -> Result<Vec<u8>> {
    let parts: Vec<&str> = request.split_whitespace().collect();
    connection.call(&words(&parts))
}

fn text(connection: &mut ReferenceConnection, request: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&call(connection, request)?).into_owned())
}

/// Runs commands, none of which may fail.
fn run(connection: &mut ReferenceConnection, requests: &str) -> Result<()> {
    for request in requests.split('|') {
        let reply = call(connection, request)?;
        ensure!(!reply.starts_with(b"-"), "{request}: {}", reply.escape_ascii());
    }
    Ok(())
}

fn connect(cluster: &Cluster, node: u64) -> Result<ReferenceConnection> {
    let endpoint = cluster.front_end(node, 1)?;
    ReferenceConnection::open(&endpoint.host, endpoint.port, Protocol::Resp2)
}

/// Data of every type, small and large. `prefix` tells its keys from others, and has them in one slot.
fn load(connection: &mut ReferenceConnection, prefix: &str) -> Result<()> {
    let long = "v".repeat(30_000);
    for i in 0..300 {
        run(
            connection,
            &format!(
                "SET {prefix}:s{i} {i}|HSET {prefix}:h f{i} {i} g{i} x|RPUSH {prefix}:l {i} a b|SADD {prefix}:t {i} m{i}|\
                 ZADD {prefix}:z {i}.25 m{i}|XADD {prefix}:x * f {i}"
            ),
        )?;
    }
    run(
        connection,
        &format!(
            "SET {prefix}:long {long}|APPEND {prefix}:long x|SETRANGE {prefix}:long 7 yy|SET {prefix}:ttl v PX 600000|\
             RPUSH {prefix}:plain {long} a {long}|HSET {prefix}:large f {long}|\
             HPEXPIRE {prefix}:h 600000 FIELDS 2 f1 f2|HSETEX {prefix}:h PX 500000 FIELDS 1 f3 n|\
             HPERSIST {prefix}:h FIELDS 1 f2|HINCRBY {prefix}:h g 4|SADD {prefix}:ints 1 2 3|SREM {prefix}:t 5|\
             LINSERT {prefix}:l BEFORE b new|LREM {prefix}:l 20 a|LREM {prefix}:l -3 b|LSET {prefix}:l 4 set|\
             LTRIM {prefix}:l 2 -3|LMOVE {prefix}:l {prefix}:l LEFT RIGHT|ZINCRBY {prefix}:z 0.1 m4|ZPOPMIN {prefix}:z|\
             ZADD {prefix}:z inf top -inf low|XTRIM {prefix}:x MAXLEN 120|XGROUP CREATE {prefix}:x g 0|\
             XREADGROUP GROUP g c COUNT 9 STREAMS {prefix}:x >|XAUTOCLAIM {prefix}:x g d 0 0 COUNT 2|\
             XADD {prefix}:x MAXLEN 100 * f v|XGROUP CREATE {prefix}:empty g 0 MKSTREAM|PFADD {prefix}:p a b c|\
             COPY {prefix}:x {prefix}:copy REPLACE|RENAME {prefix}:s1 {prefix}:renamed|DEL {prefix}:s2|\
             SET {prefix}:soon v PX 40|HPEXPIRE {prefix}:h 40 FIELDS 1 f9|GETEX {prefix}:s3 PX 700000"
        ),
    )?;
    run(connection, &format!("MULTI|SET {prefix}:ma 1|RPUSH {prefix}:mb 1 2|HSET {prefix}:mc f v|EXEC"))?;
    // A stream that is restored has its pending entries: those that were removed are not carried (see `outbound`).
    run(
        connection,
        &format!(
            "XADD {prefix}:y 1-1 f 1|XADD {prefix}:y 1-2 f 2|XADD {prefix}:y 1-3 f 3|XGROUP CREATE {prefix}:y g 0|\
             XREADGROUP GROUP g c COUNT 2 STREAMS {prefix}:y >|XDEL {prefix}:y 1-3"
        ),
    )?;
    for kind in ["y", "l", "h", "z", "t"] {
        let dump = connection.call(&words(&["DUMP", &format!("{prefix}:{kind}")]))?;
        let Some((Value::Bulk(payload), _)) = parse(&dump)? else { bail!("no payload of {kind}") };
        let request = [b"RESTORE".to_vec(), format!("{prefix}:{kind}2").into_bytes(), b"0".to_vec(), payload];
        let reply = connection.call(&request)?;
        ensure!(reply == b"+OK\r\n", "RESTORE of {kind}: {}", reply.escape_ascii());
    }
    Ok(())
}

/// The elements of an array, each as text, in order if `sorted`.
fn elements(reply: &[u8], sorted: bool, step: usize) -> Result<Vec<String>> {
    let Some((Value::Array(items), _)) = parse(reply)? else { bail!("no array: {}", reply.escape_ascii()) };
    let mut groups: Vec<String> = items.chunks(step).map(|items| format!("{items:?}")).collect();
    if sorted {
        groups.sort();
    }
    Ok(groups)
}

/// What a server has: each key with its deadline and its value.
fn contents(connection: &mut ReferenceConnection, with_field_deadlines: bool) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let Some((Value::Array(names), _)) = parse(&call(connection, "KEYS *")?)? else { bail!("no keys") };
    for name in names {
        let Value::Bulk(name) = name else { bail!("no name") };
        let key = String::from_utf8(name)?;
        let kind = text(connection, &format!("TYPE {key}"))?;
        let value = match kind.trim_end() {
            "+string" => vec![text(connection, &format!("GET {key}"))?],
            "+list" => elements(&call(connection, &format!("LRANGE {key} 0 -1"))?, false, 1)?,
            "+set" => elements(&call(connection, &format!("SMEMBERS {key}"))?, true, 1)?,
            "+zset" => elements(&call(connection, &format!("ZRANGE {key} 0 -1 WITHSCORES"))?, false, 2)?,
            "+hash" => {
                let mut fields = elements(&call(connection, &format!("HGETALL {key}"))?, true, 2)?;
                if with_field_deadlines {
                    for field in ["f", "f1", "f2", "f3", "f9", "g"] {
                        fields.push(text(connection, &format!("HPEXPIRETIME {key} FIELDS 1 {field}"))?);
                    }
                }
                fields
            }
            "+stream" => stream(connection, &key)?,
            // It has expired since KEYS.
            "+none" => continue,
            other => bail!("{key}: {other}"),
        };
        let deadline = text(connection, &format!("PEXPIRETIME {key}"))?;
        keys.push(format!("{key} {kind} {deadline} {value:?}"));
    }
    keys.sort();
    Ok(keys)
}

fn stream(connection: &mut ReferenceConnection, key: &str) -> Result<Vec<String>> {
    let mut seen = elements(&call(connection, &format!("XRANGE {key} - +"))?, false, 1)?;
    for request in [format!("XPENDING {key} g - + 1000"), format!("XINFO GROUPS {key}")] {
        // Of pending entries without the time since their delivery, which depends on when it is asked for.
        let reply = text(connection, &request)?;
        let stable = reply.lines().filter(|line| !line.starts_with(':') || line.len() < 4);
        seen.push(stable.collect::<Vec<_>>().join(" "));
    }
    let info = text(connection, &format!("XINFO STREAM {key}"))?;
    for field in ["last-generated-id", "max-deleted-entry-id", "entries-added"] {
        let rest = info.split(field).nth(1).unwrap_or_default();
        seen.push(rest.lines().skip(1).take(2).collect::<Vec<_>>().join(" "));
    }
    Ok(seen)
}

/// Waits until both have the same.
fn wait_for_same(source: &mut ReferenceConnection, replica: &mut ReferenceConnection) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        let (expected, found) = (contents(source, true)?, contents(replica, true)?);
        if expected == found {
            return Ok(expected.len());
        }
        if Instant::now() > until {
            let differs: Vec<_> = expected.iter().filter(|key| !found.contains(key)).take(3).collect();
            let instead: Vec<_> = found.iter().filter(|key| !expected.contains(key)).take(3).collect();
            bail!(
                "{} keys, {} in the replica; missing there: {differs:#?}; only there: {instead:#?}",
                expected.len(),
                found.len()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valkey_replica_has_the_same_data_and_follows_another_node_after_a_failure() -> Result<()> {
    let Some(server) = server() else { return Ok(()) };
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let others = cluster.others(primary)?;
    let mut source = connect(&cluster, primary)?;
    load(&mut source, "{before}")?;
    let replica = ValkeyReplica::start(&server)?;
    // Of a node that is not the primary.
    let mut seen = replica.follow(&cluster, others[0])?;
    load(&mut source, "{after}")?;
    let keys = wait_for_same(&mut source, &mut seen)?;
    eprintln!("the replica has the same {keys} keys");

    let mut follower = connect(&cluster, others[0])?;
    let info = text(&mut follower, "INFO replication")?;
    ensure!(info.contains("outbound_replicas:1\r\n") && info.contains("state=online"), "{info}");
    // It counts for nothing.
    run(&mut source, "SET counted 1")?;
    let copies = call(&mut source, "WAIT 9 300")?;
    ensure!(copies == b":2\r\n", "WAIT counts it: {}", copies.escape_ascii());
    ensure!(text(&mut source, "INFO replication")?.contains("connected_slaves:2\r\n"));

    // The node dies; the replica goes on at another one, which may be the new primary.
    cluster.kill(others[0])?;
    load(&mut source, "{later}")?;
    let mut seen = replica.follow(&cluster, others[1])?;
    wait_for_same(&mut source, &mut seen)?;
    cluster.kill(primary)?;
    cluster.start_node(others[0])?;
    let next = cluster.primary_other_than(primary, 1, PATIENCE).await?;
    let mut source = connect(&cluster, next)?;
    run(&mut source, "SET failed over|FLUSHALL|SET left alone")?;
    let keys = wait_for_same(&mut source, &mut seen)?;
    ensure!(keys == 1, "{keys} keys");
    // Alone, it is a server of its own.
    run(&mut seen, "REPLICAOF NO ONE|SET own 1")?;
    Ok(())
}

/// Reads until these bytes have been read.
fn read_until(stream: &mut TcpStream, read: &mut Vec<u8>, wanted: &[u8]) -> Result<()> {
    let mut chunk = [0; 65_536];
    while !read.windows(wanted.len()).any(|window| window == wanted) {
        let len = stream.read(&mut chunk)?;
        ensure!(len > 0, "the connection has ended after {} bytes", read.len());
        read.extend_from_slice(&chunk[..len]);
    }
    Ok(())
}

fn dial(cluster: &Cluster, node: u64) -> Result<TcpStream> {
    let endpoint = cluster.front_end(node, 1)?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_get_a_file_and_commands_and_slow_ones_are_cut_off() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut source = connect(&cluster, primary)?;
    load(&mut source, "{a}")?;

    // A file by its length alone, in the oldest form.
    let mut tool = dial(&cluster, primary)?;
    tool.write_all(b"REPLCONF rdb-only 1\r\nSYNC\r\n")?;
    let mut read = Vec::new();
    tool.read_to_end(&mut read)?;
    let read = read.strip_prefix(b"+OK\r\n").context("no reply to REPLCONF")?;
    let at = read.iter().position(|byte| *byte != b'\n').context("nothing")?;
    let line_end = read[at..].iter().position(|byte| *byte == b'\r').context("no length")? + at;
    let length: usize = std::str::from_utf8(&read[at + 1..line_end])?.parse()?;
    let file = &read[line_end + 2..];
    ensure!(file.len() == length && file.starts_with(b"REDIS0011") && file[length - 9] == 0xff, "{length} bytes");

    // A stream, and one whose reader takes nothing.
    let mut tool = dial(&cluster, primary)?;
    tool.write_all(b"REPLCONF capa eof version 9.1.0\r\nPSYNC ? -1\r\n")?;
    let mut read = Vec::new();
    read_until(&mut tool, &mut read, b"$EOF:")?;
    let at = read.windows(5).position(|window| window == b"$EOF:").context("no mark")?;
    while read.len() < at + 47 || !read[at + 47..].ends_with(&read[at + 5..at + 45]) {
        let mut chunk = [0; 65_536];
        let len = tool.read(&mut chunk)?;
        ensure!(len > 0, "the connection has ended within the file");
        read.extend_from_slice(&chunk[..len]);
    }
    // Nothing follows the mark before it was found.
    tool.write_all(b"REPLCONF ACK 0\r\n")?;
    read_until(&mut tool, &mut read, b"SELECT\r\n")?;
    ensure!(read.windows(12).any(|window| window == b"+FULLRESYNC "), "{}", read[..80].escape_ascii());
    ensure!(read.windows(9).any(|window| window == b"VALKEY080"), "{}", read[..300].escape_ascii());
    read.clear();
    run(&mut source, "MULTI|SET {t}a 1|SET {t}b 2|EXEC")?;
    read_until(&mut tool, &mut read, b"EXEC\r\n")?;
    let expected = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\n{t}a\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$4\r\n{t}b\r\n$1\r\n2\r\n\
                    *1\r\n$4\r\nEXEC\r\n";
    ensure!(String::from_utf8_lossy(&read).contains(expected), "{}", read.escape_ascii());

    let begun = Instant::now();
    let value = "v".repeat(1_000_000);
    for i in 0..40 {
        run(&mut source, &format!("SET big{i} {value}"))?;
    }
    let is_cut_off = |event: &fastness_testkit::cluster::SeenEvent| {
        event.is("outbound_ended", &[]) && event.text_of("reason").is_some_and(|reason| reason.contains("is cut off"))
    };
    cluster.wait_for_event(Duration::from_secs(120), is_cut_off)?;
    ensure!(begun.elapsed() > Duration::from_secs(55), "after {:?}", begun.elapsed());
    drop(tool);

    // Their number is bounded.
    let mut tools = Vec::new();
    for _ in 0..8 {
        let mut tool = dial(&cluster, primary)?;
        tool.write_all(b"REPLCONF capa eof\r\nPSYNC ? -1\r\n")?;
        read_until(&mut tool, &mut Vec::new(), b"+FULLRESYNC ")?;
        tools.push(tool);
    }
    let mut tool = dial(&cluster, primary)?;
    tool.write_all(b"PSYNC ? -1\r\n")?;
    read_until(&mut tool, &mut Vec::new(), b"-ERR as many replicas outside of the cluster")?;
    Ok(())
}
