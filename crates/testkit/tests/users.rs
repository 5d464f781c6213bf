//! Users and their rules on real clusters: a change on one node is in force on every node when it is answered, survives
//! kills, and holds for whatever front end a client comes through.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::Figures;
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::wait::until_ok;
use fastness_types::limits::{SETTINGS_BEHIND_MAX, SETTINGS_SILENCE_MAX};
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
const NO_KEY: &str = "-NOPERM No permissions to access a key";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Sends a line, whose reply must be `expected`.
async fn expect(client: &mut Connection, line: &str, expected: &str) -> Result<()> {
    expect_reply(client, &words(line), expected).await
}

async fn login(cluster: &Cluster, node: u64, user: &str, password: &str) -> Result<Connection> {
    let mut client = cluster.connect(node, 1, TIMEOUT).await?;
    let until = Instant::now() + PATIENCE;
    loop {
        let reply = call_text(&mut client, &["AUTH", user, password]).await?;
        match &*reply {
            "OK" => return Ok(client),
            // The node has just started.
            _ if reply.starts_with("-LOADING") && Instant::now() < until => {}
            _ => bail!("node {node}: {reply}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the other side closes the connection.
async fn is_closed(client: &mut Connection) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if client.call(&[b"PING"]).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_in_force_on_every_node_when_they_are_answered() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let primary = cluster.primary(1, PATIENCE).await?;
    let mut admins = Vec::new();
    for node in 1..=3 {
        admins.push(cluster.connect(node, 1, TIMEOUT).await?);
    }
    expect(&mut admins[0], "ACL SETUSER alice on >pw ~a:* %R~b:* +get +set +multi +exec +readonly", "OK").await?;
    let mut sessions = Vec::new();
    for node in 1..=3 {
        let mut session = login(&cluster, node, "alice", "pw").await?;
        expect(&mut session, "GET c", NO_KEY).await?;
        expect(&mut session, "DEL a:1", "-NOPERM User alice has no permissions to run the 'del' command").await?;
        sessions.push(session);
    }
    let session = &mut sessions[primary as usize - 1];
    expect(session, "SET a:1 x", "OK").await?;
    expect(session, "SET b:1 x", NO_KEY).await?;
    expect(session, "GET b:1", "nil").await?;

    // On a node that does not lead, for a session on the primary, between queueing and EXEC.
    expect(session, "MULTI", "OK").await?;
    expect(session, "SET a:1 y", "QUEUED").await?;
    expect(session, "GET a:1", "QUEUED").await?;
    let other = (primary % 3) as usize;
    expect(&mut admins[other], "ACL SETUSER alice -set", "OK").await?;
    let replies = call_text(session, &["EXEC"]).await?;
    ensure!(
        replies
            .starts_with("-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC")
            && replies.ends_with("no permission to execute the command or subcommand\nx"),
        "{replies}"
    );
    expect(session, "MULTI", "OK").await?;
    expect(session, "SET a:1 y", "-NOPERM User alice has no permissions to run the 'set' command").await?;
    expect(session, "EXEC", "-EXECABORT Transaction discarded because of previous errors.").await?;

    // What was refused is shown, and counted.
    let admin = &mut admins[primary as usize - 1];
    let log = call_text(admin, &["ACL", "LOG"]).await?;
    ensure!(log.contains("alice") && log.contains("multi") && log.contains("b:1"), "{log}");
    ensure!(info_field(admin, "stats", "acl_access_denied_cmd").await? >= 2);
    ensure!(info_field(admin, "stats", "acl_access_denied_key").await? >= 2);
    let clients = call_text(admin, &["CLIENT", "LIST", "USER", "alice"]).await?;
    ensure!(clients.lines().count() == 1 && clients.contains(" user=alice "), "{clients}");

    // A deleted user's sessions end, what it has sent runs as nobody, and its password is worth nothing.
    expect(&mut admins[other], "ACL DELUSER alice nobody", "1").await?;
    for session in &mut sessions {
        ensure!(is_closed(session).await, "a session of a deleted user goes on");
    }
    for node in 1..=3 {
        let mut client = cluster.connect(node, 1, TIMEOUT).await?;
        let reply = call_text(&mut client, &["AUTH", "alice", "pw"]).await?;
        ensure!(reply.starts_with("-WRONGPASS"), "{reply}");
        let log = cluster.node_log(node)?;
        ensure!(
            !log.contains(">pw") && !log.contains("30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4")
        );
    }
    let slow = call_text(&mut admins[0], &["SLOWLOG", "GET", "-1"]).await?;
    ensure!(!slow.contains(">pw"), "{slow}");
    Ok(())
}

/// Of changes at once none is lost, and users outlive every process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_survive_kills_and_changes_at_once() -> Result<()> {
    const COMMANDS: [&str; 12] =
        ["get", "set", "del", "incr", "decr", "append", "strlen", "hget", "hset", "hdel", "ttl", "persist"];
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.primary(1, PATIENCE).await?;
    let mut changes = Vec::new();
    for (i, command) in COMMANDS.iter().enumerate() {
        let mut admin = cluster.connect(i as u64 % 3 + 1, 1, TIMEOUT).await?;
        changes.push(tokio::spawn(async move {
            expect(&mut admin, &format!("ACL SETUSER bob on >pw{i} ~* +{command}"), "OK").await
        }));
    }
    for change in changes {
        change.await??;
    }
    cluster.kill_all()?;
    tokio::task::block_in_place(|| cluster.start_again())?;
    cluster.primary(1, PATIENCE).await?;
    for node in 1..=3 {
        for password in 0..COMMANDS.len() {
            login(&cluster, node, "bob", &format!("pw{password}")).await?;
        }
        let mut admin = cluster.connect(node, 1, TIMEOUT).await?;
        for command in COMMANDS {
            let arguments = if ["set", "append", "hget", "hdel"].contains(&command) { "k v" } else { "k" };
            let arguments = if command == "hset" { "k f v" } else { arguments };
            expect(&mut admin, &format!("ACL DRYRUN bob {command} {arguments}"), "OK").await?;
        }
        let denied = "User bob has no permissions to run the 'ping' command";
        expect(&mut admin, "ACL DRYRUN bob ping", denied).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_brings_users_in_and_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("users.acl");
    let options = ClusterOptions {
        azs: vec!["a"],
        replicas: 0,
        durability: "disabled",
        node_options: vec![("aclfile", file.display().to_string())],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(&options)?;
    let mut admin = cluster.connect(1, 1, TIMEOUT).await?;
    expect(&mut admin, "ACL SETUSER carol on >pw ~c:* -@all +@read", "OK").await?;
    expect(&mut admin, "ACL SAVE", "OK").await?;
    let list = call_text(&mut admin, &["ACL", "LIST"]).await?;
    ensure!(std::fs::read_to_string(&file)?.trim_end() == list, "{list}");
    expect(&mut admin, "ACL SETUSER dave on nopass +@all", "OK").await?;
    expect(&mut admin, "ACL SETUSER carol +@write", "OK").await?;
    let mut dave = login(&cluster, 1, "dave", "anything").await?;
    expect(&mut admin, "ACL LOAD", "OK").await?;
    expect(&mut admin, "ACL LIST", &list).await?;
    ensure!(is_closed(&mut dave).await, "the file has no dave");
    std::fs::write(&file, "user carol on +@nothing\n")?;
    let refused = call_text(&mut admin, &["ACL", "LOAD"]).await?;
    ensure!(refused.contains(":1: Unknown command or category name in ACL"), "{refused}");
    expect(&mut admin, "ACL LIST", &list).await?;
    let inside = ["MULTI", "ACL SETUSER x on", "EXEC"];
    let mut last = String::new();
    for line in inside {
        last = call_text(&mut admin, &words(line)).await?;
    }
    ensure!(last.contains("cannot be changed inside of MULTI"), "{last}");
    Ok(())
}

/// Lines `user …` of the config files are a new cluster's users. Later ones change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_config_file_are_a_new_clusters_users_and_no_later_ones() -> Result<()> {
    let lines = ["default off", "alice on >pw ~a:* +get +set", "root on >root ~* &* +@all"];
    let node_options = lines.iter().map(|line| ("user", (*line).to_owned())).collect();
    let cluster = Cluster::start(&ClusterOptions { node_options, ..ClusterOptions::default() })?;
    let mut root = login(&cluster, 1, "root", "root").await?;
    for node in 1..=3 {
        let mut stranger = cluster.connect(node, 1, TIMEOUT).await?;
        expect(&mut stranger, "PING", "-NOAUTH Authentication required.").await?;
        let mut alice = login(&cluster, node, "alice", "pw").await?;
        expect(&mut alice, "GET b", NO_KEY).await?;
    }
    expect(&mut root, "ACL SETUSER alice >new", "OK").await?;
    expect(&mut root, "ACL SETUSER bob on >pw +ping", "OK").await?;
    let list = call_text(&mut root, &["ACL", "LIST"]).await?;
    ensure!(list.lines().count() == 4, "{list}");

    // The file of one node says otherwise, and it restarts. Its config is written anew with these lines at each start.
    let config = cluster.dir().join("options.conf");
    let text = std::fs::read_to_string(&config)?;
    let changed = text.replace("user default off", "user default on nopass ~* +@all\nuser eve on nopass ~* +@all");
    ensure!(changed != text, "{text}");
    cluster.kill(2)?;
    std::fs::write(&config, &changed)?;
    let before = cluster.node_log(2)?.len();
    tokio::task::block_in_place(|| cluster.start_node(2))?;
    let mut again = login(&cluster, 2, "root", "root").await?;
    expect(&mut again, "ACL LIST", &list).await?;
    let mut stranger = cluster.connect(2, 1, TIMEOUT).await?;
    expect(&mut stranger, "PING", "-NOAUTH Authentication required.").await?;
    let log = cluster.node_log(2)?;
    let log = log.get(before..).unwrap_or_default();
    ensure!(log.contains("differ from the cluster's, which apply") && log.contains("alice, default, eve"), "{log}");
    expect(&mut root, "ACL LIST", &list).await?;

    // After all have died, the cluster still has what it had, although all files say otherwise now.
    cluster.kill_all()?;
    tokio::task::block_in_place(|| cluster.start_again())?;
    for node in 1..=3 {
        let mut root = login(&cluster, node, "root", "root").await?;
        expect(&mut root, "ACL LIST", &list).await?;
        let mut stranger = cluster.connect(node, 1, TIMEOUT).await?;
        expect(&mut stranger, "PING", "-NOAUTH Authentication required.").await?;
    }

    // A wrong line keeps a node from starting, and is named.
    cluster.kill(2)?;
    std::fs::write(&config, text.replace("user default off", "user default maybe"))?;
    let refused = tokio::task::block_in_place(|| cluster.start_node(2));
    let error = format!("{:#}", refused.err().context("it started")?);
    ensure!(error.contains("user default: ") && error.contains("config file, line "), "{error}");
    Ok(())
}

async fn control_leader(cluster: &Cluster) -> Result<u64> {
    until_ok(PATIENCE, async || {
        for node in cluster.node_ids()? {
            if Figures::of(&cluster.node(node)?).await?.node("fastness_control_is_leader")? == 1 {
                return Ok(node);
            }
        }
        bail!("nobody leads the control plane")
    })
    .await
}

/// The primary is cut off from the node that leads the control plane, and not from its shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_primary_goes_by_older_rules_once_a_change_is_answered() -> Result<()> {
    const OUTDATED: &str = "-LOADING This node does not have the newest rules of the cluster's users";
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let leader = control_leader(&cluster).await?;
    let primary = until_ok(PATIENCE, async || {
        let primary = cluster.primary(1, PATIENCE).await?;
        if primary == leader {
            tokio::task::block_in_place(|| cluster.hand_over(1))?;
        }
        ensure!(primary != leader, "node {leader} leads the control plane and the shard");
        Ok(primary)
    })
    .await?;
    let mut admin = cluster.connect(leader, 1, TIMEOUT).await?;
    expect(&mut admin, "ACL SETUSER alice on >pw ~a:* +get +set", "OK").await?;
    let mut alice = login(&cluster, primary, "alice", "pw").await?;
    let mut anybody = cluster.connect(primary, 1, TIMEOUT).await?;
    let both_ways = |fault: &str| {
        let cut = [(leader, primary), (primary, leader)];
        cut.into_iter().try_for_each(|(from, to)| cluster.link_fault(from, to, fault))
    };
    tokio::task::block_in_place(|| both_ways("cut"))?;

    // Not to hear the control plane stops nobody who was let in: no rules have changed.
    let until = Instant::now() + SETTINGS_SILENCE_MAX + SETTINGS_BEHIND_MAX + Duration::from_secs(1);
    while Instant::now() < until {
        expect(&mut alice, "SET a:1 x", "OK").await?;
        expect(&mut anybody, "GET a:1", "x").await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let figures = Figures::of(&cluster.node(primary)?).await?;
    ensure!(figures.node("fastness_settings_outdated")? == 0);

    expect(&mut admin, "ACL SETUSER alice -set", "OK").await?;
    let reply = call_text(&mut alice, &["SET", "a:1", "y"]).await?;
    ensure!(reply.starts_with(OUTDATED), "{reply}");
    for line in ["GET a:1", "MULTI", "CONFIG GET maxmemory"] {
        let reply = call_text(&mut anybody, &words(line)).await?;
        ensure!(reply.starts_with(OUTDATED), "{line}: {reply}");
    }
    let mut kv = kv(&cluster, primary).await?;
    let status = kv.get(get("a:1")).await.err().context("let in")?;
    ensure!((status.code(), &*reason(&status)) == (Code::Unavailable, "LOADING"), "{status:?}");
    ensure!(Figures::of(&cluster.node(primary)?).await?.node("fastness_settings_outdated")? == 1);

    tokio::task::block_in_place(|| both_ways("heal"))?;
    until_ok(PATIENCE, async || {
        let reply = call_text(&mut alice, &["GET", "a:1"]).await?;
        ensure!(!reply.starts_with(OUTDATED), "{reply}");
        Ok(())
    })
    .await?;
    let node = cluster.primary(1, PATIENCE).await?;
    let mut alice = login(&cluster, node, "alice", "pw").await?;
    expect(&mut alice, "SET a:1 y", "-NOPERM User alice has no permissions to run the 'set' command").await?;
    expect(&mut alice, "GET a:1", "x").await
}

/// `requirepass` is the password of `default`, and several passwords of a user can be rotated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_rotate_and_requirepass_is_the_default_users() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.primary(1, PATIENCE).await?;
    let mut admin = cluster.connect(1, 1, TIMEOUT).await?;
    expect(&mut admin, "CONFIG SET requirepass one", "OK").await?;
    // The command takes its own right away, and is answered.
    expect(&mut admin, "ACL SETUSER root on >root +@all allkeys", "OK").await?;
    expect(&mut admin, "ACL SETUSER default >two -@dangerous +config|get +acl|whoami", "OK").await?;
    let mut root = login(&cluster, 2, "root", "root").await?;
    for node in 1..=3 {
        for password in ["one", "two"] {
            let mut client = login(&cluster, node, "default", password).await?;
            expect(&mut client, "ACL WHOAMI", "default").await?;
            let refused = call_text(&mut client, &["CONFIG", "SET", "timeout", "0"]).await?;
            ensure!(refused.starts_with("-NOPERM"), "{refused}");
            expect(&mut client, "CONFIG GET requirepass", "requirepass\n*****").await?;
        }
    }
    expect(&mut root, "ACL SETUSER default <one +@all", "OK").await?;
    let mut client = cluster.connect(2, 1, TIMEOUT).await?;
    let reply = call_text(&mut client, &["AUTH", "one"]).await?;
    ensure!(reply.starts_with("-WRONGPASS"), "{reply}");
    expect(&mut client, "AUTH two", "OK").await?;
    // Replaces all of them.
    expect(&mut client, "CONFIG SET requirepass three", "OK").await?;
    let mut client = cluster.connect(3, 1, TIMEOUT).await?;
    let reply = call_text(&mut client, &["AUTH", "two"]).await?;
    ensure!(reply.starts_with("-WRONGPASS"), "{reply}");
    expect(&mut client, "AUTH three", "OK").await?;
    expect(&mut client, "CONFIG SET requirepass", "-ERR wrong number of arguments for 'config|set' command").await?;
    expect_reply(&mut client, &["CONFIG", "SET", "requirepass", ""], "OK").await?;
    let mut open = cluster.connect(1, 1, TIMEOUT).await?;
    expect(&mut open, "PING", "PONG").await?;
    // Whoever deletes itself has its answer.
    expect(&mut root, "ACL DELUSER root", "1").await?;
    ensure!(is_closed(&mut root).await);
    Ok(())
}

/// Whoever guesses is slowed down; others are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_is_slow() -> Result<()> {
    let options = ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() };
    let cluster = Cluster::start(&options)?;
    let mut admin = cluster.connect(1, 1, TIMEOUT).await?;
    expect(&mut admin, "ACL SETUSER eve on >pw +@all", "OK").await?;
    let mut client = cluster.connect(1, 1, TIMEOUT).await?;
    let began = Instant::now();
    let mut checked = 0;
    while began.elapsed() < Duration::from_secs(2) {
        let reply = call_text(&mut client, &["AUTH", "eve", "guess"]).await?;
        ensure!(reply.starts_with("-WRONGPASS") || reply.starts_with("-ERR too many failed attempts"), "{reply}");
        checked += usize::from(reply.starts_with("-WRONGPASS"));
    }
    // A hundred at once, then ten a second.
    let most = 101 + began.elapsed().as_millis() as usize / 100;
    ensure!((100..=most).contains(&checked), "{checked} guesses were checked, at most {most} may be");
    tokio::time::sleep(Duration::from_millis(300)).await;
    expect(&mut client, "AUTH eve pw", "OK").await
}

type Kv = KvServiceClient<Channel>;

async fn kv(cluster: &Cluster, node: u64) -> Result<Kv> {
    let ca = std::fs::read(cluster.dir().join("ca.crt"))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let address = cluster.node(node)?.grpc;
    let channel = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect().await?;
    Ok(KvServiceClient::new(channel))
}

fn as_user<T>(pair: &str, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    let pair = base64::prelude::BASE64_STANDARD.encode(pair);
    request.metadata_mut().insert("authorization", format!("Basic {pair}").parse()?);
    Ok(request)
}

fn get(key: &'static str) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// The same users over gRPC, call by call on one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_the_same_over_grpc() -> Result<()> {
    let cluster = Cluster::start(&ClusterOptions::default())?;
    let node = cluster.primary(1, PATIENCE).await?;
    let mut admin = cluster.connect(node, 1, TIMEOUT).await?;
    expect(&mut admin, "ACL SETUSER alice on >pw ~a:* +get +set", "OK").await?;
    expect(&mut admin, "ACL SETUSER bob on >pw ~b:* +get", "OK").await?;
    let mut kv = kv(&cluster, node).await?;
    let set = v1::SetRequest { key: "a:1".into(), value: "x".into(), ..Default::default() };
    kv.set(as_user("alice:pw", set.clone())?).await?;
    kv.get(as_user("alice:pw", get("a:1"))?).await?;
    kv.get(as_user("bob:pw", get("b:1"))?).await?;
    kv.get(get("a:1")).await.context("default may do everything")?;
    for (pair, key) in [("alice:pw", "b:1"), ("bob:pw", "a:1")] {
        let status = kv.get(as_user(pair, get(key))?).await.err().context(key)?;
        ensure!((status.code(), &*reason(&status)) == (Code::PermissionDenied, "NOPERM"), "{status:?}");
    }
    let status = kv.get(as_user("alice:no", get("a:1"))?).await.err().context("let in")?;
    ensure!((status.code(), &*reason(&status)) == (Code::Unauthenticated, "WRONGPASS"), "{status:?}");
    // A stream's rights are those of the moment, and end with its user.
    let (to, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut responses = kv.pipeline(as_user("alice:pw", requests)?).await?.into_inner();
    let mut next = async |operation: v1::pipeline_request::Operation| -> Result<v1::pipeline_response::Outcome> {
        to.send(v1::PipelineRequest { operation: Some(operation) }).await?;
        responses.message().await?.and_then(|response| response.outcome).context("the stream has ended")
    };
    use v1::pipeline_request::Operation::{Get, Set};
    use v1::pipeline_response::Outcome;
    let outcome = next(Set(set.clone())).await?;
    ensure!(matches!(outcome, Outcome::Set(_)), "{outcome:?}");
    expect(&mut admin, "ACL SETUSER alice -set", "OK").await?;
    let outcome = next(Set(set)).await?;
    ensure!(matches!(&outcome, Outcome::Error(error) if error.reason == "NOPERM"), "{outcome:?}");
    ensure!(matches!(next(Get(get("a:1"))).await?, Outcome::Get(_)));
    expect(&mut admin, "ACL DELUSER alice", "1").await?;
    for _ in 0..3 {
        let outcome = next(Get(get("a:1"))).await?;
        ensure!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    }
    let status = kv.get(as_user("alice:pw", get("a:1"))?).await.err().context("let in")?;
    ensure!((status.code(), &*reason(&status)) == (Code::Unauthenticated, "WRONGPASS"), "{status:?}");
    ensure!(info_field(&mut admin, "stats", "acl_access_denied_auth").await? == 2);
    Ok(())
}
