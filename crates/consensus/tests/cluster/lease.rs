//! Directed schedules against the lease: each would give a careless implementation two primaries, or none for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::harness::*;
use fastness_consensus::{Class, Timers, handle::Role};
use fastness_events::HandOverReason;
use fastness_types::{Clock as _, NodeId};

/// The frame kinds that the filters below select (frozen numbers).
const APPEND: u32 = 10;
const VOTE: u32 = 12;
const LEASE_REQUEST: u32 = 20;
const LEASE_ANSWER: u32 = 21;

fn others(of: u64) -> Vec<u64> {
    (1..=3).filter(|id| *id != of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_primary_is_fenced_before_another_serves() {
    let cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    let Role::Leader { lease, .. } = (**cluster.nodes[&old].handle.role()).clone() else { panic!() };
    cluster.network.isolate(NodeId(old), true);
    let (new, _) = cluster.primary_but(old).await;
    assert_ne!(new, old);
    assert!(!lease.holds(cluster.clock.boot()));
    cluster.network.isolate(NodeId(old), false);
    let back = cluster.within(ms(5000), |cluster| match &**cluster.nodes[&old].handle.role() {
        Role::Follower { leader: Some(leader) } => Some(*leader),
        _ => None,
    });
    assert_eq!(back.await, Some(NodeId(new)), "the old primary follows the new one");
}

/// Schedule 8: all disks stall. Reads must continue under the lease, which never waits for a log.
#[tokio::test(start_paused = true)]
async fn stalled_disks_do_not_cost_the_lease() {
    let mut cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    cluster.sync_ms.store(20_000, Ordering::Relaxed);
    cluster.propose(primary, epoch, "slow");
    for _ in 0..5_000 {
        tokio::time::sleep(ms(1)).await;
        assert_eq!(cluster.holder().map(|(id, ..)| id), Some(primary), "the lease is lost");
    }
    assert!(cluster.batches(primary).is_empty());
}

/// Schedule 25: a voter restarts and would vote at once, while the old leader still reads under its lease.
#[tokio::test(start_paused = true)]
async fn a_restarted_voter_is_silent_for_one_lease() {
    for _ in 0..5 {
        let mut cluster = Cluster::running(3).await;
        let (old, _) = cluster.primary().await;
        let [candidate, voter] = others(old)[..] else { panic!() };
        // The candidate hears nothing of the leader any more, and campaigns in time. The voter keeps the leader's lease
        // valid.
        cluster.network.cut(NodeId(old), NodeId(candidate), true);
        cluster.network.cut(NodeId(candidate), NodeId(old), true);
        tokio::time::sleep(ms(600)).await;
        cluster.kill(voter).await;
        cluster.start(voter).await;
        let until = cluster.clock.boot();
        // `within` checks at every step that no two leases are held.
        cluster.within(ms(1500), |_| None::<()>).await;
        cluster.network.isolate(NodeId(old), false);
        cluster.primary().await;
        assert!(cluster.clock.boot() > until);
    }
}

/// Schedule 27: the Raft core's own messages do not reach F2, but heartbeats of the lease do. F2 must not win with its
/// own vote.
#[tokio::test(start_paused = true)]
async fn a_follower_that_only_hears_lease_frames_does_not_depose_the_leader() {
    let cluster = Cluster::running(3).await;
    let (old, epoch) = cluster.primary().await;
    let [deaf, other] = others(old)[..] else { panic!() };
    cluster.network.set_filter(Some(Arc::new(move |from, to, _, frame| {
        let raft = frame.messages.iter().any(|message| message.kind == APPEND);
        raft && from == NodeId(old) && to == NodeId(deaf)
    })));
    // F1 hears nothing of the leader at all: its promise ends, and it would vote.
    cluster.network.cut(NodeId(old), NodeId(other), true);
    for _ in 0..3_000 {
        tokio::time::sleep(ms(1)).await;
        cluster.check_leases();
        let (holder, lease, _) = cluster.holder().expect("the lease rests on the leader and the deaf follower");
        assert_eq!((holder, lease.epoch()), (old, epoch));
    }
    cluster.network.set_filter(None);
    cluster.network.cut(NodeId(old), NodeId(other), false);
    cluster.primary().await;
}

/// Schedule 29: the leader's heartbeats arrive, the answers do not. Voters must not stay bound for ever.
#[tokio::test(start_paused = true)]
async fn one_way_loss_ends_in_another_primary() {
    let cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    for other in others(old) {
        cluster.network.cut(NodeId(other), NodeId(old), true);
    }
    let (new, _) = cluster.primary_but(old).await;
    assert_ne!(new, old);
}

/// Schedule 5 and 29 from the other side: only answers count, however long openraft believes in its quorum.
#[tokio::test(start_paused = true)]
async fn without_lease_answers_there_is_no_lease_and_with_them_it_returns() {
    let cluster = Cluster::running(3).await;
    let (primary, epoch) = cluster.primary().await;
    let lossy = Arc::new(AtomicBool::new(true));
    let drop_answers = lossy.clone();
    cluster.network.set_filter(Some(Arc::new(move |_, _, class, frame| {
        let answer = frame.messages.iter().any(|message| message.kind == LEASE_ANSWER);
        class == Class::Heartbeat && answer && drop_answers.load(Ordering::Relaxed)
    })));
    let lost = cluster.within(ms(1000), |cluster| cluster.holder().is_none().then_some(()));
    lost.await.expect("the lease ends");
    lossy.store(false, Ordering::Relaxed);
    assert_eq!(cluster.primary().await, (primary, epoch), "and returns in the same epoch");
}

/// Schedule 28: a vote request that has passed the check of promises is delayed. The heartbeat then asks the core and
/// is answered, so the grant must not leave.
#[tokio::test(start_paused = true)]
async fn votes_in_flight_do_not_break_a_promise() {
    for held_ms in [1, 20, 45, 60, 90] {
        let cluster = Cluster::running(3).await;
        let (old, _) = cluster.primary().await;
        let [candidate, voter] = others(old)[..] else { panic!() };
        // Heartbeats to the voter are dropped for a while, so that the candidate's request passes the check.
        let quiet = Arc::new(AtomicBool::new(true));
        let drop_requests = quiet.clone();
        cluster.network.set_filter(Some(Arc::new(move |from, to, _, frame| {
            let kinds = |wanted: u32| frame.messages.iter().any(|message| message.kind == wanted);
            let leader = from == NodeId(old) && to == NodeId(voter);
            let to_candidate = from == NodeId(old) && to == NodeId(candidate);
            to_candidate || (leader && drop_requests.load(Ordering::Relaxed) && (kinds(LEASE_REQUEST) || kinds(APPEND)))
        })));
        cluster.network.set_delay(ms(held_ms));
        for step in 0..4_000 {
            tokio::time::sleep(ms(1)).await;
            cluster.check_leases();
            // Heartbeats arrive in bursts.
            quiet.store(step % 137 < 70, Ordering::Relaxed);
        }
        cluster.network.set_filter(None);
        cluster.network.set_delay(ms(0));
        cluster.primary().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_counts_from_the_send_time() {
    let cluster = Cluster::running(3).await;
    cluster.network.set_delay(ms(60));
    tokio::time::sleep(ms(500)).await;
    let longest = cluster.timers.lease_of_leader() - ms(2 * 60);
    for _ in 0..1_000 {
        tokio::time::sleep(ms(1)).await;
        let (_, lease, _) = cluster.holder().expect("a delay of 60 ms does not cost the lease");
        assert!(lease.deadline().since(cluster.clock.boot()) <= longest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_promised_sends_no_votes() {
    let cluster = Cluster::running(3).await;
    let (old, _) = cluster.primary().await;
    let [deaf, _] = others(old)[..] else { panic!() };
    let voted = Arc::new(AtomicBool::new(false));
    let saw_vote = voted.clone();
    cluster.network.set_filter(Some(Arc::new(move |from, to, _, frame| {
        let kinds = |wanted: u32| frame.messages.iter().any(|message| message.kind == wanted);
        if from == NodeId(deaf) && (kinds(VOTE) || kinds(VOTE + 2)) {
            saw_vote.store(true, Ordering::Relaxed);
        }
        kinds(APPEND) && from == NodeId(old) && to == NodeId(deaf)
    })));
    cluster.within(ms(3000), |_| None::<()>).await;
    assert!(!voted.load(Ordering::Relaxed), "a promise runs all the time");
}

/// Random cuts, heals, kills and restarts. There are never two leases, and in the end all nodes agree.
#[tokio::test(start_paused = true)]
async fn random_faults_never_give_two_leases() {
    use rand::{Rng as _, SeedableRng as _};
    for seed in 0..6 {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
        let mut cluster = Cluster::running(3).await;
        let mut acknowledged = Vec::new();
        for step in 0..60 {
            let (a, b) = (rng.random_range(1..=3u64), rng.random_range(1..=3u64));
            match rng.random_range(0..10) {
                0..=2 if a != b => cluster.network.cut(NodeId(a), NodeId(b), true),
                3 => cluster.network.isolate(NodeId(a), true),
                4 if cluster.nodes.len() == 3 => cluster.kill(a).await,
                5 => cluster.network.set_delay(ms(rng.random_range(0..60))),
                _ => heal(&mut cluster).await,
            }
            if let Some((id, lease, _)) = cluster.holder() {
                let batch = format!("step {step}");
                cluster.propose(id, lease.epoch(), &batch);
                let committed = cluster.within(ms(rng.random_range(50..600)), |cluster| {
                    cluster.batches(id).contains(&batch).then_some(())
                });
                if committed.await.is_some() {
                    acknowledged.push(batch);
                }
            } else {
                cluster.within(ms(rng.random_range(50..600)), |_| None::<()>).await;
            }
            cluster.check_histories();
        }
        heal(&mut cluster).await;
        cluster.network.set_delay(ms(0));
        let (primary, epoch) = cluster.primary().await;
        cluster.propose(primary, epoch, "last");
        for node in 1..=3 {
            cluster.committed(node, "last").await;
        }
        cluster.check_histories();
        let found = cluster.batches(primary);
        for batch in &acknowledged {
            assert!(found.contains(batch), "seed {seed}: {batch} is lost");
        }
        assert!(acknowledged.len() > 5, "seed {seed}: only {} batches got through", acknowledged.len());
    }
}

async fn heal(cluster: &mut Cluster) {
    for a in 1..=3 {
        for b in 1..=3 {
            cluster.network.cut(NodeId(a), NodeId(b), false);
        }
    }
    for id in 1..=3 {
        if !cluster.nodes.contains_key(&id) {
            cluster.start(id).await;
        }
    }
}

/// C9: all nodes are stopped together, as by a hypervisor that takes their cores, for longer than a lease and finally
/// longer than the election time-out. Every timer has expired when they resume. The same primary continues in its
/// epoch.
#[tokio::test(start_paused = true)]
async fn all_nodes_stopped_together_elect_nobody() {
    for stop_ms in [400, 600, 700, 1000] {
        let mut cluster = Cluster::running(3).await;
        tokio::time::sleep(ms(1000)).await;
        let (primary, epoch) = cluster.primary().await;
        for stop in 0..10 {
            // Time passes while nobody runs.
            tokio::time::advance(ms(stop_ms)).await;
            let held = cluster.within(ms(200), |cluster| cluster.holder()).await;
            assert!(held.is_some(), "no lease 200 ms after a stop of {stop_ms} ms");
            assert_eq!(cluster.primary().await, (primary, epoch), "stop {stop} of {stop_ms} ms");
            let batch = format!("after stop {stop}");
            cluster.propose(primary, epoch, &batch);
            cluster.committed(primary, &batch).await;
            tokio::time::sleep(ms(130 + 37 * stop)).await;
        }
        let counted = cluster.nodes.values().map(|node| node.consensus.gaps().count).collect::<Vec<_>>();
        assert!(counted.iter().all(|count| *count >= 10), "{counted:?}");
    }
}

/// Schedule 18: `failover-timeout` is being changed, so nodes promise for different times. A leader with long leases
/// relies on no more than what its voters promise, and a voter that is restarted with a shorter lease is silent for the
/// longer one.
#[tokio::test(start_paused = true)]
async fn leases_of_different_lengths_never_overlap() {
    let long = Timers::for_failover(ms(5_000));
    for leader in 1..=3 {
        let mut cluster = Cluster::running(3).await;
        cluster.kill(leader).await;
        cluster.timers_of.insert(leader, long);
        cluster.start(leader).await;
        let (old, _) = cluster.primary().await;
        if old != leader {
            tokio::time::sleep(ms(6_000)).await;
            cluster.nodes[&old]
                .control
                .hand_over(Some(NodeId(leader)), ms(1_000), HandOverReason::Requested)
                .await
                .unwrap();
        }
        assert_eq!(cluster.primary().await.0, leader);
        tokio::time::sleep(ms(500)).await;
        let held_until = cluster.holder().unwrap().1.deadline();
        assert!(held_until < cluster.clock.boot().plus(ms(350)), "a lease longer than what voters promise");
        cluster.network.isolate(NodeId(leader), true);
        // Checks the leases all the time.
        let (new, _) = cluster.primary_but(leader).await;
        assert_ne!(new, leader);
        cluster.network.isolate(NodeId(leader), false);
    }
    // All nodes make long promises. One that restarts with a short promise may not vote before the long one has ended.
    let mut cluster = Cluster::new(3);
    cluster.timers = long;
    cluster.start_all().await;
    tokio::time::sleep(ms(1_000)).await;
    let (old, _) = cluster.primary().await;
    let lease = cluster.holder().unwrap().1;
    cluster.network.isolate(NodeId(old), true);
    for other in others(old) {
        cluster.kill(other).await;
        cluster.timers_of.insert(other, Timers::default());
        cluster.start(other).await;
    }
    cluster.network.isolate(NodeId(old), true);
    let restarted = cluster.clock.boot();
    let (new, _) = cluster.primary_but(old).await;
    assert!(new != old && !lease.holds(cluster.clock.boot()));
    assert!(cluster.clock.boot().since(restarted) >= ms(2_000), "votes were given while the old promise ran");
}

/// The table of lease length against failover time in `deploy/README.md`.
#[tokio::test(start_paused = true)]
async fn failover_times_are_as_documented() {
    for (failover_ms, lease_ms, at_least, at_most) in
        [(700, 330, 500, 850), (1_000, 472, 750, 1_150), (2_000, 943, 1_600, 2_150), (5_000, 2_358, 4_200, 5_150)]
    {
        let timers = Timers::for_failover(ms(failover_ms));
        assert_eq!(timers.lease_of_leader(), ms(lease_ms));
        let mut took = Vec::new();
        for _ in 0..5 {
            let mut cluster = Cluster::new(3);
            cluster.timers = timers;
            cluster.start_all().await;
            tokio::time::sleep(ms(1_000)).await;
            let (old, _) = cluster.primary().await;
            let killed = cluster.clock.boot();
            cluster.kill(old).await;
            cluster.primary_but(old).await;
            took.push(cluster.clock.boot().since(killed));
        }
        println!("failover-timeout {failover_ms} ms: {took:?}");
        assert!(took.iter().all(|took| (ms(at_least)..=ms(at_most)).contains(took)), "{failover_ms}: {took:?}");
    }
}
