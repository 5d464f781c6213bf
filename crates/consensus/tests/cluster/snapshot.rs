//! Purged logs, and snapshots for replicas that need what was purged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastness_consensus::snapshot::SnapshotPart;
use fastness_consensus::{Class, Reconciled};
use fastness_types::{LogIndex, NodeId};

use crate::harness::{Cluster, GROUP, PADDING, ms};
use crate::membership::{goal, reconcile, shape};

/// Commits `count` batches one after the other.
async fn commit(cluster: &mut Cluster, name: &str, count: usize) {
    for i in 0..count {
        let (node, epoch) = cluster.primary().await;
        let batch = format!("{name}-{i}");
        cluster.propose(node, epoch, &batch);
        cluster.committed(node, &batch).await;
    }
}

/// Commits batches, and purges the logs of `nodes` up to a snapshot of about that position.
async fn commit_and_purge(cluster: &mut Cluster, name: &str, nodes: &[u64]) {
    commit(cluster, name, 20).await;
    for round in 0..2 {
        let last = format!("{name}-round-{round}");
        let (node, epoch) = cluster.primary().await;
        cluster.propose(node, epoch, &last);
        for &id in nodes {
            cluster.committed(id, &last).await;
            cluster.snapshot(id).await;
        }
    }
}

/// A primary and another node whose logs are purged past what a third node has, which is killed.
async fn purged_while_one_is_away() -> (Cluster, [u64; 3]) {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (primary, _) = cluster.primary().await;
    let (away, other) = if primary == 3 { (2, 1) } else { (3, 3 - primary) };
    cluster.kill(away).await;
    commit_and_purge(&mut cluster, "away", &[primary, other]).await;
    (cluster, [primary, other, away])
}

fn purged(cluster: &Cluster, id: u64) -> u64 {
    cluster.nodes[&id].log.group(GROUP).state().purged.map_or(0, |upto| upto.index)
}

fn installed(cluster: &Cluster, id: u64) -> LogIndex {
    cluster.nodes[&id].handle.installed()
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_away_for_long_is_sent_a_snapshot_and_then_the_log() {
    let (mut cluster, [primary, other, away]) = purged_while_one_is_away().await;
    assert!(purged(&cluster, primary) > 20 && purged(&cluster, other) > 20);
    commit(&mut cluster, "later", 5).await;

    cluster.start(away).await;
    cluster.committed(away, "later-4").await;
    assert!(installed(&cluster, away) >= LogIndex(20), "it was sent a snapshot");
    assert_eq!(cluster.batches(away), cluster.batches(primary));
    cluster.check_histories();

    // All of it survives a restart: position, members, and the log after them.
    cluster.kill(away).await;
    cluster.start(away).await;
    commit(&mut cluster, "after", 3).await;
    cluster.committed(away, "after-2").await;
    let members = cluster.nodes[&away].control.status().members;
    assert_eq!(members.len(), 3, "the members of the snapshot: {members:?}");
    cluster.check_histories();

    // It votes, and may lead.
    cluster.kill(other).await;
    commit(&mut cluster, "two", 3).await;
    cluster.start(other).await;
    cluster.kill(primary).await;
    commit(&mut cluster, "without-the-first", 3).await;
    cluster.check_histories();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_restores_its_snapshot_and_leads_with_a_purged_log() {
    let mut cluster = Cluster::running(3).await;
    commit_and_purge(&mut cluster, "one", &[1, 2, 3]).await;
    commit(&mut cluster, "later", 4).await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    commit(&mut cluster, "after", 3).await;
    let (primary, _) = cluster.primary().await;
    let batches = cluster.batches(primary);
    assert_eq!(batches.len(), 20 + 2 + 4 + 3, "nothing is lost, nothing is applied twice: {batches:?}");
    for id in 1..=3 {
        cluster.committed(id, "after-2").await;
        assert_eq!(cluster.batches(id), batches);
    }
    cluster.check_histories();
}

/// The committed position is stored with the next write. So after a start the newest snapshot may be after it.
#[tokio::test(start_paused = true)]
async fn a_snapshot_newer_than_the_stored_commit_is_known_once_that_is_reached() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "one", 10).await;
    for id in 1..=3 {
        cluster.committed(id, "one-9").await;
        cluster.snapshot(id).await;
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    let lagging = |cluster: &Cluster| {
        let at = cluster.nodes[&1].handle.committed();
        (at < cluster.nodes[&1].snapshots.list()[0]).then_some(())
    };
    assert!(lagging(&cluster).is_some(), "the test needs a position that lags");
    commit(&mut cluster, "after", 3).await;
    for id in 1..=3 {
        cluster.committed(id, "after-2").await;
        assert_eq!(cluster.batches(id).len(), 13);
        cluster.snapshot(id).await;
        assert!(purged(&cluster, id) > 0, "what was reported at the start is known by now, and the log purged");
    }
}

/// A leader is killed after a snapshot was written and before its log was purged up to the previous one. After the
/// start openraft knows the snapshot at the purged position, whose file is gone, and the newest is after the stored
/// committed position, which cannot advance before the other replica has a snapshot.
#[tokio::test(start_paused = true)]
async fn a_restarted_leader_sends_the_file_that_it_has() {
    let (mut cluster, [primary, other, away]) = purged_while_one_is_away().await;
    commit(&mut cluster, "later", 3).await;
    cluster.committed(primary, "later-2").await;
    cluster.write_snapshot(primary);
    let known = LogIndex(purged(&cluster, primary));
    let files = cluster.nodes[&primary].snapshots.list();
    assert!(!files.contains(&known), "{known:?} is one of {files:?}");
    cluster.kill(primary).await;
    cluster.kill(other).await;

    cluster.start(primary).await;
    assert!(cluster.nodes[&primary].handle.committed() < files[0], "the test needs a position that lags");
    cluster.start(away).await;
    commit(&mut cluster, "after", 3).await;
    cluster.committed(away, "after-2").await;
    assert_eq!(installed(&cluster, away), files[0]);
    assert_eq!(cluster.batches(away), cluster.batches(primary));
    cluster.check_histories();
}

#[tokio::test(start_paused = true)]
async fn entries_that_never_committed_give_way_to_a_snapshot() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (old, epoch) = cluster.primary().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    // Its log grows alone for a while.
    cluster.network.isolate(NodeId(old), true);
    for i in 0..5 {
        cluster.propose(old, epoch, &format!("lost-{i}"));
    }
    tokio::time::sleep(ms(100)).await;
    let alone = cluster.nodes[&old].log.group(GROUP).state().last.map_or(0, |last| last.index);
    cluster.primary_but(old).await;
    commit_and_purge(&mut cluster, "won", &others).await;
    assert!(purged(&cluster, others[0]) > alone);

    cluster.network.isolate(NodeId(old), false);
    cluster.committed(old, "won-round-1").await;
    assert!(installed(&cluster, old) > LogIndex(alone));
    assert!(!cluster.batches(old).iter().any(|batch| batch.starts_with("lost")), "{:?}", cluster.batches(old));
    cluster.check_histories();
    commit(&mut cluster, "after", 2).await;
    cluster.committed(old, "after-1").await;
    cluster.check_histories();
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_transfer_starts_from_the_beginning() {
    let mut cluster = Cluster::running(3).await;
    let (primary, _) = cluster.primary().await;
    let (away, other) = if primary == 3 { (2, 1) } else { (3, 3 - primary) };
    cluster.kill(away).await;
    commit_and_purge(&mut cluster, "away", &[primary, other]).await;
    // The receiver is killed during the transfer, and at the next attempt the sender.
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    cluster.network.set_filter(Some(Arc::new(move |_, _, class, _| {
        if class == Class::Snapshot {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        false
    })));
    cluster.network.set_delay(ms(5));
    cluster.start(away).await;
    cluster
        .within(ms(10_000), |_| (seen.load(Ordering::Relaxed) > 4).then_some(()))
        .await
        .expect("the transfer starts");
    cluster.kill(away).await;
    cluster.start(away).await;
    let before = seen.load(Ordering::Relaxed);
    cluster.within(ms(10_000), |_| (seen.load(Ordering::Relaxed) > before + 4).then_some(())).await.expect("again");
    cluster.kill(primary).await;
    cluster.network.set_delay(ms(0));
    cluster.start(primary).await;
    commit(&mut cluster, "after", 2).await;
    cluster.committed(away, "after-1").await;
    cluster.check_histories();
}

/// A value of 70 MB is one chunk of that size in snapshots of older versions: more than any message can hold.
#[tokio::test(start_paused = true)]
async fn a_chunk_larger_than_any_message_reaches_a_follower_that_needs_it() {
    let mut cluster = Cluster::running(3).await;
    let (primary, _) = cluster.primary().await;
    let (away, other) = if primary == 3 { (2, 1) } else { (3, 3 - primary) };
    cluster.kill(away).await;
    commit_and_purge(&mut cluster, "away", &[primary, other]).await;
    for id in [primary, other] {
        let snapshots = &cluster.nodes[&id].snapshots;
        let newest = snapshots.list()[0];
        let mut parts = snapshots.get(newest).unwrap();
        let mut large = PADDING.to_vec();
        large.resize(66 << 20, b' ');
        parts.insert(1, SnapshotPart::Chunk(large.into()));
        snapshots.put(newest, parts);
    }
    cluster.start(away).await;
    commit(&mut cluster, "after", 2).await;
    cluster.committed(away, "after-1").await;
    assert!(installed(&cluster, away) >= LogIndex(20), "it was sent the snapshot");
    cluster.check_histories();
}

/// The rest of the log may be shorter than what a learner may lack, while nearly all data is in the snapshot before it.
#[tokio::test(start_paused = true)]
async fn a_learner_without_the_snapshot_does_not_vote_however_short_the_log_is() {
    let mut cluster = Cluster::running(3).await;
    let (primary, _) = cluster.primary().await;
    let dead = primary % 3 + 1;
    cluster.kill(dead).await;
    let alive: Vec<u64> = (1..=3).filter(|id| *id != dead).collect();
    commit_and_purge(&mut cluster, "data", &alive).await;
    // No snapshot arrives.
    cluster.network.set_filter(Some(Arc::new(|_, _, class, _| class == Class::Snapshot)));
    let new = cluster.add_node(4, &format!("az{dead}")).await;
    let goal = goal(&cluster, dead, &new);
    let control = cluster.nodes[&primary].control.clone();
    let mut waited = 0;
    for _ in 0..60 {
        match control.reconcile(&goal).await.unwrap() {
            Reconciled::Stepped => {}
            Reconciled::CatchingUp { node, holding, .. } => {
                assert_eq!((node, holding.map_or(0, |holding| holding.index.0)), (NodeId(4), 0));
                waited += 1;
            }
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(ms(50)).await;
    }
    assert!(waited > 50, "it was waited for {waited} times");
    assert_eq!(shape(&control.status()), (vec![vec![1, 2, 3]], vec![4]));
    assert_eq!(cluster.batches(4), Vec::<String>::new());

    cluster.network.set_filter(None);
    let leader = reconcile(&cluster, &goal).await;
    let status = cluster.nodes[&leader].control.status();
    let held = status.holding[&NodeId(4)];
    assert!(held.index.0 + 10 > status.last_log.0 && held.snapshot > LogIndex(20), "{held:?} of {:?}", status.last_log);
    assert_eq!(cluster.batches(4), cluster.batches(primary));
}

/// Few entries may be many bytes, and the memory of a learner may lag far behind the log on its disk.
#[tokio::test(start_paused = true)]
async fn a_learner_whose_memory_lacks_many_bytes_does_not_vote() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (primary, epoch) = cluster.primary().await;
    let dead = primary % 3 + 1;
    cluster.kill(dead).await;
    let new = cluster.add_node(4, &format!("az{dead}")).await;
    let goal = goal(&cluster, dead, &new);
    let control = cluster.nodes[&primary].control.clone();
    assert_eq!(control.reconcile(&goal).await.unwrap(), Reconciled::Stepped, "it is added");
    cluster.committed(4, "before-2").await;
    cluster.nodes[&4].lags.store(true, std::sync::atomic::Ordering::Relaxed);
    let large = "x".repeat(17 << 20);
    cluster.propose(primary, epoch, &large);
    cluster.committed(primary, &large).await;
    let matched = |cluster: &Cluster| {
        let status = cluster.nodes[&primary].control.status();
        (status.matched.get(&NodeId(4)) == Some(&status.last_log)).then_some(())
    };
    cluster.within(ms(10_000), matched).await.expect("its log has all of it");
    for _ in 0..20 {
        let step = control.reconcile(&goal).await.unwrap();
        assert!(matches!(step, Reconciled::CatchingUp { node: NodeId(4), .. }), "{step:?}");
        tokio::time::sleep(ms(50)).await;
    }
    cluster.nodes[&4].lags.store(false, std::sync::atomic::Ordering::Relaxed);
    reconcile(&cluster, &goal).await;
    assert_eq!(cluster.batches(4), cluster.batches(primary));
}

/// Log is kept for watchers beyond what a restore needs, also over a restart, until it has to give way.
#[tokio::test(start_paused = true)]
async fn as_much_log_is_kept_as_was_requested_until_it_must_give_way() {
    const KEPT: u64 = 200_000;
    let mut cluster = Cluster::running(3).await;
    let (primary, _) = cluster.primary().await;
    let node = if primary == 3 { 2 } else { 3 };
    cluster.nodes[&node].handle.keep_log(KEPT);
    let mut round = 0;
    let mut snapshots = async |cluster: &mut Cluster, count: u64| {
        let mut newest = LogIndex(0);
        for _ in 0..count {
            round += 1;
            let (leader, epoch) = cluster.primary().await;
            let large = format!("{round}{}", " ".repeat(20_000));
            cluster.propose(leader, epoch, &large);
            cluster.committed(node, &large).await;
            let written = cluster.write_snapshot(node);
            newest = written.index;
            cluster.nodes[&node].handle.report_snapshot(written);
            tokio::time::sleep(ms(7_000)).await;
        }
        newest
    };
    // Ten entries and no more than a few are as much.
    let keeps_enough = |cluster: &Cluster| {
        let last = cluster.nodes[&node].log.group(GROUP).state().last.map_or(0, |last| last.index);
        (10..=13).contains(&(last - purged(cluster, node)))
    };
    snapshots(&mut cluster, 5).await;
    assert_eq!(purged(&cluster, node), 0, "there is less than was requested");
    snapshots(&mut cluster, 10).await;
    let before = purged(&cluster, node);
    assert!(before > 0 && keeps_enough(&cluster), "{before}");

    cluster.kill(node).await;
    cluster.start(node).await;
    cluster.nodes[&node].handle.keep_log(KEPT);
    let newest = snapshots(&mut cluster, 2).await;
    let after = purged(&cluster, node);
    assert!(after > before && keeps_enough(&cluster) && after < newest.0, "{after}");

    // The disk is short.
    cluster.nodes[&node].handle.release_log(newest);
    tokio::time::sleep(ms(7_000)).await;
    assert_eq!(purged(&cluster, node), newest.0);
}
