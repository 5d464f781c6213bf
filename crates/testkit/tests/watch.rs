//! Streams of committed changes on real clusters, as a client of the protocol sees them: every kind of change, whole
//! transactions, the same positions on every replica, and the ends of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::Connection;
use fastness_resp::Value as Reply;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::page;
use fastness_wire::v1::topology_service_client::TopologyServiceClient;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::watch_request::Start;
use fastness_wire::v1::watch_service_client::WatchServiceClient;
use fastness_wire::v1::watched_value::Value;
use fastness_wire::v1::{
    self, WatchPosition, WatchRequest, WatchResponse, WatchUnit, WatchedField, WatchedHash, WatchedValue,
};
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

#[path = "watch/shown.rs"]
mod shown;

use shown::{line, lines};

const PATIENCE: Duration = Duration::from_secs(60);
/// The unit of a position after a whole log entry.
const END: u32 = u32::MAX;

async fn channel(cluster: &Cluster, node: u64) -> Result<Channel> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let address = cluster.node(node)?.grpc;
    Ok(Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect().await?)
}

async fn service(cluster: &Cluster, node: u64) -> Result<WatchServiceClient<Channel>> {
    Ok(WatchServiceClient::new(channel(cluster, node).await?))
}

fn shard(shard: u32) -> WatchRequest {
    WatchRequest { shard, ..WatchRequest::default() }
}

fn after(position: WatchPosition) -> Option<Start> {
    Some(Start::After(position))
}

/// Code and reason of a refusal.
fn seen(status: &Status) -> (Code, String) {
    let info = status.get_error_details().error_info().map(|info| info.reason.clone());
    (status.code(), info.unwrap_or_default())
}

fn fact(status: &Status, name: &str) -> Option<String> {
    status.get_error_details().error_info()?.metadata.get(name).cloned()
}

/// A stream whose parts of units are put together.
struct Watcher {
    stream: Streaming<WatchResponse>,
    position: WatchPosition,
    units: Vec<WatchUnit>,
    /// Responses so far.
    responses: usize,
}

impl Watcher {
    /// Starts a stream, and waits for its first response.
    async fn start(cluster: &Cluster, node: u64, request: WatchRequest) -> Result<Watcher> {
        let stream = service(cluster, node).await?.watch(request).await?.into_inner();
        let mut watcher = Watcher { stream, position: WatchPosition::default(), units: Vec::new(), responses: 0 };
        watcher.read().await?;
        Ok(watcher)
    }

    async fn read(&mut self) -> Result<()> {
        let next = tokio::time::timeout(PATIENCE, self.stream.message()).await.context("no response in time")?;
        let response = next?.context("the stream has ended")?;
        self.responses += 1;
        self.position = response.position.context("no position")?;
        for unit in response.units {
            match self.units.last_mut() {
                Some(open) if open.continued => {
                    ensure!(open.position == unit.position, "another unit within a unit: {unit:?}");
                    open.changes.extend(unit.changes);
                    open.continued = unit.continued;
                }
                _ => self.units.push(unit),
            }
        }
        Ok(())
    }

    /// Reads until there are so many units, the last one of them whole.
    async fn until(&mut self, count: usize) -> Result<&[WatchUnit]> {
        while self.units.len() < count || self.units.last().is_some_and(|unit| unit.continued) {
            self.read().await?;
        }
        ensure!(self.units.len() == count, "too many: {:?}", self.units);
        Ok(&self.units)
    }

    /// The status with which the stream ends.
    async fn end(&mut self) -> Result<Status> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.stream.message()).await.context("it does not end")?;
            match next {
                Ok(Some(_)) => {}
                Ok(None) => bail!("it ended without a status"),
                Err(status) => return Ok(status),
            }
        }
    }
}

/// Runs commands. `#` stands for a hash tag.
async fn run(resp: &mut Connection, commands: &[&str]) -> Result<()> {
    for command in commands {
        let command = command.replace('#', "{t}");
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let reply = resp.call(&args).await?;
        ensure!(!matches!(reply, Reply::Error(_)), "{command}: {reply:?}");
    }
    Ok(())
}

/// A cluster of three nodes and one shard, its primary, and a connection to that.
async fn cluster(options: &ClusterOptions) -> Result<(Cluster, u64, Connection)> {
    let cluster = Cluster::start(options)?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let resp = cluster.connect(primary, 1, Duration::from_secs(10)).await?;
    Ok((cluster, primary, resp))
}

/// Commands on a list, a set and a sorted set, and the changes that they make.
const COLLECTION_COMMANDS: [(&str, &str); 11] = [
    ("RPUSH #l a b c b", "rpush l a,b,c,b"),
    ("LPUSH #l x y", "lpush l x,y"),
    ("LPOP #l 1", "ltrim l 1 0"),
    ("LSET #l -1 new", "lset l 4"),
    ("LINSERT #l AFTER c z", "linsert l 4"),
    ("LREM #l 0 b", "lrem l [2]"),
    ("RPOPLPUSH #l #l", "lrotate l true false"),
    ("LTRIM #l 1 -2", "ltrim l 1 1"),
    ("SADD #set b 1", "sadd set b,1"),
    ("ZADD #z 1.5 a 2 b", "zadd z 2"),
    ("ZPOPMIN #z", "zrem z a"),
];

/// Every kind of change is typed, transactions are whole, and every replica shows the same units with the same
/// positions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_change_is_shown_by_every_replica() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let mut watcher = Watcher::start(&cluster, primary, shard(1)).await?;
    let start = watcher.position;
    let commands = [
        "SET #s 1",
        "SET #s 2 PX 100000",
        "SET #s 3 KEEPTTL",
        "APPEND #s tail",
        "SETRANGE #s 1 xy",
        "PERSIST #s",
        "EXPIRE #s 1000",
        "INCR #n",
        "GET #s",
        "HSET #h a 1 b 2 c 3",
        "HPEXPIRE #h 100000 FIELDS 1 a",
        "HPERSIST #h FIELDS 1 a",
        "HSETEX #h PX 100000 FIELDS 1 b 5",
        "HDEL #h c",
        "MULTI",
        "SET #m1 1",
        "DEL #n",
        "APPEND #m1 2",
        "EXEC",
        "RENAME #s #t",
        "COPY #t #u",
        "MSET #p 1 #q 2",
        "SET #e 1 PX 1",
    ];
    run(&mut resp, &COLLECTION_COMMANDS.map(|(command, _)| command)).await?;
    run(&mut resp, &commands).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    run(&mut resp, &["FLUSHALL"]).await?;
    let of_collections = COLLECTION_COMMANDS.map(|(_, change)| change);
    let expect = [
        "set s 1",
        "set s 2 at",
        "set s 3 keep",
        "append s tail",
        "setrange s 1 xy",
        "persist s",
        "expire s",
        "set n 1 keep",
        "hset h a=1,b=2,c=3",
        "hexpire h a",
        "hpersist h a",
        "hset h b=5 at",
        "hdel h c",
        "set m1 1; delete n; append m1 2",
        "rename s t",
        "copy t u",
        "set p 1; set q 2",
        "set e 1 at",
        "expired: delete e",
        "flush",
    ];
    let expect = [&of_collections[..], &expect].concat();
    let units = watcher.until(expect.len()).await?.to_vec();
    ensure!(lines(&units) == expect, "{:#?}", lines(&units));
    let positions: Vec<_> = units.iter().map(|unit| unit.position.map(|p| (p.index, p.unit))).collect();
    ensure!(positions.is_sorted() && positions.iter().collect::<BTreeSet<_>>().len() == units.len(), "{positions:?}");
    ensure!(units.is_sorted_by_key(|unit| unit.time_ms) && units[0].time_ms > 1_600_000_000_000, "{units:?}");

    for node in cluster.node_ids()? {
        check_rest(&cluster, node, start, &units).await?;
    }
    Ok(())
}

/// Starts from the same place, and after units: exactly the rest is shown.
async fn check_rest(cluster: &Cluster, node: u64, start: WatchPosition, units: &[WatchUnit]) -> Result<()> {
    for (at, position) in std::iter::once(start).chain(units.iter().filter_map(|unit| unit.position)).enumerate() {
        let mut other = Watcher::start(cluster, node, WatchRequest { start: after(position), ..shard(1) }).await?;
        let rest = other.until(units.len() - at).await?;
        ensure!(rest == &units[at..], "node {node} from {position:?}: {:#?}", lines(rest));
    }
    let request = WatchRequest { start: Some(Start::FromOldest(true)), ..shard(1) };
    let mut oldest = Watcher::start(cluster, node, request).await?;
    while oldest.units.last() != units.last() {
        oldest.read().await?;
    }
    ensure!(oldest.units.ends_with(units), "node {node} from the oldest: {:#?}", lines(&oldest.units));
    Ok(())
}

/// Only what is watched is shown; a key that is not watched is not even named. Of a transaction, the watched part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_shows_keys_and_prefixes_alone() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let request =
        WatchRequest { keys: vec!["{t}k".into()], prefixes: vec!["{t}a:".into(), "{t}a:b".into()], ..shard(0) };
    let mut watcher = Watcher::start(&cluster, primary, request).await?;
    let commands = [
        "SET #k 1",
        "SET #kk 1",
        "SET #a: 1",
        "MULTI",
        "SET #x 1",
        "SET #a:1 2",
        "HSET #y f 1",
        "SET #k 2",
        "EXEC",
        "RENAME #k #secret",
        "RENAME #secret #a:2",
        "RENAME #x #z",
        "COPY #a:2 #other",
        "COPY #z #a:3",
        "DEL #a",
        "FLUSHALL",
    ];
    run(&mut resp, &commands).await?;
    let expect = ["set k 1", "set a: 1", "set a:1 2; set k 2", "rename k -", "rename - a:2", "copy - a:3", "flush"];
    let units = watcher.until(expect.len()).await?;
    ensure!(lines(units) == expect, "{:#?}", lines(units));
    Ok(())
}

/// While nothing that is watched changes, the position advances, so a later stream need not read that again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_advances_without_changes_of_what_is_watched() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let request = WatchRequest { keys: vec!["k".into()], ..shard(1) };
    let mut watcher = Watcher::start(&cluster, primary, request.clone()).await?;
    let start = watcher.position;
    let (since, before) = (Instant::now(), watcher.responses);
    while since.elapsed() < Duration::from_secs(4) {
        run(&mut resp, &["SET other 1"]).await?;
        if watcher.position.index < start.index + 3 || watcher.responses < before + 3 {
            watcher.read().await?;
        }
    }
    ensure!(watcher.responses >= before + 3 && watcher.position.index >= start.index + 3, "{:?}", watcher.position);
    ensure!(watcher.units.is_empty() && watcher.position.unit == END, "{:?}", watcher.units);
    let at = watcher.position;
    run(&mut resp, &["SET k 1"]).await?;
    let mut other = Watcher::start(&cluster, primary, WatchRequest { start: after(at), ..request }).await?;
    ensure!(lines(other.until(1).await?) == ["set k 1"]);
    Ok(())
}

/// Requests that make no sense, nodes that have no replica, and positions that were not reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_watched_is_refused_with_a_reason() -> Result<()> {
    let options = ClusterOptions { azs: vec!["a", "b", "c"], shards: 3, replicas: 1, ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    for shard in 1..=3 {
        cluster.primary(shard, PATIENCE).await?;
    }
    let mut node = service(&cluster, 1).await?;
    let mut topology = TopologyServiceClient::new(channel(&cluster, 1).await?);
    let mut stream = topology.watch_topology(v1::WatchTopologyRequest {}).await?.into_inner();
    let topology = stream.message().await?.and_then(|response| response.topology).context("no topology")?;
    let has_own = |shard: &&v1::TopologyShard| shard.members.iter().any(|member| member.node == 1);
    let elsewhere = topology.shards.iter().find(|shard| !has_own(shard)).context("it has all shards")?;
    let here = topology.shards.iter().find(has_own).context("it has no shard")?.id;
    let address_of = |id: u64| topology.nodes.iter().find(|node| node.id == id).map(|node| node.address.clone());
    let elsewhere_at: Vec<_> = elsewhere.members.iter().filter_map(|member| address_of(member.node)).collect();

    let invalid = [
        (shard(0), "INVALID_REQUEST"),
        (shard(9), "INVALID_REQUEST"),
        (WatchRequest { keys: vec!["a".into(), "b".into(), "c".into()], ..shard(0) }, "CROSSSLOT"),
        (WatchRequest { start: Some(Start::FromOldest(false)), ..shard(here) }, "INVALID_REQUEST"),
        (WatchRequest { keys: vec!["k".into(); 1025], ..shard(here) }, "INVALID_REQUEST"),
        (WatchRequest { prefixes: vec![vec![b'x'; 65_537].into()], ..shard(here) }, "INVALID_REQUEST"),
    ];
    for (request, reason) in invalid {
        let status = node.watch(request).await.err().context(reason)?;
        ensure!(seen(&status) == (Code::InvalidArgument, reason.to_owned()), "{status:?}");
    }
    let status = node.watch(shard(elsewhere.id)).await.err().context("it has no replica")?;
    ensure!(seen(&status).1 == "MOVED", "{status:?}");
    let address = fact(&status, "address").context("no address")?;
    ensure!(elsewhere_at.contains(&address), "{status:?}");

    let ahead = WatchPosition { index: 1 << 40, unit: 1 };
    let status = node.watch(WatchRequest { start: after(ahead), ..shard(here) }).await.err().context("ahead")?;
    ensure!(seen(&status) == (Code::Unavailable, "POSITION_AHEAD".to_owned()), "{status:?}");
    ensure!(status.get_error_details().retry_info().is_some(), "{status:?}");
    // A position that is reached a moment later.
    let now = Watcher::start(&cluster, 1, shard(here)).await?.position;
    let soon = WatchPosition { index: now.index + 1, unit: 0 };
    let mut waits = service(&cluster, 1).await?;
    let request = WatchRequest { start: after(soon), ..shard(here) };
    let waiting = tokio::spawn(async move { waits.watch(request).await.map(|_| ()) });
    let primary = cluster.primary(here, PATIENCE).await?;
    let mut resp = cluster.connect(primary, here, Duration::from_secs(10)).await?;
    let key = (0..).map(|i| format!("k{i}")).find(|key| {
        let slot = u32::from(fastness_client::key_slot(key.as_bytes()));
        topology.shards.iter().any(|shard| shard.id == here && (shard.first_slot..=shard.last_slot).contains(&slot))
    });
    run(&mut resp, &[&format!("SET {} 1", key.context("no key")?)]).await?;
    waiting.await??;
    Ok(())
}

fn as_user<T>(user: &str, message: T) -> Result<Request<T>> {
    use base64::Engine as _;
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{user}:secret"));
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Basic {pair}"))?);
    Ok(request)
}

/// A user watches what it may read, and no longer than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_checked_at_the_start_and_when_they_change() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    run(
        &mut resp,
        &[
            "ACL SETUSER some on >secret +@read %R~a:* ~k",
            "ACL SETUSER all on >secret +dump ~*",
            "ACL SETUSER writer on >secret +@all -dump ~*",
            "ACL SETUSER split on >secret +dump ~a:* (+get ~*)",
            "ACL SETUSER brief on >secret +@all ~*",
        ],
    )
    .await?;
    let key = WatchRequest { keys: vec!["k".into()], ..shard(1) };
    let prefix = |prefix: &'static str| WatchRequest { prefixes: vec![prefix.into()], ..shard(1) };
    let mut node = service(&cluster, primary).await?;
    for (user, request, allowed) in [
        ("some", key.clone(), true),
        ("some", prefix("a:"), true),
        ("some", prefix("a:b"), true),
        ("some", prefix("a"), false),
        ("some", prefix("k"), false),
        ("some", WatchRequest { keys: vec!["other".into()], ..prefix("a:") }, false),
        ("some", shard(1), false),
        ("all", shard(1), true),
        ("writer", key.clone(), false),
        ("split", prefix("a:"), true),
        ("split", key.clone(), false),
    ] {
        let outcome = node.watch(as_user(user, request.clone())?).await;
        match outcome {
            Ok(_) => ensure!(allowed, "{user} {request:?}"),
            Err(status) => {
                let denied = (Code::PermissionDenied, "NOPERM".to_owned());
                ensure!(!allowed && seen(&status) == denied, "{user} {request:?}: {status:?}");
            }
        }
    }
    let Reply::Array(log) = resp.call(&[b"ACL", b"LOG"]).await? else { bail!("no log") };
    ensure!(log.len() == 6, "{} entries of ACL LOG", log.len());

    for change in ["ACL SETUSER some resetkeys ~b", "ACL SETUSER all -dump", "ACL DELUSER brief"] {
        let user = change.split(' ').nth(2).unwrap_or_default();
        let stream = node.watch(as_user(user, prefix("a:"))?).await?.into_inner();
        let mut watcher = Watcher { stream, position: WatchPosition::default(), units: Vec::new(), responses: 0 };
        run(&mut resp, &["SET a:1 1", "ACL SETUSER other on"]).await?;
        watcher.until(1).await?;
        run(&mut resp, &[change]).await?;
        let status = watcher.end().await?;
        ensure!(seen(&status) == (Code::PermissionDenied, "NOPERM".to_owned()), "{change}: {status:?}");
    }
    Ok(())
}

/// Values that are too long for a message are omitted, and a long transaction comes in parts of one unit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_values_are_omitted_and_long_transactions_are_whole() -> Result<()> {
    const MIB: usize = 1024 * 1024;
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let mut watcher = Watcher::start(&cluster, primary, shard(1)).await?;
    let start = watcher.position;
    resp.call(&[b"SET", b"short", &vec![b'x'; MIB]]).await?;
    resp.call(&[b"SET", b"long", &vec![b'x'; MIB + 1]]).await?;
    resp.call(&[b"SET", &vec![b'k'; MIB + 7], b"1"]).await?;
    let fields: Vec<Vec<u8>> = (0..20_000).flat_map(|i| [format!("f{i}").into(), vec![b'v'; 100]]).collect();
    let words: Vec<&[u8]> = [&b"HSET"[..], b"h"].into_iter().chain(fields.iter().map(|field| &field[..])).collect();
    resp.call(&words).await?;
    // A batch of several log entries, between two small units.
    resp.call(&[b"SET", b"before", b"1"]).await?;
    run(&mut resp, &["MULTI"]).await?;
    for i in 0..40 {
        resp.call(&[b"SET", format!("{{t}}{i}").as_bytes(), &vec![b'a' + i % 26; MIB]]).await?;
    }
    run(&mut resp, &["EXEC", "SET end 1"]).await?;

    for node in cluster.node_ids()? {
        if node != primary {
            watcher = Watcher::start(&cluster, node, WatchRequest { start: after(start), ..shard(1) }).await?;
        }
        let units = watcher.until(7).await?;
        let of = |unit: usize, at: usize| units[unit].changes[at].change.clone().context("no change");
        let Change::StringSet(set) = of(0, 0)? else { bail!("{:?}", units[0]) };
        ensure!(set.value.len() == MIB && !set.value_omitted && set.value_bytes == MIB as u64);
        let Change::StringSet(set) = of(1, 0)? else { bail!("{:?}", units[1]) };
        ensure!(set.value.is_empty() && set.value_omitted && set.value_bytes == MIB as u64 + 1);
        let Change::StringSet(set) = of(2, 0)? else { bail!("{:?}", units[2]) };
        ensure!(set.key.len() == MIB && set.value == "1" && units[2].changes[0].name_cut);
        let mut seen = Vec::new();
        for change in &units[3].changes {
            let Some(Change::HashSet(set)) = &change.change else { bail!("{change:?}") };
            seen.extend(set.fields.iter().flat_map(|field| [field.name.to_vec(), field.value.to_vec()]));
        }
        ensure!(units[3].changes.len() > 3 && seen == fields, "{} changes", units[3].changes.len());
        ensure!(units[5].changes.len() == 40, "{} changes", units[5].changes.len());
        for (i, change) in (0..40).zip(&units[5].changes) {
            let Some(Change::StringSet(set)) = &change.change else { bail!("{change:?}") };
            ensure!(set.key == format!("{{t}}{i}") && set.value == vec![b'a' + i % 26; MIB], "t{i}");
        }
        ensure!(line(&units[4]) == "set before 1" && line(&units[6]) == "set end 1");
        // After the first unit of a batch of several entries, wherever that is.
        let position = units[4].position.context("no position")?;
        let mut rest = Watcher::start(&cluster, node, WatchRequest { start: after(position), ..shard(1) }).await?;
        ensure!(rest.until(2).await? == &units[5..]);
    }
    Ok(())
}

/// A client that takes nothing is told so and cut off; others, and writers, do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut_off() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let mut slow = Watcher::start(&cluster, primary, shard(1)).await?;
    let mut reads = Watcher::start(&cluster, primary, shard(1)).await?;
    let (mut written, since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(13) {
        resp.call(&[b"SET", format!("k{written}").as_bytes(), &vec![b'x'; 100_000]]).await?;
        written += 1;
        if written % 20 == 0 {
            reads.until(written).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    reads.until(written).await?;
    let taken = loop {
        match slow.read().await {
            Ok(()) => {}
            Err(error) => {
                let status = error.downcast::<Status>()?;
                ensure!(seen(&status) == (Code::ResourceExhausted, "WATCH_TOO_SLOW".to_owned()), "{status:?}");
                let number =
                    |name: &str| fact(&status, name).context("no position")?.parse::<u64>().context("no number");
                break WatchPosition { index: number("index")?, unit: u32::try_from(number("unit")?)? };
            }
        }
    };
    ensure!(taken == slow.position && slow.units.len() < written, "{taken:?} {:?} {}", slow.position, slow.units.len());
    let mut rest = Watcher::start(&cluster, primary, WatchRequest { start: after(taken), ..shard(1) }).await?;
    rest.until(written - slow.units.len()).await?;
    slow.units.extend(rest.units);
    ensure!(slow.units == reads.units, "what was taken and the rest are not all");
    let metrics = page(&cluster.node(primary)?.metrics, "/metrics").await?;
    let figure = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
        Ok::<_, anyhow::Error>(line.trim().parse::<f64>()?)
    };
    ensure!(figure("fastness_watchers_cut_off_total ")? == 1.0 && figure("fastness_watchers ")? >= 2.0, "{metrics}");
    ensure!(figure("fastness_watch_units_total ")? >= written as f64, "{metrics}");
    Ok(())
}

/// Writes about so many bytes of log.
async fn write(resp: &mut Connection, bytes: usize) -> Result<()> {
    for i in 0..bytes / 10_000 {
        resp.call(&[b"SET", format!("k{}", i % 7).as_bytes(), &vec![b'x'; 10_000]]).await?;
    }
    Ok(())
}

/// Where each node's log starts.
async fn oldest(cluster: &Cluster) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for node in cluster.node_ids()? {
        let request = WatchRequest { start: Some(Start::FromOldest(true)), ..shard(1) };
        all.push(Watcher::start(cluster, node, request).await?.position.index);
    }
    Ok(all)
}

/// A position that the log does not reach any more is refused with an error of its own, at the start and under way; as
/// much log as the option says is kept, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_position_is_refused_and_the_option_keeps_log() -> Result<()> {
    let options =
        ClusterOptions { snapshot_log_bytes: Some(100_000), watch_log_bytes: 2_000_000, ..ClusterOptions::default() };
    let (cluster, primary, mut resp) = cluster(&options).await?;
    let first = Watcher::start(&cluster, primary, shard(1)).await?.position;
    write(&mut resp, 3_000_000).await?;
    let second = Watcher::start(&cluster, primary, shard(1)).await?.position;
    write(&mut resp, 1_500_000).await?;
    let until = Instant::now() + PATIENCE;
    while oldest(&cluster).await?.iter().any(|index| *index < first.index) {
        ensure!(Instant::now() < until, "the log is not purged: {:?}", oldest(&cluster).await?);
        write(&mut resp, 20_000).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        // As much as is written while waiting must not purge more than the option allows.
        ensure!(
            second.index + 170 > Watcher::start(&cluster, primary, shard(1)).await?.position.index,
            "waited too long"
        );
    }
    for node in cluster.node_ids()? {
        let request = |position| WatchRequest { start: after(position), ..shard(1) };
        let status = service(&cluster, node).await?.watch(request(first)).await.err().context("it is purged")?;
        ensure!(seen(&status) == (Code::OutOfRange, "POSITION_PURGED".to_owned()), "{status:?}");
        let oldest = fact(&status, "oldest_index").context("no index")?.parse::<u64>()?;
        ensure!(oldest > first.index + 1 && oldest <= second.index, "{oldest}");
        // Nothing is missing from the first index on.
        let position = WatchPosition { index: oldest - 1, unit: END };
        let mut watcher = Watcher::start(&cluster, node, request(position)).await?;
        while watcher.units.is_empty() {
            watcher.read().await?;
        }
        ensure!(
            watcher.units[0].position.is_some_and(|first| first.index >= oldest),
            "{:?}",
            watcher.units[0].position
        );
        Watcher::start(&cluster, node, request(second)).await?.read().await?;
    }

    // Without the option, only what a restart needs.
    let stalled = service(&cluster, primary).await?.watch(WatchRequest { start: after(second), ..shard(1) }).await?;
    for node in cluster.node_ids()? {
        let mut resp = cluster.connect(node, 1, Duration::from_secs(10)).await?;
        run(&mut resp, &["CONFIG SET watch-log-bytes 0"]).await?;
    }
    let until = Instant::now() + PATIENCE;
    while oldest(&cluster).await?.iter().any(|index| *index <= second.index) {
        ensure!(Instant::now() < until, "the log is not purged: {:?}", oldest(&cluster).await?);
        write(&mut resp, 200_000).await?;
    }
    drop(stalled);
    Ok(())
}

/// Each current value is exactly what the changes up to its position have made of the key, on the primary and on
/// replicas, while clients change the keys.
async fn values_hold_at_their_positions(durability: &'static str) -> Result<()> {
    let options = ClusterOptions { durability, ..ClusterOptions::default() };
    let (cluster, primary, mut resp) = cluster(&options).await?;
    let mut plain = Watcher::start(&cluster, primary, shard(1)).await?;
    let mut streams = Vec::new();
    for node in cluster.node_ids()? {
        let request = WatchRequest { with_values: true, ..shard(1) };
        streams.push((node, service(&cluster, node).await?.watch(request).await?.into_inner()));
    }
    let until = Instant::now() + Duration::from_secs(4);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let mut resp = cluster.connect(primary, 1, Duration::from_secs(10)).await?;
        writers.spawn(async move {
            for number in 0.. {
                if Instant::now() > until {
                    break;
                }
                run(
                    &mut resp,
                    &[&format!("APPEND #hot {writer}:{number},"), &format!("HSET #h f{} {number}", number % 5)],
                )
                .await?;
                run(&mut resp, &[&format!("SET #d{writer} {number}"), &format!("DEL #d{writer}")]).await?;
                tokio::time::sleep(Duration::from_millis(number % 7)).await;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    run(&mut resp, &["SET #end 1"]).await?;
    while plain.units.last().is_none_or(|unit| line(unit) != "set end 1") {
        plain.read().await?;
    }
    for (node, mut stream) in streams {
        let (mut values, mut units) = (Vec::new(), Vec::new());
        while units.last().is_none_or(|unit| line(unit) != "set end 1") {
            let response = tokio::time::timeout(PATIENCE, stream.message()).await??.context("it has ended")?;
            // What is read is not older than the units before it.
            let newest = response.units.last().and_then(|unit| unit.position).map_or(0, |position| position.index);
            ensure!(response.values.iter().all(|value| value.position.is_some_and(|at| at.index >= newest)));
            values.extend(response.values);
            units.extend(response.units);
        }
        ensure!(units == plain.units, "node {node}: other units");
        let (checked, unread) = check_values(&plain.units, values).with_context(|| format!("node {node}"))?;
        println!("{durability}, node {node}: {checked} values, {unread} unread");
        ensure!(checked > 20, "node {node}: {checked} values, {unread} unread");
        ensure!(node == primary || unread == 0, "node {node}: {unread} unread");
    }
    Ok(())
}

/// Compares values with what the changes up to their positions make of the keys; returns how many could be compared,
/// and how many were not read.
fn check_values(units: &[WatchUnit], values: Vec<WatchedValue>) -> Result<(usize, usize)> {
    let (mut checked, mut unread) = (0, 0);
    for value in values {
        let at = value.position.context("no position")?;
        ensure!(at.unit == END, "{value:?}");
        let before = units.iter().filter(|unit| unit.position.is_some_and(|unit| unit.index <= at.index));
        let mut expect = Value::Missing(true);
        for change in before.flat_map(|unit| &unit.changes).filter_map(|change| change.change.as_ref()) {
            apply(&mut expect, &value.key, change)?;
        }
        let mut found = value.value.context("no value")?;
        if found == Value::Unread(true) {
            unread += 1;
            continue;
        }
        if let Value::Hash(hash) = &mut found {
            hash.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        ensure!(found == expect, "at {at:?}: {found:?}, not {expect:?}");
        checked += 1;
    }
    Ok((checked, unread))
}

/// What a change makes of a key's value.
fn apply(value: &mut Value, key: &[u8], change: &Change) -> Result<()> {
    match change {
        Change::StringAppend(append) if append.key == key => {
            let before = if let Value::String(before) = &value { before.clone() } else { bytes::Bytes::new() };
            *value = Value::String([before, append.value.clone()].concat().into());
        }
        Change::StringSet(set) if set.key == key => *value = Value::String(set.value.clone()),
        Change::KeyDelete(delete) if delete.key == key => *value = Value::Missing(true),
        Change::HashSet(set) if set.key == key => {
            let mut hash = if let Value::Hash(hash) = &value { hash.clone() } else { WatchedHash::default() };
            for field in &set.fields {
                hash.fields.retain(|known| known.name != field.name);
                let (name, value) = (field.name.clone(), field.value.clone());
                hash.fields.push(WatchedField { name, value, expire_at_ms: None });
            }
            hash.fields.sort_by(|a, b| a.name.cmp(&b.name));
            *value = Value::Hash(hash);
        }
        Change::StringAppend(_) | Change::StringSet(_) | Change::KeyDelete(_) | Change::HashSet(_) => {}
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_values_hold_at_their_positions() -> Result<()> {
    values_hold_at_their_positions("sync").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_async_mode_current_values_are_committed_ones() -> Result<()> {
    values_hold_at_their_positions("async").await
}

/// Values that are too long, or too many at once, are omitted; deadlines come with the values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_values_are_bounded() -> Result<()> {
    const MIB: usize = 1024 * 1024;
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let mut stream = service(&cluster, primary).await?.watch(WatchRequest { with_values: true, ..shard(1) }).await?;
    let first = stream.get_mut().message().await?.context("no response")?;
    resp.call(&[b"SET", b"{t}long", &vec![b'x'; MIB + 1]]).await?;
    run(&mut resp, &["SET #k 1 PX 100000", "HSET #h a 1", "HPEXPIRE #h 100000 FIELDS 1 a", "RENAME #k #r", "MULTI"])
        .await?;
    for i in 0..24_u8 {
        resp.call(&[b"SET", format!("{{t}}{i:02}").as_bytes(), &vec![b'a' + i; MIB]]).await?;
    }
    run(&mut resp, &["EXEC"]).await?;
    let place = |position: Option<WatchPosition>| position.map(|position| (position.index, position.unit));
    let (mut values, mut units, mut position) = (BTreeMap::new(), 0, place(first.position));
    while units < 6 || !values.contains_key(&b"{t}23"[..]) {
        let response = tokio::time::timeout(PATIENCE, stream.get_mut().message()).await??.context("it has ended")?;
        units += response.units.iter().filter(|unit| !unit.continued).count();
        ensure!(place(response.position) >= position, "{:?} after {position:?}", response.position);
        position = place(response.position);
        for value in response.values {
            values.insert(value.key.clone(), value);
        }
    }
    let value = |key: &str| values.get(key.as_bytes()).cloned().context(key.to_owned());
    let long = value("{t}long")?.value;
    ensure!(long == Some(Value::OmittedBytes(MIB as u64 + 1)), "{long:?}");
    ensure!(value("{t}k")?.value == Some(Value::Missing(true)));
    let renamed = value("{t}r")?;
    ensure!(renamed.value == Some(Value::String("1".into())) && renamed.expire_at_ms.is_some(), "{renamed:?}");
    let Some(Value::Hash(hash)) = value("{t}h")?.value else { bail!("no hash") };
    ensure!(hash.fields.len() == 1 && hash.fields[0].expire_at_ms.is_some(), "{hash:?}");
    let mut sent = 0;
    for i in 0..24_u8 {
        match value(&format!("{{t}}{i:02}"))?.value {
            Some(Value::String(text)) => {
                ensure!(text == vec![b'a' + i; MIB], "value {i}");
                sent += 1;
            }
            Some(Value::OmittedBytes(bytes)) => ensure!(bytes == MIB as u64),
            other => bail!("{other:?}"),
        }
    }
    ensure!((15..=17).contains(&sent), "{sent} values were sent");
    Ok(())
}

/// A replica that has lost contact with the primary would show nothing new: it ends its streams, which continue
/// elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_a_primary_ends_its_streams() -> Result<()> {
    let (cluster, primary, mut resp) = cluster(&ClusterOptions::default()).await?;
    let others = cluster.others(primary)?;
    let mut watcher = Watcher::start(&cluster, others[0], shard(1)).await?;
    run(&mut resp, &["SET k 1"]).await?;
    watcher.until(1).await?;
    tokio::task::block_in_place(|| cluster.kill(primary).and_then(|()| cluster.kill(others[1])))?;
    let since = Instant::now();
    let status = watcher.end().await?;
    ensure!(seen(&status) == (Code::Unavailable, "NOT_SERVED".to_owned()), "{status:?}");
    ensure!(status.get_error_details().retry_info().is_some(), "{status:?}");
    ensure!((3..20).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    Ok(())
}
