//! A primary that cannot commit has effects in its memory that no other node knows. Once another primary exists, no
//! client may see these effects, on any listener, before and after the old primary has returned; and no client received
//! OK.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fastness_load::outcome::classify;
use fastness_load::{Connection, IoError, Outcome};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{Cluster, ClusterOptions, wait_for_exit};
use fastness_testkit::observe::{Digests, Figures, wait_until_level};
use fastness_testkit::partition::{self, Cut};
use fastness_testkit::wait::until_ok;
use rustix::process::{Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
/// Values that must never be read.
const GHOST: &str = "ghost";

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

async fn acknowledged(client: &mut Connection, command: &[&[u8]]) -> Result<()> {
    let reply = client.call(command).await?;
    ensure!(classify(&reply) == Outcome::Acknowledged, "{:?}: {reply:?}", String::from_utf8_lossy(command[0]));
    Ok(())
}

/// Values before; the effects would change something in all of them.
async fn prepare(client: &mut Connection) -> Result<()> {
    acknowledged(client, &[b"SET", b"overwritten", b"committed"]).await?;
    acknowledged(client, &[b"SET", b"deleted", b"committed"]).await?;
    acknowledged(client, &[b"SET", b"counter", b"5"]).await?;
    acknowledged(client, &[b"SET", b"appended", b"committed"]).await
}

const WRITES: [&[&[u8]]; 5] = [
    &[b"SET", b"overwritten", GHOST.as_bytes()],
    &[b"DEL", b"deleted"],
    &[b"INCR", b"counter"],
    &[b"APPEND", b"appended", GHOST.as_bytes()],
    &[b"SET", b"created", GHOST.as_bytes()],
];

/// Reads everything that the effects would change. An answer with data must be the committed state; a refusal shows
/// nothing. `Err` names what was shown.
async fn shows_nothing(client: &mut Connection, where_: &str) -> Result<bool> {
    let questions: [(&[&[u8]], Value); 7] = [
        (&[b"GET", b"overwritten"], bulk("committed")),
        (&[b"GET", b"deleted"], bulk("committed")),
        (&[b"GET", b"counter"], bulk("5")),
        (&[b"GET", b"appended"], bulk("committed")),
        (&[b"GET", b"created"], Value::Null),
        (&[b"EXISTS", b"created"], Value::Integer(0)),
        (&[b"STRLEN", b"appended"], Value::Integer(9)),
    ];
    let mut served = true;
    for (question, committed) in questions {
        let reply = client.call(question).await?;
        if classify(&reply) == Outcome::Acknowledged {
            let words: Vec<_> = question.iter().map(|word| String::from_utf8_lossy(word)).collect();
            ensure!(reply == committed, "{where_}: {words:?} answered {reply:?}, committed is {committed:?}");
        } else {
            served = false;
        }
    }
    Ok(served)
}

/// Reads at all listeners of a node: plaintext and TLS, as a plain and as a READONLY client. Returns whether a READONLY
/// client was served.
async fn listeners_show_nothing(cluster: &Cluster, node: u64, timeout: Duration) -> Result<bool> {
    let mut served = false;
    for read_only in [false, true] {
        for tls in [false, true] {
            let mut client = match tls {
                false => cluster.connect(node, 1, timeout).await?,
                true => cluster.connect_tls(node, 1, timeout).await?,
            };
            if read_only {
                acknowledged(&mut client, &[b"READONLY"]).await?;
            }
            let where_ = format!("node {node}, TLS {tls}, READONLY {read_only}");
            let all = shows_nothing(&mut client, &where_).await?;
            served |= read_only && all;
        }
    }
    Ok(served)
}

/// Keeps all other nodes from answering the primary. The result must be kept alive as long as that should last.
type Isolate<'a, T> = &'a dyn Fn(u64) -> Result<T>;

/// Stages effects on the primary while its lease still holds, after the others were kept from answering it. Returns the
/// clients that wait for their replies, and the isolation; `None` if the lease had run out before (a slow machine):
/// then nothing was staged.
async fn stage<T>(cluster: &Cluster, primary: u64, isolate: Isolate<'_, T>) -> Result<Option<(Vec<Connection>, T)>> {
    let mut clients = Vec::new();
    for _ in WRITES {
        clients.push(cluster.connect(primary, 1, PATIENCE).await?);
    }
    let isolated = isolate(primary)?;
    for (client, write) in clients.iter_mut().zip(WRITES) {
        let mut bytes = Vec::new();
        fastness_load::connection::encode(write, &mut bytes);
        client.send_raw(&bytes).await?;
    }
    let mut client = cluster.connect(primary, 1, PATIENCE).await?;
    until_ok(PATIENCE, async || {
        let reply = client.call(&[b"GET", b"unrelated"]).await?;
        ensure!(classify(&reply) != Outcome::Acknowledged, "node {primary} does not notice that it is alone");
        Ok(())
    })
    .await?;
    let figures = Figures::of(&cluster.node(primary)?).await?;
    let open = figures.shard("fastness_uncommitted_batches", 1)?;
    if open == 0 {
        return Ok(None);
    }
    eprintln!("{open} open batches, {} bytes of open effects", figures.shard("fastness_uncommitted_effect_bytes", 1)?);
    Ok(Some((clients, isolated)))
}

/// A primary with uncommitted effects, the clients that wait for them, and the isolation. Repeats where the lease was
/// too short.
async fn staged<T>(cluster: &Cluster, isolate: Isolate<'_, T>) -> Result<(u64, Vec<Connection>, T)> {
    for _ in 0..10 {
        let primary = cluster.primary(1, PATIENCE).await?;
        prepare(&mut cluster.connect(primary, 1, PATIENCE).await?).await?;
        if let Some((waiting, isolated)) = stage(cluster, primary, isolate).await? {
            return Ok((primary, waiting, isolated));
        }
        tokio::task::block_in_place(|| cluster.start_again())?;
    }
    bail!("the lease was over before a write could be staged, ten times")
}

/// Numbers of undone writes, of undos by records, and of restores.
async fn undone(cluster: &Cluster, node: u64) -> Result<[u64; 3]> {
    let figures = Figures::of(&cluster.node(node)?).await?;
    let names = ["fastness_undone_writes_total", "fastness_undos_by_log_total", "fastness_restores_total"];
    let [writes, by_records, restores] = names.map(|name| figures.shard(name, 1));
    Ok([writes?, by_records?, restores?])
}

/// Reads at all listeners of the old primary from the first moment of its return, until it serves and has undone the
/// effects.
async fn returns_without_them(cluster: &Cluster, old: u64, before: [u64; 3]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let served = listeners_show_nothing(cluster, old, PATIENCE).await?;
        let [after, by_records, restores] = undone(cluster, old).await?;
        let undone = after - before[0];
        if served && undone > 0 {
            eprintln!("{undone} writes undone");
            ensure!((by_records, restores) == (before[1] + 1, before[2]), "by undo records, without a restore");
            return Ok(());
        }
        ensure!(Instant::now() < until, "node {old} undid {undone} writes, serves READONLY clients: {served}");
    }
}

/// No client received OK, nor that the write was refused: such a client would repeat it.
async fn were_told_the_truth(waiting: Vec<Connection>) -> Result<()> {
    for (mut client, write) in waiting.into_iter().zip(WRITES) {
        let write = String::from_utf8_lossy(write[0]);
        match client.receive().await {
            Ok(reply @ Value::Error(_)) => {
                ensure!(classify(&reply) == Outcome::Unknown, "{write}, which was staged, was answered {reply:?}");
            }
            // A closed connection says nothing about the outcome, which is correct.
            Err(IoError::Closed | IoError::Io(_)) => {}
            other => bail!("{write} was answered {other:?}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_followers_died_never_shows_what_did_not_commit() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let kill_others = |primary| {
        let pids: Vec<_> = (1..=3).filter(|n| *n != primary).map(|n| cluster.pid(n)).collect::<Result<_>>()?;
        for pid in &pids {
            kill_process(*pid, Signal::KILL)?;
        }
        Ok(pids)
    };
    let (old, waiting, killed) = staged(&cluster, &kill_others).await?;
    killed.into_iter().try_for_each(wait_for_exit)?;
    let undone_before = undone(&cluster, old).await?;

    // The effects are in the memory and log of the old primary. While it is alone, no client sees them.
    let served = listeners_show_nothing(&cluster, old, PATIENCE).await?;
    ensure!(!served, "with open effects and without a lease it serves no READONLY client either");

    // Other nodes take over without knowing the effects.
    cluster.pause(old)?;
    let others: Vec<u64> = (1..=3).filter(|node| *node != old).collect();
    tokio::task::block_in_place(|| cluster.start_nodes(&others))?;
    let next = cluster.primary_other_than(old, 1, PATIENCE).await?;
    wait_until_level(&cluster, &others, 1, PATIENCE).await?;
    for node in &others {
        listeners_show_nothing(&cluster, *node, PATIENCE).await?;
    }
    acknowledged(&mut cluster.connect(next, 1, PATIENCE).await?, &[b"SET", b"after", b"failover"]).await?;

    cluster.resume(old)?;
    returns_without_them(&cluster, old, undone_before).await?;
    were_told_the_truth(waiting).await?;
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;

    // They were in its log, too: after a restart from its disk they must not reappear.
    cluster.kill(old)?;
    tokio::task::block_in_place(|| cluster.start_node(old))?;
    wait_until_level(&cluster, &[1, 2, 3], 1, PATIENCE).await?;
    for node in 1..=3 {
        listeners_show_nothing(&cluster, node, PATIENCE).await?;
    }
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_cut_off_is_neither_stale_nor_shows_what_did_not_commit() -> Result<()> {
    if let Some(why) = partition::lacking() {
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let (old, waiting, cut) = staged(&cluster, &|primary| Cut::off(&cluster, primary)).await?;
    let undone_before = undone(&cluster, old).await?;
    let mut known = cluster.connect(old, 1, PATIENCE).await?;

    // It runs, clients reach it, and it is isolated from the others, which do not know its effects.
    let next = cluster.primary_other_than(old, 1, PATIENCE).await?;
    let mut current = cluster.connect(next, 1, PATIENCE).await?;
    for node in (1..=3).filter(|node| *node != old) {
        listeners_show_nothing(&cluster, node, PATIENCE).await?;
    }
    for number in 0..50 {
        let number = number.to_string();
        acknowledged(&mut current, &[b"SET", b"moving", number.as_bytes()]).await?;
        let reply = known.call(&[b"GET", b"moving"]).await?;
        ensure!(classify(&reply) != Outcome::Acknowledged, "it is cut off and answers GET with {reply:?}");
        let reply = known.call(&[b"SET", b"moving", b"nobody hears"]).await?;
        ensure!(classify(&reply) != Outcome::Acknowledged, "it is cut off and answers SET with {reply:?}");
    }
    listeners_show_nothing(&cluster, old, PATIENCE).await?;
    ensure!(cut.dropped()? > 0, "no packet was dropped");

    cut.mend()?;
    returns_without_them(&cluster, old, undone_before).await?;
    were_told_the_truth(waiting).await?;
    ensure!(current.call(&[b"GET", b"moving"]).await? == bulk("49"));
    Digests::default().wait_until_equal(&cluster, PATIENCE).await?;
    cluster.discard_files();
    Ok(())
}
