//! Who leads: hand-over, readiness, initialising, old disks, failed disks.

use std::sync::atomic::Ordering;

use super::harness::*;
use fastness_consensus::handle::{Drain, Role};
use fastness_consensus::{AzRule, HandOverError, InitializeError, Member};
use fastness_events::HandOverReason;
use fastness_log::memory::MemoryFault;
use fastness_types::limits::LOOP_STALL_MAX;
use fastness_types::{Az, Clock as _, NodeId};

/// The frame kind that a filter below selects (frozen number).
const TRANSFER: u32 = 16;

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_to_the_requested_target() {
    let mut cluster = Cluster::running(3).await;
    for _ in 0..6 {
        let (old, epoch) = cluster.primary().await;
        let target = NodeId(old % 3 + 1);
        let batch = format!("by {old} in {epoch}");
        cluster.propose(old, epoch, &batch);
        let control = cluster.nodes[&old].control.clone();
        let started = tokio::time::Instant::now();
        let handed =
            tokio::spawn(async move { control.hand_over(Some(target), ms(1000), HandOverReason::Requested).await });
        let (new, _) = cluster.primary_but(old).await;
        assert_eq!(handed.await.unwrap().unwrap(), target);
        assert_eq!(NodeId(new), target);
        assert!(started.elapsed() < ms(300), "no time-out was waited for: {:?}", started.elapsed());
        cluster.committed(new, &batch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_requested_target_a_ready_replica_is_chosen() {
    let cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    let unready = old % 3 + 1;
    cluster.nodes[&unready].ready.store(false, Ordering::Relaxed);
    tokio::time::sleep(ms(500)).await;
    let control = cluster.nodes[&old].control.clone();
    let chosen = control.hand_over(None, ms(1000), HandOverReason::Requested).await.unwrap();
    assert!(chosen != NodeId(old) && chosen != NodeId(unready));
    assert!(matches!(
        control.hand_over(None, ms(1000), HandOverReason::Requested).await,
        Err(HandOverError::NotLeader(Some(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_take_over_is_refused_and_this_node_serves_on() {
    let mut cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    let target = old % 3 + 1;
    cluster.network.isolate(NodeId(target), true);
    tokio::time::sleep(ms(500)).await;
    let control = cluster.nodes[&old].control.clone();
    let refused = control.hand_over(Some(NodeId(target)), ms(500), HandOverReason::Requested).await;
    assert!(matches!(refused, Err(HandOverError::BadTarget(node)) if node == NodeId(target)), "{refused:?}");
    cluster.propose(old, epoch, "continues");
    cluster.committed(old, "continues").await;
    assert_eq!(cluster.primary().await, (old, epoch));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_drain_in_time_is_not_handed_over() {
    let mut cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    // The target cannot get the last entry.
    cluster.sync_ms.store(5_000, Ordering::Relaxed);
    cluster.propose(old, epoch, "slow");
    tokio::time::sleep(ms(20)).await;
    let control = cluster.nodes[&old].control.clone();
    let refused = control.hand_over(None, ms(200), HandOverReason::Requested).await;
    assert!(matches!(refused, Err(HandOverError::NotDrained)), "{refused:?}");
    cluster.sync_ms.store(1, Ordering::Relaxed);
    cluster.committed(old, "slow").await;
    assert_eq!(cluster.primary().await, (old, epoch), "the lease was never given up");
}

/// Schedule 4: the lease is closed for the rest of the epoch, and later answers do not reopen it.
#[tokio::test(start_paused = true)]
async fn a_target_that_dies_midway_leaves_a_new_election_and_no_old_lease() {
    let mut cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    let Role::Leader { lease, .. } = (**cluster.nodes[&old].handle.role()).clone() else { panic!() };
    let target = old % 3 + 1;
    // Transfers are lost. Everything before them has happened, so the lease is closed before the first of them is sent.
    let (held, clock) = (lease.clone(), cluster.clock.clone());
    let too_early = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let saw_early = too_early.clone();
    cluster.network.set_filter(Some(std::sync::Arc::new(move |_, _, _, frame: &_| {
        let frame: &fastness_wire::peer::v1::Frame = frame;
        let transfer = frame.messages.iter().any(|message| message.kind == TRANSFER);
        if transfer && held.holds(clock.boot()) {
            saw_early.store(true, Ordering::Relaxed);
        }
        transfer
    })));
    let control = cluster.nodes[&old].control.clone();
    let outcome = control.hand_over(Some(NodeId(target)), ms(500), HandOverReason::Requested).await;
    assert!(!too_early.load(Ordering::Relaxed), "the target may win while this lease is held");
    assert!(!lease.holds(cluster.clock.boot()));
    cluster.network.set_filter(None);
    let (new, next) = cluster.primary().await;
    assert!(next.term > epoch.term, "an epoch whose lease is closed serves no more");
    match outcome {
        Ok(node) => assert_eq!(node, NodeId(new)),
        Err(error) => assert!(matches!(error, HandOverError::NotTaken), "{error}"),
    }
    cluster.propose(new, next, "after");
    cluster.committed(new, "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_ready_hands_over() {
    let cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    cluster.nodes[&old].ready.store(false, Ordering::Relaxed);
    let (new, _) = cluster.primary_but(old).await;
    assert_ne!(new, old);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_ready_does_not_campaign() {
    let mut cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    let unready = old % 3 + 1;
    let other = unready % 3 + 1;
    cluster.nodes[&unready].ready.store(false, Ordering::Relaxed);
    tokio::time::sleep(ms(200)).await;
    cluster.kill(old).await;
    assert_eq!(cluster.primary().await.0, other);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_initialised_once_and_only_by_the_az_rule() {
    let cluster = Cluster::running(3).await;
    let control = cluster.nodes[&1].control.clone();
    assert!(matches!(control.initialize(&cluster.members, AzRule::Required).await, Err(InitializeError::Already)));
    let mut lopsided: Vec<Member> = cluster.members.clone();
    lopsided[1].az = Az::from("az1");
    assert!(matches!(control.initialize(&lopsided, AzRule::Required).await, Err(InitializeError::Placement(_))));
    assert!(matches!(control.initialize(&[], AzRule::Required).await, Err(InitializeError::Placement(_))));
}

/// Schedule 14: a voter restarts with an empty disk under its old identity. With the third voter dead, its vote would
/// make a quorum. The node that could count it was restarted as well, and remembers.
#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_was_wiped_stops_and_makes_no_quorum() {
    for restart_the_other in [false, true] {
        let mut cluster = Cluster::running(3).await;
        let (old, epoch) = cluster.primary().await;
        cluster.propose(old, epoch, "before");
        cluster.committed(old, "before").await;
        let (wiped, other) = (old % 3 + 1, (old + 1) % 3 + 1);
        cluster.committed(other, "before").await;
        cluster.kill(old).await;
        cluster.kill(wiped).await;
        if restart_the_other {
            cluster.kill(other).await;
        }
        cluster.wipe(wiped);
        cluster.start(wiped).await;
        if restart_the_other {
            cluster.start(other).await;
        }
        let consensus = cluster.nodes[&wiped].consensus.clone();
        let reason = cluster.within(ms(3000), |_| consensus.stopped()).await.expect("it runs on another disk");
        assert!(reason.contains("not this node's disk"), "{reason}");
        let elected = cluster.within(ms(5000), |cluster| cluster.holder()).await;
        assert!(elected.is_none(), "elected with the vote of a wiped disk: {elected:?}");
        cluster.start(old).await;
        let (new, epoch) = cluster.primary().await;
        cluster.propose(new, epoch, "after");
        cluster.committed(old, "after").await;
        cluster.committed(other, "after").await;
        assert_eq!(cluster.batches(old), ["before", "after"]);
    }
}

/// Schedule 31: a node restarts on an old copy of its disk, with fewer starts counted or with as many.
#[tokio::test(start_paused = true)]
async fn a_node_on_an_old_copy_of_its_disk_stops() {
    for starts_since in [1, 2, 3] {
        let mut cluster = Cluster::running(3).await;
        let (primary, _) = cluster.primary().await;
        let node = primary % 3 + 1;
        let old_copy = cluster.disk(node).copy();
        for _ in 0..starts_since {
            cluster.kill(node).await;
            cluster.start(node).await;
            tokio::time::sleep(ms(1000)).await;
            assert_eq!(cluster.nodes[&node].consensus.stopped(), None, "an ordinary restart");
        }
        cluster.kill(node).await;
        cluster.replace_disk(node, old_copy);
        // The nodes that remember it are restarted too.
        for other in (1..=3).filter(|other| *other != node) {
            cluster.kill(other).await;
            cluster.start(other).await;
        }
        cluster.start(node).await;
        let again = cluster.nodes[&node].consensus.clone();
        let reason = cluster.within(ms(3000), |_| again.stopped()).await;
        let reason = reason.unwrap_or_else(|| panic!("after {starts_since} starts: the node runs on an old disk"));
        assert!(reason.contains("old copy"), "{reason}");
        cluster.primary().await;
    }
}

/// Schedule 33: the primary's wall clock jumps. Nothing may be staged from that moment on, others serve within a
/// second, and the node neither gets leadership by a hand-over nor keeps it after an election, until its clock is right
/// again.
#[tokio::test(start_paused = true)]
async fn a_primary_whose_wall_clock_jumps_hands_over() {
    const YEAR_MS: i64 = 365 * 86_400_000;
    for jump_ms in [YEAR_MS, -YEAR_MS, 11_000] {
        let mut cluster = Cluster::running(3).await;
        let (old, epoch) = cluster.primary().await;
        cluster.propose(old, epoch, "before");
        tokio::time::sleep(ms(500)).await;
        assert!(cluster.trusts_its_clock(old));
        let clock = cluster.wall_clock(old);
        clock.ahead_ms.store(jump_ms, Ordering::Relaxed);
        assert!(!cluster.trusts_its_clock(old), "the jump by {jump_ms} shows at once");
        let other = cluster.within(ms(1000), |cluster| cluster.holder().filter(|(id, ..)| *id != old));
        assert!(other.await.is_some(), "the node whose clock is off still leads after a second");
        let (new, epoch) = cluster.primary_but(old).await;
        cluster.propose(new, epoch, "after");
        cluster.committed(old, "after").await;
        assert!(cluster.trusts_its_clock(new));

        let back = cluster.nodes[&new].control.hand_over(Some(NodeId(old)), ms(500), HandOverReason::Requested).await;
        assert!(matches!(back, Err(HandOverError::BadTarget(_))), "{back:?}");
        clock.ahead_ms.store(0, Ordering::Relaxed);
        assert!(cluster.trusts_its_clock(old));
        tokio::time::sleep(ms(500)).await;
        assert_eq!(
            cluster.nodes[&new].control.hand_over(Some(NodeId(old)), ms(500), HandOverReason::Requested).await.unwrap(),
            NodeId(old)
        );
    }
}

/// With one clock against one nobody knows which is right, so neither is trusted until a third one is known.
#[tokio::test(start_paused = true)]
async fn a_node_that_starts_with_a_wrong_clock_does_not_keep_leadership() {
    let mut cluster = Cluster::new(3);
    cluster.wall_clock(1).ahead_ms.store(3_600_000, Ordering::Relaxed);
    cluster.start(1).await;
    cluster.start(2).await;
    cluster.nodes[&1].control.initialize(&cluster.members, AzRule::Required).await.unwrap();
    cluster.primary().await;
    tokio::time::sleep(ms(1000)).await;
    assert!(!cluster.trusts_its_clock(1) && !cluster.trusts_its_clock(2), "one against one");
    cluster.start(3).await;
    let found = cluster.within(ms(5000), |cluster| {
        let leads = cluster.holder().is_some_and(|(id, ..)| id != 1);
        (leads && !cluster.trusts_its_clock(1) && cluster.trusts_its_clock(2) && cluster.trusts_its_clock(3))
            .then_some(())
    });
    found.await.expect("the two that agree are right");
}

/// Disk failure: nothing is acknowledged any more, another node becomes leader, and the node stops.
#[tokio::test(start_paused = true)]
async fn a_primary_whose_disk_fails_hands_over_and_stops() {
    let mut cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    cluster.propose(old, epoch, "before");
    cluster.committed(old, "before").await;
    cluster.disk(old).inject(MemoryFault::Write);
    cluster.propose(old, epoch, "lost or not");
    let (new, _) = cluster.primary_but(old).await;
    assert_ne!(new, old);
    let failed = cluster.nodes[&old].consensus.clone();
    let reason = cluster.within(ms(5000), |_| failed.stopped()).await.expect("it stops");
    assert!(reason.contains("log has failed"), "{reason}");
    cluster.committed(new, "before").await;
}

/// D16: the caller of a hand-over is dropped at any point of it. Either all of its steps are taken or none: some node
/// serves.
#[tokio::test(start_paused = true)]
async fn a_hand_over_whose_caller_is_dropped_leaves_a_primary_that_serves() {
    for patience_ms in (0..=20).map(|step| step * 2) {
        let mut cluster = Cluster::running(3).await;
        // Each step takes a round trip.
        cluster.network.set_delay(ms(5));
        tokio::time::sleep(ms(500)).await;
        let (old, _) = cluster.primary().await;
        let control = cluster.nodes[&old].control.clone();
        // Dropped wherever it waits at that time.
        let _ =
            tokio::time::timeout(ms(patience_ms), control.hand_over(None, ms(1000), HandOverReason::Requested)).await;
        let serves = cluster.within(ms(2000), |cluster| cluster.holder().is_some().then_some(())).await;
        assert!(serves.is_some(), "no node serves after a hand-over that was dropped after {patience_ms} ms");
        tokio::time::sleep(ms(1000)).await;
        let (new, epoch) = cluster.primary().await;
        cluster.propose(new, epoch, "after");
        cluster.committed(new, "after").await;
    }
}

/// Schedule 46: the loop of a primary is stuck. Its lease, which another thread renews, is closed for the term, and
/// another node is elected. Leadership is not handed over, because nothing could drain.
#[tokio::test(start_paused = true)]
async fn a_primary_whose_loop_is_stuck_loses_its_lease_and_another_is_elected() {
    let mut cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    cluster.propose(old, epoch, "before");
    cluster.committed(old, "before").await;
    let Role::Leader { lease, .. } = (**cluster.nodes[&old].handle.role()).clone() else { panic!() };
    cluster.nodes[&old].stuck.store(true, Ordering::Relaxed);
    let stuck_at = cluster.clock.boot();
    let other = cluster.within(ms(6000), |cluster| {
        assert_eq!(cluster.nodes[&old].handle.drain(), Drain::None, "a loop that is stuck cannot drain");
        cluster.holder().filter(|(id, ..)| *id != old)
    });
    let (new, ..) = other.await.expect("a primary whose loop does not turn leads on");
    let took = cluster.clock.boot().since(stuck_at);
    assert!(took >= LOOP_STALL_MAX && took < LOOP_STALL_MAX + ms(1300), "took {took:?}");
    assert_eq!(cluster.nodes[&old].handle.stalls().fenced, 1);
    assert!(!lease.holds(cluster.clock.boot()));
    // After it has recovered it follows, and could become leader by a hand-over.
    cluster.nodes[&old].stuck.store(false, Ordering::Relaxed);
    let (_, epoch) = cluster.primary_but(old).await;
    cluster.propose(new, epoch, "after");
    cluster.committed(old, "after").await;
    tokio::time::sleep(ms(500)).await;
    assert_eq!(
        cluster.nodes[&new].control.hand_over(Some(NodeId(old)), ms(500), HandOverReason::Requested).await.unwrap(),
        NodeId(old)
    );
    assert_eq!(cluster.primary().await.0, old);
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_loop_is_stuck_does_not_campaign_and_is_no_target() {
    let mut cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    let stuck = old % 3 + 1;
    cluster.nodes[&stuck].stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(ms(2000)).await;
    let refused = cluster.nodes[&old].control.hand_over(Some(NodeId(stuck)), ms(500), HandOverReason::Requested).await;
    assert!(matches!(refused, Err(HandOverError::BadTarget(_))), "{refused:?}");
    cluster.kill(old).await;
    assert_eq!(cluster.primary().await.0, stuck % 3 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_primary_without_a_successor_keeps_its_lease() {
    let cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    for other in (1..=3).filter(|other| *other != old) {
        cluster.nodes[&other].ready.store(false, Ordering::Relaxed);
    }
    cluster.nodes[&old].stuck.store(true, Ordering::Relaxed);
    tokio::time::sleep(ms(8000)).await;
    cluster.nodes[&old].stuck.store(false, Ordering::Relaxed);
    assert_eq!(cluster.primary().await, (old, epoch), "no other node could have served");
}

/// An idle loop does not iterate by itself.
#[tokio::test(start_paused = true)]
async fn an_idle_loop_is_not_stuck() {
    let cluster = Cluster::running(3).await;
    let primary = cluster.primary().await;
    for node in cluster.nodes.values() {
        node.idle.store(true, Ordering::Relaxed);
    }
    for _ in 0..300 {
        tokio::time::sleep(ms(100)).await;
        assert_eq!(cluster.holder().map(|(id, lease, _)| (id, lease.epoch())), Some(primary));
        assert!(cluster.nodes.values().all(|node| !node.handle.stalls().stuck));
    }
}
