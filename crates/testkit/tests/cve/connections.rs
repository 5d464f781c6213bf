//! Connections that end, or lose their user, while something of them is under way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_load::connection::encode;
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::wait::until_ok;

use super::{PATIENCE, Target, execute};

/// How often each moment is tried.
const ROUNDS: usize = 30;
const MIB: usize = 1 << 20;
/// Replies of one MiB that a client does not read: more than the sockets on the way hold.
const UNREAD: usize = 16;

async fn fill(client: &mut Connection) -> Result<()> {
    expect_reply(client, &["SET", "big", &"x".repeat(MIB)], "OK").await
}

async fn id(client: &mut Connection) -> Result<String> {
    call_text(client, &["CLIENT", "ID"]).await
}

/// Requests as a pipeline.
fn pipeline(requests: &[&[&str]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in requests {
        let words: Vec<&[u8]> = request.iter().map(|word| word.as_bytes()).collect();
        encode(&words, &mut bytes);
    }
    bytes
}

fn unread() -> Vec<u8> {
    pipeline(&[&["GET", "big"]]).repeat(UNREAD)
}

/// Whether the server closes the connection, whatever it has sent before.
async fn is_closed(client: &mut Connection) -> bool {
    for _ in 0..=2 * UNREAD {
        match client.receive().await {
            Ok(_) => {}
            Err(error) => return !matches!(error, fastness_load::connection::IoError::TimedOut(_)),
        }
    }
    false
}

/// CVE-2023-41056: buffers that grow and shrink while a command is received and while replies wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffers_that_are_resized_lose_nothing() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let mut clients = Vec::new();
    // Around the sizes at which buffers grow, are given back, or are replaced by one of their own.
    for len in [1_000, 16_383, 16_384, 16_385, 32_768, 65_536, 262_143, 262_145, MIB, 5 * MIB] {
        let value: String = (0..len).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
        let key = format!("resized{len}");
        let request = pipeline(&[&["SET", &key, &value], &["GET", &key], &["PING"], &["GET", &key]]);
        clients.push((target.resp().await?, request, value));
    }
    for (client, request, value) in &mut clients {
        client.send_raw(&request[..value.len() / 2]).await?;
    }
    // Buffers of connections that are silent are given back about once a second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for (client, request, value) in &mut clients {
        client.send_raw(&request[value.len() / 2..]).await?;
    }
    for (client, _, value) in &mut clients {
        let mut replies = Vec::new();
        for _ in 0..4 {
            replies.push(fastness_testkit::reply_text::text(client.receive().await?));
        }
        ensure!(replies == ["OK", value, "PONG", value], "a value of {} bytes", value.len());
    }
    let mut operator = target.resp().await?;
    expect_reply(&mut operator, &["FLUSHALL"], "OK").await?;
    until_ok(PATIENCE, async || {
        let list = call_text(&mut operator, &["CLIENT", "LIST"]).await?;
        let held =
            list.split_whitespace().filter_map(|word| word.strip_prefix("tot-mem=")?.parse::<usize>().ok()).max();
        ensure!(held.is_some_and(|held| held < 64 * 1024), "{held:?} bytes are kept for a silent connection");
        Ok(())
    })
    .await?;
    target.check("resized buffers").await
}

/// CVE-2026-56684: a client over TLS is killed, by itself or by another one, while its replies are being sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_clients_are_killed_while_they_are_served() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let (mut operator, mut grpc) = (target.resp().await?, target.grpc().await?);
    fill(&mut operator).await?;
    for round in 0..ROUNDS {
        let mut victim = target.cluster.connect_tls(1, 1, PATIENCE).await?;
        let number = id(&mut victim).await?;
        victim.send_raw(&unread()).await?;
        if round % 2 == 0 {
            expect_reply(&mut operator, &["CLIENT", "KILL", "ID", &number], "1").await?;
        } else {
            let kill = ["CLIENT", "KILL", "ID", &number].map(|word| word.as_bytes().to_vec());
            let killed = execute(&mut grpc, &kill).await;
            ensure!(killed == "1", "{killed}");
        }
        ensure!(is_closed(&mut victim).await, "round {round}");

        let mut suicide = target.cluster.connect_tls(1, 1, PATIENCE).await?;
        let number = id(&mut suicide).await?;
        let kill: &[&str] = &["CLIENT", "KILL", "ID", &number, "SKIPME", "no"];
        suicide.send_raw(&[unread(), pipeline(&[kill, &["PING"]]), unread()].concat()).await?;
        ensure!(is_closed(&mut suicide).await, "round {round}, by itself");
        // It is removed from the list after its socket is closed.
        until_ok(PATIENCE, async || expect_reply(&mut operator, &["CLIENT", "KILL", "ID", &number], "0").await).await?;
    }
    // Calls over gRPC run on connections in memory, which can be killed, too.
    let mut calls = Vec::new();
    for _ in 0..4 {
        let mut grpc = target.grpc().await?;
        calls.push(tokio::spawn(async move {
            let get = [b"GET".to_vec(), b"big".to_vec()];
            let mut served = 0;
            for _ in 0..ROUNDS {
                served += usize::from(execute(&mut grpc, &get).await.len() == MIB);
            }
            // None is killed any more.
            (served, execute(&mut grpc, &get).await)
        }));
    }
    for _ in 0..ROUNDS {
        call_text(&mut operator, &["CLIENT", "KILL", "TYPE", "normal"]).await?;
        tokio::task::yield_now().await;
    }
    for call in calls {
        let (served, last) = call.await?;
        ensure!(last.len() == MIB, "after {served} calls: {}", last.chars().take(200).collect::<String>());
    }
    expect_reply(&mut operator, &["DEL", "big"], "1").await?;
    target.check("CLIENT KILL").await
}

/// CVE-2026-23479: a client that is unblocked, and ends in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_unblocked_and_end_at_once() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let mut operator = target.resp().await?;
    for round in 0..ROUNDS {
        let mut blocked = target.resp().await?;
        let number = id(&mut blocked).await?;
        blocked.send_raw(&pipeline(&[&["SET", "k", "1"], &["WAIT", "5", "0"], &["PING"]])).await?;
        let is_blocked = async || {
            let list = call_text(&mut target.resp().await?, &["CLIENT", "LIST", "ID", &number]).await?;
            ensure!(list.contains(" cmd=wait "), "{list}");
            Ok(())
        };
        until_ok(PATIENCE, is_blocked).await?;
        match round % 3 {
            0 => {
                expect_reply(&mut operator, &["CLIENT", "UNBLOCK", &number, "ERROR"], "1").await?;
                let mut replies = Vec::new();
                for _ in 0..3 {
                    replies.push(fastness_testkit::reply_text::text(blocked.receive().await?));
                }
                ensure!(replies == ["OK", "-UNBLOCKED client unblocked via CLIENT UNBLOCK", "PONG"], "{replies:?}");
                expect_reply(&mut operator, &["CLIENT", "UNBLOCK", &number], "0").await?;
            }
            1 => {
                let both: [&[&str]; 3] = [
                    &["CLIENT", "UNBLOCK", &number],
                    &["CLIENT", "KILL", "ID", &number],
                    &["CLIENT", "UNBLOCK", &number],
                ];
                operator.send_raw(&pipeline(&both)).await?;
                let mut replies = Vec::new();
                for _ in 0..3 {
                    replies.push(fastness_testkit::reply_text::text(operator.receive().await?));
                }
                ensure!(replies == ["1", "1", "0"], "{replies:?}");
                ensure!(is_closed(&mut blocked).await);
            }
            _ => {
                drop(blocked);
                // Its end may have been noticed already.
                let reply = call_text(&mut operator, &["CLIENT", "UNBLOCK", &number]).await?;
                ensure!(reply == "0" || reply == "1", "{reply}");
            }
        }
    }
    target.check("CLIENT UNBLOCK").await
}

/// CVE-2026-130822: clients are evicted in the middle of a transaction, of a reply, of a wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_evicted_whatever_they_do() -> Result<()> {
    let target = Target::start(Vec::new()).await?;
    let mut operator = target.resp().await?;
    fill(&mut operator).await?;
    expect_reply(&mut operator, &["CLIENT", "NO-EVICT", "ON"], "OK").await?;
    let large = "x".repeat(MIB);
    let queue: [&[&str]; 3] = [&["MULTI"], &["SET", "a", &large], &["SET", "b", &large]];
    let wait: [&[&str]; 4] = [&["SET", "k", "1"], &["WAIT", "5", "0"], &["ECHO", &large], &["ECHO", &large]];
    let started: [Vec<u8>; 4] = [
        unread(),
        [pipeline(&queue), pipeline(&[&["SET", "{e}c", &large]])[..MIB / 2].to_vec()].concat(),
        [unread(), pipeline(&wait)].concat(),
        [unread(), pipeline(&[&["CLIENT", "REPLY", "OFF"]]), unread()].concat(),
    ];
    let evicted_before = info_field(&mut operator, "stats", "evicted_clients").await?;
    let mut clients = Vec::new();
    for bytes in started.iter().cycle().take(4 * started.len()) {
        for tls in [false, true] {
            let mut client = match tls {
                false => target.resp().await?,
                true => target.cluster.connect_tls(1, 1, PATIENCE).await?,
            };
            client.send_raw(bytes).await?;
            clients.push(client);
        }
    }
    expect_reply(&mut operator, &["CONFIG", "SET", "maxmemory-clients", "1mb"], "OK").await?;
    until_ok(PATIENCE, async || {
        let evicted = info_field(&mut operator, "stats", "evicted_clients").await? - evicted_before;
        let held = info_field(&mut operator, "memory", "mem_clients_normal").await?;
        ensure!(evicted as usize >= clients.len() / 2 && held < 3 << 20, "{evicted} evicted, {held} bytes are left");
        Ok(())
    })
    .await?;
    expect_reply(&mut operator, &["CONFIG", "SET", "maxmemory-clients", "0"], "OK").await?;
    drop(clients);
    expect_reply(&mut operator, &["EXISTS", "{e}a", "{e}b", "{e}c"], "0").await.context("what was only queued")?;
    expect_reply(&mut operator, &["DEL", "big"], "1").await?;
    let mut grpc = target.grpc().await?;
    ensure!(execute(&mut grpc, &[b"PING".to_vec()]).await == "PONG");
    target.check("client eviction").await
}

/// Fixed in 2026: ACL LOAD removes the user of a client that is being closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_removed_while_their_clients_close() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("users.acl");
    let target = Target::start(vec![("aclfile", file.display().to_string())]).await?;
    let mut operator = target.resp().await?;
    fill(&mut operator).await?;
    expect_reply(&mut operator, &["ACL", "SAVE"], "OK").await?;
    let without = std::fs::read_to_string(&file).context("what ACL SAVE wrote")?;
    for round in 0..ROUNDS / 3 {
        expect_reply(&mut operator, &["ACL", "SETUSER", "leaving", "on", "nopass", "~*", "+@all"], "OK").await?;
        std::fs::write(&file, &without)?;
        let mut sessions = Vec::new();
        for i in 0..6 {
            let mut session = match i % 2 {
                0 => target.resp().await?,
                _ => target.cluster.connect_tls(1, 1, PATIENCE).await?,
            };
            expect_reply(&mut session, &["AUTH", "leaving", "x"], "OK").await?;
            let number = id(&mut session).await?;
            session.send_raw(&unread()).await?;
            if i < 2 {
                // It is closed once its replies have left.
                session.send_raw(&pipeline(&[&["QUIT"]])).await?;
            }
            sessions.push((session, number));
        }
        // Two are killed in the same moment in which all lose their user.
        let kills: Vec<[&str; 4]> = sessions[2..4].iter().map(|(_, number)| ["CLIENT", "KILL", "ID", number]).collect();
        let requests: Vec<&[&str]> =
            kills.iter().map(|kill| &kill[..]).chain([&["ACL", "LOAD"][..], &["ACL", "USERS"]]).collect();
        operator.send_raw(&pipeline(&requests)).await?;
        let mut replies = Vec::new();
        for _ in &requests {
            replies.push(fastness_testkit::reply_text::text(operator.receive().await?));
        }
        ensure!(replies == ["1", "1", "OK", "default"], "round {round}: {replies:?}");
        for (session, _) in &mut sessions {
            ensure!(is_closed(session).await, "round {round}: the session of a removed user stays");
        }
    }
    expect_reply(&mut operator, &["DEL", "big"], "1").await?;
    target.check("ACL LOAD").await
}
