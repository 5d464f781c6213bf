//! The data API over gRPC on real clusters: it shows and changes the same data as the protocol's clients do, promises
//! the same, and fails with errors that programs can go by.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_resp::Value as Reply;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_wire::admin::v1::DescribeClusterRequest;
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use fastness_wire::v1::pipeline_request::Operation;
use fastness_wire::v1::pipeline_response::Outcome;
use fastness_wire::v1::value::Kind;
use fastness_wire::v1::{self, expire_request, set_request};
use futures::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;

type Kv = KvServiceClient<Channel>;

/// A channel to one node, with the certificate of this name (`client`, `admin`), or none.
async fn channel(cluster: &Cluster, node: u64, certificate: Option<&str>) -> Result<Channel> {
    let read = |name: &str| std::fs::read(cluster.dir().join(name)).with_context(|| name.to_owned());
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.crt")?));
    if let Some(name) = certificate {
        tls = tls.identity(Identity::from_pem(read(&format!("{name}.crt"))?, read(&format!("{name}.key"))?));
    }
    let address = cluster.node(node)?.grpc;
    // Room for streams that a test does not read beside other calls.
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?.initial_connection_window_size(64 << 20);
    Ok(endpoint.tls_config(tls)?.connect().await?)
}

async fn kv(cluster: &Cluster, node: u64) -> Result<Kv> {
    let client = KvServiceClient::new(channel(cluster, node, None).await?);
    Ok(client.max_decoding_message_size(64 * MIB).max_encoding_message_size(64 * MIB))
}

fn one_node(shards: u32) -> ClusterOptions {
    ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", shards, ..ClusterOptions::default() }
}

async fn primary(cluster: &Cluster) -> Result<Kv> {
    kv(cluster, cluster.primary(1, PATIENCE).await?).await
}

fn set(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> v1::SetRequest {
    v1::SetRequest { key: key.into().into(), value: value.into().into(), ..Default::default() }
}

fn get(key: impl Into<Vec<u8>>) -> v1::GetRequest {
    v1::GetRequest { key: key.into().into(), ..Default::default() }
}

fn execute(line: &str) -> v1::ExecuteRequest {
    let args = line.split_whitespace().map(|word| word.as_bytes().to_vec().into()).collect();
    v1::ExecuteRequest { args, ..Default::default() }
}

async fn value(kv: &mut Kv, key: &str) -> Result<Option<Vec<u8>>> {
    Ok(kv.get(get(key)).await?.into_inner().value.map(|value| value.to_vec()))
}

/// Code and reason of a refusal, and whether it may be tried again.
fn seen(status: &Status) -> (Code, String, bool) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, details.retry_info().is_some())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, reason: &str) -> Result<Status> {
    match outcome {
        Ok(response) => bail!("{reason} was expected: {response:?}"),
        Err(status) => {
            ensure!(seen(&status) == (code, reason.to_owned(), false), "{status:?}");
            Ok(status)
        }
    }
}

/// Strings with expiry and conditions, seen by a client of the protocol as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_operations_and_the_protocol_share_the_data() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let mut kv = kv(&cluster, node).await?;
    let mut resp = cluster.connect(node, 1, Duration::from_secs(5)).await?;

    ensure!(kv.set(set("a", "1")).await?.into_inner() == v1::SetResponse { applied: true, previous: None });
    ensure!(resp.call(&[b"GET", b"a"]).await? == Reply::Bulk(b"1".to_vec()));
    resp.call(&[b"SET", b"b", b"\xff\x00", b"PX", b"100000"]).await?;
    let with_ttl = v1::GetRequest { with_ttl: true, ..get("b") };
    let got = kv.get(with_ttl).await?.into_inner();
    ensure!(got.value.as_deref() == Some(&b"\xff\x00"[..]) && got.ttl_ms.is_some_and(|ttl| ttl > 50_000), "{got:?}");
    let got = kv.get(v1::GetRequest { with_ttl: true, ..get("a") }).await?.into_inner();
    ensure!(got.value.is_some() && got.ttl_ms.is_none(), "{got:?}");
    let got = kv.get(v1::GetRequest { with_ttl: true, ..get("none") }).await?.into_inner();
    ensure!(got == v1::GetResponse::default(), "{got:?}");

    // Conditions, with and without the value before.
    let conditions = |yes: bool| {
        [
            (set_request::Condition::IfAbsent(true), !yes),
            (set_request::Condition::IfPresent(true), yes),
            (set_request::Condition::IfEqual("1".into()), yes),
            (set_request::Condition::IfEqual("2".into()), false),
        ]
    };
    for (key, exists) in [("c:yes", true), ("c:no", false)] {
        for return_previous in [false, true] {
            for (condition, applied) in conditions(exists) {
                resp.call(&[b"DEL", key.as_bytes()]).await?;
                if exists {
                    resp.call(&[b"SET", key.as_bytes(), b"1"]).await?;
                }
                let request = v1::SetRequest { condition: Some(condition.clone()), return_previous, ..set(key, "new") };
                let response = kv.set(request).await?.into_inner();
                let previous = (exists && return_previous).then(|| "1".into());
                ensure!(response == v1::SetResponse { applied, previous }, "{key} {condition:?}: {response:?}");
                let expect = if applied { Some(b"new".to_vec()) } else { exists.then(|| b"1".to_vec()) };
                ensure!(value(&mut kv, key).await? == expect, "{key} {condition:?}");
            }
        }
    }
    let expiry = Some(set_request::Expiry::TtlMs(80_000));
    kv.set(v1::SetRequest { expiry, ..set("a", "2") }).await?;
    kv.set(v1::SetRequest { expiry: Some(set_request::Expiry::KeepTtl(true)), ..set("a", "3") }).await?;
    let Reply::Integer(ttl) = resp.call(&[b"PTTL", b"a"]).await? else { bail!("no number") };
    ensure!((1..=80_000).contains(&ttl), "{ttl}");
    refused(
        kv.set(v1::SetRequest { expiry: Some(set_request::Expiry::KeepTtl(false)), ..set("a", "3") }).await,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )?;
    Ok(())
}

/// Counters, expiry, hashes and removal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_operations_on_counters_and_hashes() -> Result<()> {
    let cluster = Cluster::start(&one_node(1))?;
    let node = cluster.primary(1, PATIENCE).await?;
    let mut kv = kv(&cluster, node).await?;
    let mut resp = cluster.connect(node, 1, Duration::from_secs(5)).await?;

    let increment = |by| v1::IncrementRequest { key: "n".into(), by, options: None };
    ensure!(kv.increment(increment(5)).await?.into_inner().value == 5);
    ensure!(kv.increment(increment(-7)).await?.into_inner().value == -2);
    let expire = |key: &'static str, expiry| v1::ExpireRequest { key: key.into(), expiry, options: None };
    ensure!(kv.expire(expire("n", Some(expire_request::Expiry::TtlMs(9_000)))).await?.into_inner().applied);
    ensure!(kv.expire(expire("n", None)).await?.into_inner().applied);
    ensure!(!kv.expire(expire("n", None)).await?.into_inner().applied, "it has no time to live");
    refused(
        kv.expire(expire("n", Some(expire_request::Expiry::TtlMs(0)))).await,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )?;

    let field = |name: &'static str, value: &'static str| v1::HashField { name: name.into(), value: value.into() };
    let fields = vec![field("x", "1"), field("y", "2"), field("z", "3")];
    let request = v1::HashSetRequest { key: "h".into(), fields: fields.clone(), options: None };
    ensure!(kv.hash_set(request).await?.into_inner().added == 3);
    let some = vec!["z".into(), "none".into(), "x".into()];
    let got = kv.hash_get(v1::HashGetRequest { key: "h".into(), fields: some, options: None }).await?.into_inner();
    ensure!(got.fields == [field("z", "3"), field("x", "1")], "{got:?}");
    let mut got = kv.hash_get(v1::HashGetRequest { key: "h".into(), ..Default::default() }).await?.into_inner();
    got.fields.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(got.fields == fields, "{got:?}");
    let request = v1::HashDeleteRequest { key: "h".into(), fields: vec!["x".into(), "none".into()], options: None };
    ensure!(kv.hash_delete(request).await?.into_inner().deleted == 1);
    let delete = |keys: &[&'static str]| v1::DeleteRequest {
        keys: keys.iter().map(|key| (*key).into()).collect(),
        options: None,
    };
    resp.call(&[b"MSET", b"{d}a", b"1", b"{d}b", b"2"]).await?;
    ensure!(kv.delete(delete(&["{d}a", "{d}none", "{d}b"])).await?.into_inner().deleted == 2);
    ensure!(resp.call(&[b"EXISTS", b"{d}a", b"{d}b"]).await? == Reply::Integer(0));
    refused(kv.delete(delete(&["a", "h"])).await, Code::InvalidArgument, "CROSSSLOT")?;
    refused(kv.delete(delete(&[])).await, Code::InvalidArgument, "INVALID_REQUEST")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_command_runs_and_errors_say_what_programs_need() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut kv = primary(&cluster).await?;
    let mut call = async |line: &str| kv.execute(execute(line)).await.map(|response| response.into_inner().reply);
    let kind = |reply: Option<v1::Value>| reply.and_then(|value| value.kind);
    ensure!(kind(call("SET s text").await?) == Some(Kind::Status("OK".into())));
    ensure!(kind(call("STRLEN s").await?) == Some(Kind::Integer(4)));
    ensure!(kind(call("GET s").await?) == Some(Kind::Bytes("text".into())));
    ensure!(kind(call("GET none").await?) == Some(Kind::Null(v1::Null {})));
    call("HSET h f 1").await?;
    let Some(Kind::Map(map)) = kind(call("HGETALL h").await?) else { bail!("no map") };
    ensure!(map.entries.len() == 1);
    ensure!(matches!(kind(call("HRANDFIELD h 2 WITHVALUES").await?), Some(Kind::Array(_))));
    ensure!(matches!(kind(call("INFO server").await?), Some(Kind::Verbatim(_))));
    ensure!(kind(call("DBSIZE").await?) == Some(Kind::Integer(2)));
    let Some(Kind::Verbatim(clients)) = kind(call("CLIENT LIST").await?) else { bail!("no list") };
    let clients = String::from_utf8_lossy(&clients.text).into_owned();
    ensure!(clients.contains("name=grpc") && clients.contains("addr=127.0.0.1:"), "{clients}");

    refused(call("HGET s f").await, Code::FailedPrecondition, "WRONGTYPE")?;
    refused(call("INCR s").await, Code::InvalidArgument, "ERR")?;
    refused(call("NOSUCH s").await, Code::InvalidArgument, "ERR")?;
    refused(call("GET").await, Code::InvalidArgument, "ERR")?;
    refused(call("").await, Code::InvalidArgument, "INVALID_REQUEST")?;
    for line in ["MULTI", "WATCH s", "CLIENT REPLY OFF", "HELLO 2", "AUTH x", "QUIT", "RESET", "WAIT 1 0", "READONLY"] {
        refused(call(line).await, Code::InvalidArgument, "NEEDS_CONNECTION")?;
    }
    refused(call("MSET s 1 h 2").await, Code::InvalidArgument, "CROSSSLOT")?;
    ensure!(kind(call("GET s").await?) == Some(Kind::Bytes("text".into())), "nothing of all that has changed it");

    // Options for one call.
    let options =
        |durability, consistency| Some(v1::CallOptions { durability, consistency, ..v1::CallOptions::default() });
    let quorum = v1::GetRequest { options: options(1, 1), ..get("s") };
    ensure!(kv.get(quorum).await?.into_inner().value.as_deref() == Some(&b"text"[..]));
    refused(
        kv.get(v1::GetRequest { options: options(7, 0), ..get("s") }).await,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    )?;
    let both = v1::GetRequest { with_ttl: true, options: options(1, 1), ..get("s") };
    ensure!(kv.get(both).await?.into_inner().value.as_deref() == Some(&b"text"[..]));
    Ok(())
}

/// A write that was acknowledged is there after its primary was killed. The error of another node names the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_and_other_nodes_name_the_primary() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let first = cluster.primary(1, PATIENCE).await?;
    kv(&cluster, first).await?.set(set("token", "paid")).await?;
    let other = first % 3 + 1;
    let status = refused(kv(&cluster, other).await?.get(get("token")).await, Code::FailedPrecondition, "MOVED")?;
    let metadata = status.get_error_details().error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    ensure!(metadata["address"] == cluster.node(first)?.grpc, "{metadata:?}");
    ensure!((&*metadata["shard"], &*metadata["node"]) == ("1", &*first.to_string()), "{metadata:?}");

    tokio::task::block_in_place(|| cluster.kill(first))?;
    let next = cluster.primary_other_than(first, 1, PATIENCE).await?;
    ensure!(value(&mut kv(&cluster, next).await?, "token").await?.as_deref() == Some(&b"paid"[..]));
    Ok(())
}

/// A stream over all shards: every response in its place, errors too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_answers_in_order() -> Result<()> {
    const OPERATIONS: usize = 6_000;
    let cluster = Cluster::start(&one_node(3))?;
    cluster.primary(3, PATIENCE).await?;
    let mut kv = primary(&cluster).await?;
    let request = |i: usize| {
        let operation = match i % 4 {
            0 => Operation::Set(set(format!("k{}", i / 4), format!("v{i}"))),
            1 => Operation::Get(get(format!("k{}", i / 4))),
            2 => Operation::Execute(execute(&format!("HGET k{} f", i / 4))),
            _ => Operation::Increment(v1::IncrementRequest { key: "n".into(), by: 1, options: None }),
        };
        v1::PipelineRequest { operation: Some(operation) }
    };
    let requests = futures::stream::iter((0..OPERATIONS).map(request).chain([v1::PipelineRequest { operation: None }]));
    let mut responses = kv.pipeline(requests).await?.into_inner();
    for i in 0..OPERATIONS {
        let outcome = responses.message().await?.with_context(|| format!("no response {i}"))?.outcome;
        let is_right = match (i % 4, &outcome) {
            (0, Some(Outcome::Set(response))) => response.applied,
            (1, Some(Outcome::Get(response))) => response.value.as_deref() == Some(format!("v{}", i - 1).as_bytes()),
            (2, Some(Outcome::Error(error))) => error.reason == "WRONGTYPE",
            (3, Some(Outcome::Increment(response))) => response.value == (i / 4 + 1) as i64,
            _ => false,
        };
        ensure!(is_right, "{i}: {outcome:?}");
    }
    let last = responses.message().await?.and_then(|response| response.outcome);
    ensure!(matches!(&last, Some(Outcome::Error(error)) if error.reason == "INVALID_REQUEST"), "{last:?}");
    ensure!(responses.message().await?.is_none());

    // Many calls at a time on one connection.
    let calls = futures::stream::iter(0..500).map(|i| {
        let mut kv = kv.clone();
        async move { value(&mut kv, &format!("k{i}")).await }
    });
    let values: Vec<_> = calls.buffered(200).collect().await;
    for (i, value) in values.into_iter().enumerate() {
        ensure!(value?.as_deref() == Some(format!("v{}", i * 4).as_bytes()), "k{i}");
    }
    Ok(())
}

/// What is longer than a message is refused, and the connection serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_values_pass_and_longer_ones_are_refused() -> Result<()> {
    let cluster = Cluster::start(&one_node(1))?;
    let mut kv = primary(&cluster).await?;
    let long = vec![b'x'; 15 * MIB];
    kv.set(set("long", long.clone())).await?;
    ensure!(value(&mut kv, "long").await? == Some(long.clone()));
    let status = kv.set(set("longer", vec![b'x'; 17 * MIB])).await.err().context("it was taken")?;
    ensure!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    ensure!(value(&mut kv, "longer").await?.is_none());
    kv.execute(v1::ExecuteRequest { args: vec!["APPEND".into(), "long".into(), long.into()], ..Default::default() })
        .await?;
    refused(kv.get(get("long")).await, Code::ResourceExhausted, "REPLY_TOO_LONG")?;
    ensure!(value(&mut kv, "none").await?.is_none());

    // In a stream, the operations after it have their own replies.
    let with_ttl = v1::GetRequest { with_ttl: true, ..get("long") };
    let operations = [
        Operation::Set(set("a", "1")),
        Operation::Get(get("long")),
        Operation::Get(with_ttl),
        Operation::Increment(v1::IncrementRequest { key: "a".into(), by: 1, options: None }),
    ];
    let mut responses = kv.pipeline(futures::stream::iter(operations.map(operation))).await?.into_inner();
    let mut outcomes = Vec::new();
    while let Some(response) = responses.message().await? {
        outcomes.extend(response.outcome);
    }
    let is_too_long = |outcome: &Outcome| matches!(outcome, Outcome::Error(error) if error.reason == "REPLY_TOO_LONG");
    ensure!(outcomes.len() == 4 && is_too_long(&outcomes[1]) && is_too_long(&outcomes[2]), "{outcomes:?}");
    ensure!(outcomes[0] == Outcome::Set(v1::SetResponse { applied: true, previous: None }), "{outcomes:?}");
    ensure!(outcomes[3] == Outcome::Increment(v1::IncrementResponse { value: 2 }), "{outcomes:?}");
    Ok(())
}

/// A client that sends and does not read is not sent to the shards far ahead, and gets everything once it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_keeps_little() -> Result<()> {
    const OPERATIONS: usize = 100;
    let cluster = Cluster::start(&one_node(1))?;
    let mut kv = primary(&cluster).await?;
    let value = vec![b'x'; MIB];
    kv.set(set("k", value.clone())).await?;
    let request = move |i: usize| {
        let value = [i.to_string().into_bytes(), vec![b'x'; MIB]].concat();
        operation(Operation::Set(v1::SetRequest { return_previous: true, ..set("k", value) }))
    };
    let mut responses = kv.pipeline(futures::stream::iter((0..OPERATIONS).map(request))).await?.into_inner();
    // The number that the value starts with: how many were run.
    let mut run = async || -> Result<String> {
        let reply = kv.execute(execute("GETRANGE k 0 2")).await?.into_inner().reply.and_then(|reply| reply.kind);
        let Some(Kind::Bytes(start)) = reply else { bail!("{reply:?}") };
        Ok(String::from_utf8_lossy(&start).into_owned())
    };
    let (mut before, mut now) = (String::new(), run().await?);
    while before != now || now == "xxx" {
        tokio::time::sleep(Duration::from_secs(1)).await;
        (before, now) = (now, run().await?);
    }
    let ahead: usize = now.trim_end_matches('x').parse()?;
    ensure!(ahead < OPERATIONS / 2, "{ahead} operations were run although nothing was read");
    for i in 0..OPERATIONS {
        let outcome = responses.message().await?.and_then(|response| response.outcome);
        let Some(Outcome::Set(v1::SetResponse { previous: Some(previous), .. })) = outcome else { bail!("no {i}") };
        let expect = if i == 0 { MIB } else { MIB + (i - 1).to_string().len() };
        ensure!(previous.len() == expect, "{i}: {}", previous.len());
    }
    Ok(())
}

/// Streams that nobody reads do not hold up other calls of their connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_not_read_do_not_hold_up_other_calls() -> Result<()> {
    const STREAMS: usize = 16;
    let cluster = Cluster::start(&one_node(1))?;
    let mut kv = primary(&cluster).await?;
    let mut responses = Vec::new();
    for stream in 0..STREAMS {
        let request = move |_| {
            let key = format!("key {stream}");
            operation(Operation::Set(v1::SetRequest { return_previous: true, ..set(key, vec![b'x'; MIB / 4]) }))
        };
        responses.push(kv.pipeline(futures::stream::iter((0..400).map(request))).await?.into_inner());
    }
    for i in 0..50 {
        let value = vec![b'y'; 20_000 * i];
        let mut request = Request::new(set("other", value.clone()));
        request.set_timeout(PATIENCE);
        kv.set(request).await?;
        ensure!(self::value(&mut kv, "other").await? == Some(value));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for mut responses in responses {
        for i in 0..400 {
            let outcome = responses.message().await?.and_then(|response| response.outcome);
            let Some(Outcome::Set(v1::SetResponse { previous, .. })) = outcome else { bail!("{i}: {outcome:?}") };
            ensure!(previous.is_some_and(|previous| previous.len() == MIB / 4) == (i > 0));
        }
        ensure!(responses.message().await?.is_none());
    }
    Ok(())
}

/// Messages take what `grpc-memory` allows, whatever is in them, and give it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_have_a_budget_of_memory() -> Result<()> {
    let node_options = vec![("grpc-memory", "128mb".to_owned())];
    let cluster = Cluster::start(&ClusterOptions { node_options, ..one_node(1) })?;
    let mut kv = primary(&cluster).await?;
    // Many values of a byte: as a reply 3 MB, converted fifty times as much.
    for part in 0..6 {
        let fields = (0..50_000).map(|i| v1::HashField { name: format!("{part}{i:x}").into(), value: "x".into() });
        kv.hash_set(v1::HashSetRequest { key: "h".into(), fields: fields.collect(), ..Default::default() }).await?;
    }
    refused(kv.execute(execute("HGETALL h")).await, Code::ResourceExhausted, "REPLY_DROPPED")?;
    ensure!(value(&mut kv, "none").await?.is_none(), "the connection goes on");
    kv.execute(execute("HSCAN h 0 COUNT 1000")).await?;
    // Responses that nobody reads keep their part, and others find none.
    kv.set(set("k", vec![b'x'; 8 * MIB])).await?;
    let gets = || futures::stream::iter((0..20).map(|_| operation(Operation::Get(get("k")))));
    let mut unread = vec![kv.pipeline(gets()).await?.into_inner(), kv.pipeline(gets()).await?.into_inner()];
    let until = Instant::now() + PATIENCE;
    loop {
        let status = match kv.get(get("k")).await {
            Ok(_) => None,
            Err(status) => Some(seen(&status)),
        };
        if status == Some((Code::ResourceExhausted, "REPLY_DROPPED".to_owned(), false)) {
            break;
        }
        ensure!(status.is_none() && Instant::now() < until, "{status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure!(value(&mut kv, "none").await?.is_none(), "short replies find their room");
    let mut outcomes = (0, 0);
    for responses in &mut unread {
        while let Some(response) = responses.message().await? {
            match response.outcome {
                Some(Outcome::Get(got)) if got.value.as_ref().is_some_and(|value| value.len() == 8 * MIB) => {
                    outcomes.0 += 1;
                }
                Some(Outcome::Error(error)) if error.reason == "REPLY_DROPPED" => outcomes.1 += 1,
                other => bail!("{other:?}"),
            }
        }
    }
    ensure!(outcomes.0 + outcomes.1 == 40 && outcomes.0 >= 4, "{outcomes:?}");
    drop(unread);
    ensure!(value(&mut kv, "k").await?.is_some_and(|value| value.len() == 8 * MIB), "it was given back");
    Ok(())
}

/// What the elements of a request take beside its bytes finds room in `grpc-memory`, or the call is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elements_of_requests_have_a_budget_too() -> Result<()> {
    let node_options = vec![("grpc-memory", "128mb".to_owned())];
    let cluster = Cluster::start(&ClusterOptions { node_options, ..one_node(1) })?;
    let mut kv = primary(&cluster).await?;
    kv.hash_set(v1::HashSetRequest {
        key: "h".into(),
        fields: vec![v1::HashField { name: "1".into(), value: "x".into() }],
        ..Default::default()
    })
    .await?;
    // One megabyte of names, which are 16 MB as elements.
    let many = || {
        let fields = (0..200_000).map(|i| format!("{i:x}").into()).collect();
        v1::HashGetRequest { key: "h".into(), fields, ..Default::default() }
    };
    ensure!(kv.hash_get(many()).await?.into_inner().fields.len() == 1);
    // Writes that wait hold 52 of 64 MiB.
    kv.execute(execute("CLIENT PAUSE 100000 WRITE")).await?;
    let mut waiting = Vec::new();
    for i in 0..4 {
        let mut kv = kv.clone();
        waiting.push(tokio::spawn(async move { kv.set(set(format!("k{i}"), vec![b'x'; 13 * MIB])).await }));
    }
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match kv.hash_get(many()).await {
            Ok(_) => ensure!(Instant::now() < until, "never refused"),
            Err(status) => break status,
        }
    };
    ensure!(seen(&status) == (Code::ResourceExhausted, "NO_MEMORY".to_owned(), true), "{status:?}");
    ensure!(value(&mut kv, "none").await?.is_none(), "short requests find their room");
    kv.execute(execute("CLIENT UNPAUSE")).await?;
    for set in waiting {
        ensure!(set.await??.into_inner().applied);
    }
    ensure!(kv.hash_get(many()).await?.into_inner().fields.len() == 1, "it was given back");
    Ok(())
}

/// Calls count among `maxclients` as clients of the protocol do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_clients() -> Result<()> {
    let node_options = vec![("maxclients", "3".to_owned())];
    let cluster = Cluster::start(&ClusterOptions { node_options, ..one_node(1) })?;
    let mut kv = primary(&cluster).await?;
    let mut clients = Vec::new();
    while clients.len() < 3 {
        let mut client = cluster.connect(1, 1, Duration::from_secs(5)).await?;
        // Connections of others are closed a moment after they have ended.
        if client.call(&[b"PING"]).await.is_ok_and(|reply| reply == Reply::Simple(b"PONG".to_vec())) {
            clients.push(client);
        }
    }
    refused(kv.get(get("a")).await, Code::ResourceExhausted, "MAX_CLIENTS")?;
    clients.pop();
    let until = Instant::now() + PATIENCE;
    while let Err(status) = kv.get(get("a")).await {
        ensure!(seen(&status).1 == "MAX_CLIENTS" && Instant::now() < until, "{status:?}");
    }
    Ok(())
}

/// A deadline ends a call that waits; the call's connection to the shard is not used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_call() -> Result<()> {
    let cluster = Cluster::start(&one_node(1))?;
    let mut kv = primary(&cluster).await?;
    kv.set(set("a", "1")).await?;
    kv.execute(execute("CLIENT PAUSE 100000 WRITE")).await?;
    let mut request = Request::new(set("a", "2"));
    request.set_timeout(Duration::from_millis(200));
    let status = kv.set(request).await.err().context("the write is paused")?;
    ensure!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    ensure!(value(&mut kv, "a").await?.as_deref() == Some(&b"1"[..]));
    kv.execute(execute("CLIENT UNPAUSE")).await?;
    ensure!(value(&mut kv, "a").await?.as_deref() == Some(&b"1"[..]), "the write was given up before it ran");
    kv.set(set("a", "3")).await?;
    ensure!(value(&mut kv, "a").await?.as_deref() == Some(&b"3"[..]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_required_where_there_is_one_and_clients_are_no_administrators() -> Result<()> {
    let cluster = Cluster::start(&one_node(1))?;
    let node = cluster.primary(1, PATIENCE).await?;
    for certificate in [None, Some("client")] {
        let mut admin = AdminServiceClient::new(channel(&cluster, node, certificate).await?);
        let status = admin.describe_cluster(DescribeClusterRequest {}).await.err().context("let in")?;
        ensure!(status.code() == Code::PermissionDenied, "{certificate:?}: {status:?}");
    }
    let mut admin = AdminServiceClient::new(channel(&cluster, node, Some("admin")).await?);
    admin.describe_cluster(DescribeClusterRequest {}).await?;

    let mut kv = primary(&cluster).await?;
    kv.execute(execute("CONFIG SET requirepass secret")).await?;
    refused(kv.get(get("a")).await, Code::Unauthenticated, "NOAUTH")?;
    let with = |header: &str| -> Result<Request<v1::GetRequest>> {
        let mut request = Request::new(get("a"));
        request.metadata_mut().insert("authorization", MetadataValue::try_from(header)?);
        Ok(request)
    };
    // default:secret, default:wrong, no pair.
    kv.get(with("Basic ZGVmYXVsdDpzZWNyZXQ=")?).await?;
    for wrong in ["Basic ZGVmYXVsdDp3cm9uZw==", "Basic c2VjcmV0", "Bearer secret"] {
        refused(kv.get(with(wrong)?).await, Code::Unauthenticated, "WRONGPASS")?;
    }
    Ok(())
}

fn operation(operation: Operation) -> v1::PipelineRequest {
    v1::PipelineRequest { operation: Some(operation) }
}

fn compare(key: &'static str, field: Option<&'static str>, condition: v1::compare::Condition) -> v1::Compare {
    v1::Compare { key: key.into(), field: field.map(Into::into), condition: Some(condition) }
}

/// Transactions: comparisons decide, options go with the whole, and nothing of others comes in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_compare_and_change_as_one() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut kv = primary(&cluster).await?;
    let take = |key: &'static str| {
        operation(Operation::Increment(v1::IncrementRequest { key: key.into(), by: -1, options: None }))
    };
    use v1::compare::Condition::{Equals, Exists};
    kv.set(set("{s}stock", "2")).await?;
    kv.execute(execute("HSET {s}h f 1")).await?;

    let holds = vec![
        compare("{s}stock", None, Equals("2".into())),
        compare("{s}none", None, Exists(false)),
        compare("{s}h", Some("f"), Equals("1".into())),
        compare("{s}h", Some("g"), Exists(false)),
    ];
    let operations = vec![take("{s}stock"), operation(Operation::Execute(execute("HGET {s}stock f")))];
    let with_ttl = v1::GetRequest { with_ttl: true, ..get("{s}stock") };
    let operations =
        [operations, vec![operation(Operation::Get(with_ttl)), operation(Operation::Set(set("{s}sold", "1")))]]
            .concat();
    let options = Some(v1::CallOptions { durability: 1, consistency: 1, ..v1::CallOptions::default() });
    let request =
        v1::TxnRequest { compares: holds.clone(), operations: operations.clone(), options, otherwise: vec![] };
    let response = kv.txn(request.clone()).await?.into_inner();
    let outcomes: Vec<_> = response.responses.into_iter().filter_map(|response| response.outcome).collect();
    ensure!(response.succeeded && outcomes.len() == 4, "{outcomes:?}");
    ensure!(outcomes[0] == Outcome::Increment(v1::IncrementResponse { value: 1 }));
    ensure!(matches!(&outcomes[1], Outcome::Error(error) if error.reason == "WRONGTYPE"), "{outcomes:?}");
    ensure!(outcomes[2] == Outcome::Get(v1::GetResponse { value: Some("1".into()), ttl_ms: None }));
    ensure!(outcomes[3] == Outcome::Set(v1::SetResponse { applied: true, previous: None }));

    // It does not hold any more.
    let otherwise = vec![operation(Operation::Get(get("{s}stock")))];
    let response = kv.txn(v1::TxnRequest { otherwise, ..request.clone() }).await?.into_inner();
    let expect = Outcome::Get(v1::GetResponse { value: Some("1".into()), ttl_ms: None });
    ensure!(!response.succeeded && response.responses == [v1::PipelineResponse { outcome: Some(expect) }]);
    let response = kv.txn(request.clone()).await?.into_inner();
    ensure!(!response.succeeded && response.responses.is_empty());
    let unconditional = v1::TxnRequest { operations: vec![take("{s}stock")], ..Default::default() };
    ensure!(kv.txn(unconditional).await?.into_inner().succeeded);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_transactions_are_refused() -> Result<()> {
    use v1::compare::Condition::{Equals, Exists};
    let cluster = Cluster::start(&one_node(1))?;
    let mut kv = primary(&cluster).await?;
    kv.execute(execute("HSET {s}h f 1")).await?;
    let options = Some(v1::CallOptions { durability: 1, consistency: 1, ..v1::CallOptions::default() });
    let holds = vec![compare("{s}none", None, Exists(false))];
    let with_options = Operation::Get(v1::GetRequest { options, ..get("{s}stock") });
    let other_slot = Operation::Get(get("elsewhere"));
    let ask = |operations: Vec<Operation>, compares| v1::TxnRequest {
        compares,
        operations: operations.into_iter().map(operation).collect(),
        ..Default::default()
    };
    refused(kv.txn(v1::TxnRequest::default()).await, Code::InvalidArgument, "INVALID_REQUEST")?;
    refused(kv.txn(ask(vec![with_options], vec![])).await, Code::InvalidArgument, "INVALID_REQUEST")?;
    refused(kv.txn(ask(vec![other_slot], holds.clone())).await, Code::InvalidArgument, "CROSSSLOT")?;
    let keyless = Operation::Execute(execute("DBSIZE"));
    refused(kv.txn(ask(vec![keyless], holds)).await, Code::InvalidArgument, "CROSSSLOT")?;
    let wrong_type = vec![compare("{s}h", None, Equals("1".into()))];
    refused(kv.txn(ask(vec![], wrong_type)).await, Code::FailedPrecondition, "WRONGTYPE")?;
    Ok(())
}

/// Counters that are read, compared and set by several at once: no change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_several_callers_lose_nothing() -> Result<()> {
    const WORKERS: u64 = 8;
    const ROUNDS: u64 = 50;
    use v1::compare::Condition::Equals;
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let mut kv = primary(&cluster).await?;
    kv.set(set("n", "0")).await?;
    let workers = (0..WORKERS).map(|_| {
        let mut kv = kv.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                loop {
                    let now = value(&mut kv, "n").await?.context("the counter is gone")?;
                    let next = (String::from_utf8(now.clone())?.parse::<u64>()? + 1).to_string();
                    let compares = vec![compare("n", None, Equals(now.into()))];
                    let operations = vec![v1::PipelineRequest { operation: Some(Operation::Set(set("n", next))) }];
                    let request = v1::TxnRequest { compares, operations, ..Default::default() };
                    match kv.txn(request).await {
                        Ok(response) if response.get_ref().succeeded => break,
                        Ok(_) => {}
                        Err(status) if seen(&status) == (Code::Aborted, "CONFLICT".into(), true) => {}
                        Err(status) => return Err(status.into()),
                    }
                }
            }
            Ok::<_, anyhow::Error>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    ensure!(value(&mut kv, "n").await? == Some((WORKERS * ROUNDS).to_string().into_bytes()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_answers_each_operation() -> Result<()> {
    let cluster = Cluster::start(&one_node(2))?;
    cluster.primary(2, PATIENCE).await?;
    let mut kv = primary(&cluster).await?;
    let operations = |count: usize, of: &dyn Fn(usize) -> Operation| v1::BatchRequest {
        operations: (0..count).map(|i| v1::PipelineRequest { operation: Some(of(i)) }).collect(),
    };
    let sets = operations(3_000, &|i| Operation::Set(set(format!("k{i}"), format!("v{i}"))));
    let response = kv.batch(sets).await?.into_inner();
    let applied = Outcome::Set(v1::SetResponse { applied: true, previous: None });
    ensure!(response.responses.len() == 3_000);
    ensure!(response.responses.iter().all(|response| response.outcome.as_ref() == Some(&applied)));
    let gets = operations(3_001, &|i| Operation::Get(get(format!("k{i}"))));
    for (i, response) in kv.batch(gets).await?.into_inner().responses.into_iter().enumerate() {
        let value = (i < 3_000).then(|| format!("v{i}").into());
        ensure!(response.outcome == Some(Outcome::Get(v1::GetResponse { value, ttl_ms: None })), "{i}");
    }
    // Responses that are too long together: each operation has run, and those that fit have their response.
    kv.set(set("long", vec![b'x'; 10 * MIB])).await?;
    let gets = operations(3, &|i| Operation::Get(get(if i == 1 { "k1" } else { "long" })));
    let responses = kv.batch(gets).await?.into_inner().responses;
    ensure!(
        matches!(&responses[0].outcome, Some(Outcome::Get(_)))
            && matches!(&responses[1].outcome, Some(Outcome::Get(_)))
    );
    ensure!(matches!(&responses[2].outcome, Some(Outcome::Error(error)) if error.reason == "REPLY_TOO_LONG"));
    Ok(())
}

async fn health(cluster: &Cluster, node: u64, service: &str) -> Result<ServingStatus> {
    let mut client = HealthClient::new(channel(cluster, node, None).await?);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await?;
    Ok(answer.into_inner().status())
}

/// Load balancers see which node serves a shard, without a password, and tools which calls there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let first = cluster.primary(1, PATIENCE).await?;
    kv(&cluster, first).await?.execute(execute("CONFIG SET requirepass secret")).await?;
    for node in 1..=3 {
        for service in ["", "fastness.v1.KvService"] {
            ensure!(health(&cluster, node, service).await? == ServingStatus::Serving, "node {node} {service:?}");
        }
        let expect = if node == first { ServingStatus::Serving } else { ServingStatus::NotServing };
        ensure!(health(&cluster, node, "fastness.shard.1").await? == expect, "node {node}");
        let unknown = health(&cluster, node, "fastness.shard.2").await;
        ensure!(unknown.is_err_and(|error| error.to_string().contains("not")), "there is no such shard");
    }
    tokio::task::block_in_place(|| cluster.hand_over(1))?;
    let until = Instant::now() + PATIENCE;
    while health(&cluster, first, "fastness.shard.1").await? == ServingStatus::Serving {
        ensure!(Instant::now() < until, "the old primary still reports that it serves");
    }
    let next = first % 3 + 1;
    while health(&cluster, next, "fastness.shard.1").await? != ServingStatus::Serving
        && health(&cluster, next % 3 + 1, "fastness.shard.1").await? != ServingStatus::Serving
    {
        ensure!(Instant::now() < until, "no new primary reports that it serves");
    }

    let mut reflection = ServerReflectionClient::new(channel(&cluster, first, None).await?);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection.server_reflection_info(futures::stream::iter([request])).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { bail!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    ensure!(names.contains(&"fastness.v1.KvService") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    Ok(())
}
