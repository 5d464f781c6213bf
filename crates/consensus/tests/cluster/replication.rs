//! Proposals become entries on all nodes, in order, whatever fails in between.

use std::sync::atomic::Ordering;

use super::harness::*;
use fastness_types::{Epoch, LogIndex, NodeId, Seq};

#[tokio::test(start_paused = true)]
async fn three_nodes_elect_and_commit() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    for i in 0..50 {
        cluster.propose(primary, epoch, &format!("batch {i}"));
    }
    for node in 1..=3 {
        cluster.committed(node, "batch 49").await;
        let expected: Vec<_> = (0..50).map(|i| format!("batch {i}")).collect();
        assert_eq!(cluster.batches(node), expected);
    }
    cluster.check_histories();
    let status = cluster.nodes[&primary].control.status();
    assert!(status.lease_held && status.leader == Some(NodeId(primary)) && status.members.len() == 3);
}

/// openraft's time-out for the answer to a heartbeat is its interval, and without answers it refuses all writes. At 50
/// ms a round trip of 40 ms was too long.
#[tokio::test(start_paused = true)]
async fn nodes_that_are_far_apart_elect_and_commit_and_fail_over() {
    let mut cluster = Cluster::new(3);
    let one_way = (cluster.timers.round_trip_max() - ms(2)) / 2;
    assert!(one_way >= ms(40));
    cluster.network.set_delay(one_way);
    cluster.start_all().await;
    let (primary, epoch) = cluster.primary().await;
    // Nothing is written for a while, so that only heartbeats are answered.
    tokio::time::sleep(ms(5_000)).await;
    cluster.propose(primary, epoch, "far");
    cluster.committed(primary, "far").await;
    assert_eq!(cluster.primary().await, (primary, epoch), "nobody was elected meanwhile");
    cluster.kill(primary).await;
    let (next, epoch) = cluster.primary().await;
    cluster.propose(next, epoch, "after");
    cluster.committed(next, "after").await;
    cluster.check_histories();
}

#[tokio::test(start_paused = true)]
async fn a_killed_primary_is_replaced_and_nothing_committed_is_lost() {
    let mut cluster = Cluster::running(3).await;
    for round in 0..5 {
        let (primary, epoch) = cluster.primary().await;
        let batch = format!("round {round}");
        cluster.propose(primary, epoch, &batch);
        cluster.committed(primary, &batch).await;
        cluster.kill(primary).await;
        let (next, _) = cluster.primary().await;
        assert_ne!(next, primary);
        let all: Vec<_> = (0..=round).map(|round| format!("round {round}")).collect();
        assert_eq!(cluster.batches(next), all);
        cluster.start(primary).await;
        cluster.committed(primary, &batch).await;
        cluster.check_histories();
    }
}

#[tokio::test(start_paused = true)]
async fn all_nodes_killed_at_once_come_back_with_everything_committed() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    for i in 0..20 {
        cluster.propose(primary, epoch, &format!("batch {i}"));
    }
    cluster.committed(primary, "batch 19").await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    let (primary, next) = cluster.primary().await;
    assert!(next.term > epoch.term, "an old leadership is never resumed");
    let expected: Vec<_> = (0..20).map(|i| format!("batch {i}")).collect();
    assert_eq!(cluster.batches(primary), expected);
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_cut_into_frames() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    let large = "x".repeat(9 * 1024 * 1024);
    cluster.propose(primary, epoch, &large);
    cluster.propose(primary, epoch, "small");
    for node in 1..=3 {
        cluster.committed(node, "small").await;
        assert_eq!(cluster.batches(node), [large.clone(), "small".to_owned()]);
    }
}

#[tokio::test(start_paused = true)]
async fn proposals_of_another_epoch_are_dropped() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    let foreign = Epoch { term: epoch.term + 1, node: epoch.node };
    cluster.propose(primary, foreign, "foreign");
    cluster.propose(primary, epoch, "own");
    cluster.committed(primary, "own").await;
    assert_eq!(cluster.batches(primary), ["own"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_batches_wait_in_line_and_keep_their_order() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    cluster.network.isolate(NodeId(primary), true);
    // Long enough that openraft refuses proposals for lack of a quorum, too short for a new leader to be known.
    tokio::time::sleep(ms(400)).await;
    for i in 0..10 {
        cluster.propose(primary, epoch, &format!("batch {i}"));
    }
    tokio::time::sleep(ms(50)).await;
    cluster.network.isolate(NodeId(primary), false);
    let found = cluster.within(ms(5000), |cluster| (!cluster.batches(primary).is_empty()).then_some(())).await;
    // Whether this epoch continued or another followed: the log holds a prefix, in order.
    let all: Vec<_> = (0..10).map(|i| format!("batch {i}")).collect();
    let committed = cluster.batches(primary);
    assert_eq!(committed, all[..committed.len()]);
    assert!(found.is_some() || cluster.primary().await.1 != epoch);
}

#[tokio::test(start_paused = true)]
async fn copies_on_stable_storage_are_counted() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    let slow = (1..=3).find(|id| *id != primary).unwrap();
    cluster.network.isolate(NodeId(slow), true);
    let seq = cluster.propose(primary, epoch, "counted");
    cluster.committed(primary, "counted").await;
    let control = cluster.nodes[&primary].control.clone();
    let copies = |count| {
        cluster.within(ms(2000), move |cluster| {
            (cluster.nodes[&primary].control.stable_copies_of(epoch, seq) == count).then_some(())
        })
    };
    copies(1).await.expect("the other follower has it");
    assert_eq!(control.stable_copies_of(epoch, Seq(seq.0 + 1)), 0);
    assert_eq!(control.stable_copies(LogIndex(1_000_000)), 0);
    cluster.network.isolate(NodeId(slow), false);
    cluster
        .within(ms(5000), |c| (c.nodes[&primary].control.stable_copies_of(epoch, seq) == 2).then_some(()))
        .await
        .expect("both followers have it");
    assert!(control.is_flushed(epoch, seq));
}

/// While all disks stall, the bound of the log's queue holds on the leader and on followers, without a lost message, a
/// new election, or a closed stream.
#[tokio::test(start_paused = true)]
async fn stalled_disks_fill_no_queue_past_its_bound() {
    const BOUND: usize = 256 * 1024;
    const BATCH: usize = 64 * 1024;
    const BATCHES: usize = 200;
    let mut cluster = Cluster::new(3);
    cluster.queue_bytes_max = Some(BOUND);
    cluster.start_all().await;
    let (primary, epoch) = cluster.primary().await;
    tokio::time::sleep(ms(1000)).await;
    cluster.sync_ms.store(8_000, Ordering::Relaxed);
    let batch = |i: usize| format!("{i:04}{}", "x".repeat(BATCH));
    for i in 0..BATCHES {
        cluster.propose(primary, epoch, &batch(i));
    }
    tokio::time::sleep(ms(6_000)).await;
    let peak = |id: u64| cluster.nodes[&id].log.stats().queue_bytes_peak.load(Ordering::Relaxed) as usize;
    for id in 1..=3 {
        // One batch more on the leader, one frame more on a follower: frames hold 1 MiB, and so do append requests.
        let most = if id == primary { BOUND + 2 * BATCH } else { BOUND + 2 * 1024 * 1024 };
        let peak = peak(id);
        assert!(peak >= BOUND / 2 && peak <= most, "node {id}: {peak} bytes waited, at most {most} may");
    }
    assert_eq!(cluster.holder().map(|(id, ..)| id), Some(primary), "the lease needs no disk");
    cluster.sync_ms.store(1, Ordering::Relaxed);
    cluster.committed(primary, &batch(BATCHES - 1)).await;
    for id in 1..=3 {
        cluster.committed(id, &batch(BATCHES - 1)).await;
        assert_eq!(cluster.batches(id).len(), BATCHES, "node {id}");
    }
    assert_eq!(cluster.primary().await, (primary, epoch), "no election was needed");
}

/// A follower of an idle group learns what its leader has committed. READONLY clients of a replica that has just
/// started wait for that.
#[tokio::test(start_paused = true)]
async fn followers_hear_what_their_leader_has_committed() {
    let mut cluster = Cluster::running(3).await;
    let (primary, _) = cluster.primary().await;
    let follower = primary % 3 + 1;
    let heard = |cluster: &Cluster| cluster.nodes[&follower].handle.leader_committed();
    cluster.within(ms(1_000), heard).await.expect("nothing was proposed since the first entry");
    cluster.kill(follower).await;
    cluster.start(follower).await;
    let heard = cluster.within(ms(2_000), heard).await.expect("nor after its restart");
    assert!(heard <= cluster.nodes[&primary].handle.committed());
}
