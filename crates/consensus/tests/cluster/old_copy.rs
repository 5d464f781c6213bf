//! Copies of a disk that were made while its node was running. The start count cannot reveal them.

use fastness_types::NodeId;

use crate::harness::{Cluster, GROUP, ms};

async fn commit(cluster: &mut Cluster, name: &str, count: usize) {
    for i in 0..count {
        let (node, epoch) = cluster.primary().await;
        let batch = format!("{name}-{i}");
        cluster.propose(node, epoch, &batch);
        cluster.committed(node, &batch).await;
    }
}

fn stopped(cluster: &Cluster, id: u64) -> Option<String> {
    cluster.nodes[&id].consensus.stopped().map(|reason| reason.to_string())
}

/// Why a node stops, which it does within some seconds.
async fn refused(cluster: &Cluster, id: u64) -> String {
    cluster.within(ms(5_000), |cluster| stopped(cluster, id)).await.expect("a node runs on an old copy of its disk")
}

/// A follower restarts on a copy that lacks committed entries which it had acknowledged.
#[tokio::test(start_paused = true)]
async fn a_copy_made_during_the_newest_start_is_refused() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (primary, _) = cluster.primary().await;
    let replica = primary % 3 + 1;
    cluster.committed(replica, "before-2").await;
    let copy = cluster.disk(replica).copy();
    commit(&mut cluster, "acknowledged", 5).await;
    cluster.committed(replica, "acknowledged-4").await;
    cluster.kill(replica).await;
    cluster.replace_disk(replica, copy);
    cluster.start(replica).await;
    let reason = refused(&cluster, replica).await;
    for part in ["is an old copy of this node's disk", "acknowledged committed entries", "replace-replica"] {
        assert!(reason.contains(part), "{reason}");
    }
    // The others continue.
    commit(&mut cluster, "after", 2).await;
}

/// The same for a former leader: it counts itself among the nodes that have its entries, and has reported that to the
/// others.
#[tokio::test(start_paused = true)]
async fn a_former_primary_on_a_copy_made_while_it_led_is_refused() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (primary, _) = cluster.primary().await;
    let copy = cluster.disk(primary).copy();
    commit(&mut cluster, "acknowledged", 5).await;
    tokio::time::sleep(ms(1_500)).await;
    cluster.kill(primary).await;
    cluster.replace_disk(primary, copy);
    cluster.primary_but(primary).await;
    cluster.start(primary).await;
    let reason = refused(&cluster, primary).await;
    assert!(reason.contains("acknowledged committed entries"), "{reason}");
}

/// The leader knows the positions at any moment, the others from its reports, and they keep them over their own
/// restarts.
#[tokio::test(start_paused = true)]
async fn what_a_node_has_acknowledged_is_known_to_all_and_kept() {
    let mut cluster = Cluster::running(3).await;
    commit(&mut cluster, "before", 3).await;
    let (primary, _) = cluster.primary().await;
    let (victim, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    cluster.committed(victim, "before-2").await;
    let copy = cluster.disk(victim).copy();
    commit(&mut cluster, "acknowledged", 5).await;
    cluster.committed(victim, "acknowledged-4").await;
    // Long enough to be reported and stored.
    tokio::time::sleep(ms(7_000)).await;
    for id in [primary, victim, other] {
        cluster.kill(id).await;
    }
    // The former primary stays down: the remaining node knows the position only from a report before its restart.
    cluster.start(other).await;
    cluster.replace_disk(victim, copy);
    cluster.start(victim).await;
    let reason = refused(&cluster, victim).await;
    assert!(reason.contains("acknowledged committed entries"), "{reason}");
}

/// Schedule 52: a node may return with fewer entries than it had acknowledged, if they had never committed.
#[tokio::test(start_paused = true)]
async fn entries_that_were_acknowledged_and_never_committed_may_be_missing() {
    let mut cluster = Cluster::running(5).await;
    commit(&mut cluster, "before", 3).await;
    let (old, epoch) = cluster.primary().await;
    let with_it = old % 5 + 1;
    let others: Vec<u64> = (1..=5).filter(|id| ![old, with_it].contains(id)).collect();
    cluster.committed(with_it, "before-2").await;
    // Two of five take entries that cannot commit. The follower acknowledges them.
    for &a in &[old, with_it] {
        for &b in &others {
            cluster.network.cut(NodeId(a), NodeId(b), true);
            cluster.network.cut(NodeId(b), NodeId(a), true);
        }
    }
    for i in 0..5 {
        cluster.propose(old, epoch, &format!("lost-{i}"));
    }
    let last =
        |cluster: &Cluster, id: u64| cluster.nodes[&id].log.group(GROUP).state().last.map_or(0, |last| last.index);
    let before = last(&cluster, others[0]);
    cluster
        .within(ms(5_000), |cluster| (last(cluster, with_it) >= before + 5).then_some(()))
        .await
        .expect("it takes them");
    // Reported and stored.
    tokio::time::sleep(ms(7_000)).await;
    // The follower crashes after these entries were removed by a truncation for its next leader.
    cluster.network.isolate(NodeId(old), true);
    for &id in &others {
        cluster.network.cut(NodeId(with_it), NodeId(id), false);
        cluster.network.cut(NodeId(id), NodeId(with_it), false);
    }
    let truncated = |cluster: &Cluster| {
        let entries = cluster.nodes[&with_it].log.group(GROUP).state().last?;
        (entries.term > epoch.term).then_some(())
    };
    cluster.within(ms(10_000), truncated).await.expect("another one leads and its entries replace them");
    cluster.kill(with_it).await;
    cluster.network.isolate(NodeId(old), false);
    cluster.start(with_it).await;
    commit(&mut cluster, "after", 3).await;
    cluster.committed(with_it, "after-2").await;
    cluster.committed(old, "after-2").await;
    for id in 1..=5 {
        assert_eq!(stopped(&cluster, id), None, "node {id} was refused");
    }
    cluster.check_histories();
}

/// A node that restarts on its own disk, whatever it was doing, is never taken for an old copy.
#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_writes_is_no_old_copy() {
    let mut cluster = Cluster::running(3).await;
    for round in 0..6 {
        commit(&mut cluster, &format!("round-{round}"), 4).await;
        let (primary, epoch) = cluster.primary().await;
        let victim = if round % 2 == 0 { primary } else { primary % 3 + 1 };
        for i in 0..4 {
            cluster.propose(primary, epoch, &format!("under-way-{round}-{i}"));
        }
        tokio::time::sleep(ms(round)).await;
        cluster.kill(victim).await;
        tokio::time::sleep(ms(500 * round)).await;
        cluster.start(victim).await;
    }
    commit(&mut cluster, "after", 2).await;
    for id in 1..=3 {
        cluster.committed(id, "after-1").await;
        assert_eq!(stopped(&cluster, id), None, "node {id} was refused");
    }
    cluster.check_histories();
}
