//! Operators' commands and what they read.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::wait::until_ok;
use rustix::process::{Pid, Signal, kill_process};

use super::wire::{PATIENCE, start, takes_writes};

/// Found: `kill -9` of all nodes, followed at once by `fastness dev --detach`: "node N has ended" in 11 of 12 tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_starts_right_after_kill_9_of_all_nodes() -> Result<()> {
    const TRIES: usize = 3;
    let (cluster, _, mut client) = start(&ClusterOptions::default()).await?;
    expect_reply(&mut client, &["SET", "k", "v"], "OK").await?;
    for attempt in 1..=TRIES {
        let pids = pids(&cluster)?;
        for pid in &pids {
            kill_process(*pid, Signal::KILL)?;
        }
        cluster.start_again().with_context(|| format!("try {attempt}"))?;
        let now = self::pids(&cluster)?;
        ensure!(now.len() == 3 && pids.iter().all(|pid| !now.contains(pid)), "{pids:?}, then {now:?}");
    }
    let primary = cluster.primary(1, PATIENCE).await?;
    expect_reply(&mut cluster.connect(primary, 1, PATIENCE).await?, &["GET", "k"], "v").await
}

fn pids(cluster: &Cluster) -> Result<Vec<Pid>> {
    Ok(cluster.file()?.nodes.iter().filter_map(|node| node.pid.and_then(Pid::from_raw)).collect())
}

/// Found: SLOWLOG GET showed the passwords of AUTH, HELLO and CONFIG SET requirepass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_log_shows_no_password_and_info_tells_of_snapshots() -> Result<()> {
    let (cluster, _, mut client) = start(&ClusterOptions::default()).await?;
    snapshots_are_told_of(&cluster, &mut client).await?;
    expect_reply(&mut client, &["CONFIG", "SET", "slowlog-log-slower-than", "0"], "OK").await?;
    expect_reply(&mut client, &["CONFIG", "SET", "requirepass", "s3cret"], "OK").await?;
    expect_reply(&mut client, &["AUTH", "s3cret"], "OK").await?;
    let refused = call_text(&mut client, &["AUTH", "default", "wrong-s3cret"]).await?;
    ensure!(refused.starts_with("-WRONGPASS"), "{refused}");
    call_text(&mut client, &["HELLO", "2", "AUTH", "default", "s3cret", "SETNAME", "me"]).await?;
    let shown = call_text(&mut client, &["SLOWLOG", "GET", "-1"]).await?;
    ensure!(shown.contains("requirepass") && shown.contains("AUTH"), "the commands are not in {shown}");
    ensure!(!shown.contains("s3cret"), "{shown}");
    Ok(())
}

/// Found: INFO persistence reported constants although there were snapshots. The time of the last one was the time of
/// the request.
async fn snapshots_are_told_of(cluster: &Cluster, client: &mut Connection) -> Result<()> {
    expect_reply(client, &["SET", "k", "v"], "OK").await?;
    cluster.make_snapshots()?;
    until_ok(PATIENCE, async || {
        let info = call_text(client, &["INFO", "persistence"]).await?;
        ensure!(!info.contains("rdb_last_bgsave_time_sec:-1"), "no snapshot is reported: {info}");
        Ok(())
    })
    .await?;
    let saved = info_field(client, "persistence", "rdb_last_save_time").await?;
    expect_reply(client, &["SET", "k", "w"], "OK").await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let info = call_text(client, &["INFO", "persistence"]).await?;
    ensure!(info.contains(&format!("rdb_last_save_time:{saved}\r\n")), "saved at {saved}: {info}");
    ensure!(info_field(client, "persistence", "rdb_changes_since_last_save").await? >= 1, "{info}");
    takes_writes(cluster, PATIENCE, "a snapshot").await
}
