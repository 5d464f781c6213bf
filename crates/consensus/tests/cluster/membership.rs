//! A node replaces another one in a group: step by step, whoever leads, whatever fails in between.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::harness::*;
use fastness_consensus::{AzRule, Goal, GroupStatus, Member, ReconcileError, Reconciled};
use fastness_types::{FormatLevel, NodeId};

/// `new` replaces `old`, as seen by whoever knows both of them.
pub fn goal(cluster: &Cluster, old: u64, new: &Member) -> Goal {
    let stay = cluster.members.iter().filter(|member| member.node.0 <= 3 && member.node.0 != old);
    Goal {
        voters: stay.chain([new]).cloned().collect(),
        learners: Vec::new(),
        keep: BTreeSet::new(),
        known: cluster.members.iter().map(|member| member.node).collect(),
        rule: AzRule::Required,
    }
}

/// Voters of each half, and learners, as the node sees it.
pub fn shape(status: &GroupStatus) -> (Vec<Vec<u64>>, Vec<u64>) {
    let halves = status.halves.iter().map(|half| half.iter().map(|node| node.0).collect()).collect();
    let learners = status.members.iter().filter(|member| !member.voter).map(|member| member.member.node.0).collect();
    (halves, learners)
}

/// The leader takes a step every 50 ms until the goal is reached.
pub async fn reconcile(cluster: &Cluster, goal: &Goal) -> u64 {
    for _ in 0..400 {
        for (id, node) in &cluster.nodes {
            cluster.check_leases();
            if let Ok(Reconciled::Reached) = node.control.reconcile(goal).await {
                return *id;
            }
        }
        tokio::time::sleep(ms(50)).await;
    }
    panic!("not reached in 20 s: {:?}", cluster.nodes.values().map(|node| node.control.status()).collect::<Vec<_>>());
}

async fn write(cluster: &mut Cluster, batch: &str) -> u64 {
    let (primary, epoch) = cluster.primary().await;
    cluster.propose(primary, epoch, batch);
    cluster.committed(primary, batch).await;
    primary
}

#[tokio::test(start_paused = true)]
async fn a_new_node_takes_the_place_of_a_dead_one_and_its_vote_counts() {
    let mut cluster = Cluster::running(3).await;
    let primary = write(&mut cluster, "before").await;
    let (dead, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    cluster.kill(dead).await;
    let new = cluster.add_node(4, &format!("az{dead}")).await;
    let goal = goal(&cluster, dead, &new);
    let leader = reconcile(&cluster, &goal).await;
    let expected: Vec<u64> = [primary, other, 4].into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(shape(&cluster.nodes[&leader].control.status()), (vec![expected], vec![]));
    write(&mut cluster, "after").await;
    cluster.committed(4, "after").await;
    assert_eq!(cluster.batches(4), ["before", "after"]);
    assert_eq!(cluster.nodes[&leader].control.reconcile(&goal).await.unwrap(), Reconciled::Reached, "nothing is left");

    // Without the new node's vote there would be no majority.
    cluster.kill(other).await;
    write(&mut cluster, "with its vote").await;
    cluster.kill(primary).await;
    cluster.start(other).await;
    write(&mut cluster, "and without those that were there").await;
    cluster.check_histories();
}

/// A node that answers is not a voter for that alone, no half that violates the rule is started, and a node that has
/// not caught up does not vote.
#[tokio::test(start_paused = true)]
async fn a_change_waits_for_the_new_voter_and_for_the_az_rule() {
    let mut cluster = Cluster::running(3).await;
    let primary = write(&mut cluster, "before").await;
    let dead = primary % 3 + 1;
    cluster.kill(dead).await;
    let new = cluster.add_node(4, &format!("az{primary}")).await;
    let lopsided = goal(&cluster, dead, &new);
    let control = cluster.nodes[&primary].control.clone();
    let refused = control.reconcile(&lopsided).await;
    assert!(matches!(refused, Err(ReconcileError::Placement(_))), "{refused:?}");
    let old: Vec<u64> = vec![1, 2, 3];
    assert_eq!(shape(&control.status()), (vec![old.clone()], vec![]), "it is not even added as a learner");

    // It is in the right AZ first, and then yet another node has to replace it.
    let mut right = lopsided.clone();
    let az = format!("az{dead}");
    right.voters.iter_mut().filter(|member| member.node.0 == 4).for_each(|member| member.az = az.as_str().into());
    assert_eq!(control.reconcile(&right).await.unwrap(), Reconciled::Stepped, "it is added as a learner");
    cluster.committed(4, "before").await;
    assert_eq!(shape(&control.status()), (vec![old.clone()], vec![4]));

    // The replacement's replacement, in the right AZ, cannot serve yet.
    let new = cluster.add_node(5, &format!("az{dead}")).await;
    cluster.nodes[&5].ready.store(false, Ordering::Relaxed);
    let goal = goal(&cluster, dead, &new);
    assert_eq!(control.reconcile(&goal).await.unwrap(), Reconciled::Stepped);
    assert_eq!(shape(&control.status()), (vec![old.clone()], vec![5]), "one entry adds the one and removes the other");
    cluster.committed(5, "before").await;
    for _ in 0..20 {
        let step = control.reconcile(&goal).await.unwrap();
        assert!(matches!(step, Reconciled::CatchingUp { node: NodeId(5), .. }), "{step:?}");
        tokio::time::sleep(ms(50)).await;
    }
    assert_eq!(shape(&control.status()), (vec![old], vec![5]));
    cluster.nodes[&5].ready.store(true, Ordering::Relaxed);
    reconcile(&cluster, &goal).await;

    // A leader that has not heard of node 5 leaves the group as it is.
    let mut stale = goal.clone();
    stale.voters.retain(|member| member.node.0 != 5);
    stale.voters.push(cluster.members[dead as usize - 1].clone());
    stale.known.remove(&NodeId(5));
    assert_eq!(control.reconcile(&stale).await.unwrap(), Reconciled::GoalIsOld);
}

/// Schedule 26: both halves of a joint configuration must obey the rule, the old one too.
#[tokio::test(start_paused = true)]
async fn the_az_rule_is_checked_on_the_old_half_too() {
    let mut cluster = Cluster::new(3);
    cluster.members[1].az = cluster.members[0].az.clone();
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.nodes[&1].control.initialize(&cluster.members, AzRule::Waived).await.unwrap();
    let primary = write(&mut cluster, "before").await;
    let new = cluster.add_node(4, "az2").await;
    // The one that does not lead of the two in the same AZ.
    let mut goal = goal(&cluster, if primary == 1 { 2 } else { 1 }, &new);
    let control = cluster.nodes[&primary].control.clone();
    let refused = control.reconcile(&goal).await;
    assert!(matches!(refused, Err(ReconcileError::Placement(_))), "{refused:?}");
    assert_eq!(shape(&control.status()).0, vec![vec![1, 2, 3]]);
    goal.rule = AzRule::Waived;
    reconcile(&cluster, &goal).await;
    write(&mut cluster, "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_to_leave_hands_over_first() {
    let mut cluster = Cluster::running(3).await;
    let primary = write(&mut cluster, "before").await;
    let new = cluster.add_node(4, &format!("az{primary}")).await;
    let goal = goal(&cluster, primary, &new);
    reconcile(&cluster, &goal).await;
    let now = write(&mut cluster, "after").await;
    assert_ne!(now, primary);
    let (halves, learners) = shape(&cluster.nodes[&now].control.status());
    assert!(halves.len() == 1 && !halves[0].contains(&primary) && learners.is_empty(), "{halves:?} {learners:?}");
    // It hears nothing any more and does not lead again, whatever it tries.
    cluster.within(ms(3000), |_| None::<()>).await;
    assert_eq!(write(&mut cluster, "still").await, now);
}

/// A leader dies between the two entries of the change. Its successor finds the joint configuration and continues.
#[tokio::test(start_paused = true)]
async fn a_change_is_completed_by_the_successor_of_a_leader_lost_midway() {
    for old_one_comes_back in [false, true] {
        let mut cluster = Cluster::running(3).await;
        let primary = write(&mut cluster, "before").await;
        let (dead, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
        cluster.kill(dead).await;
        let new = cluster.add_node(4, &format!("az{dead}")).await;
        let goal = goal(&cluster, dead, &new);
        let control = cluster.nodes[&primary].control.clone();
        assert_eq!(control.reconcile(&goal).await.unwrap(), Reconciled::Stepped, "a learner first");
        cluster.committed(4, "before").await;
        tokio::time::sleep(ms(200)).await;
        let stepping = tokio::spawn({
            let (control, goal) = (control.clone(), goal.clone());
            async move { control.reconcile(&goal).await }
        });
        let joint = cluster.within(ms(1000), |_| (control.status().halves.len() == 2).then_some(())).await;
        joint.expect("the change starts");
        cluster.kill(primary).await;
        stepping.abort();
        // The rest is no majority of the old voters. The dead node, restarted with its disk, is one of them until the
        // change is complete.
        cluster.start(if old_one_comes_back { dead } else { primary }).await;
        reconcile(&cluster, &goal).await;
        write(&mut cluster, "after").await;
        for id in [other, 4] {
            cluster.committed(id, "after").await;
            let status = cluster.nodes[&id].control.status();
            assert_eq!(shape(&status).0.len(), 1, "node {id} is left in the middle: {status:?}");
        }
        cluster.check_histories();
    }
}

/// Random cuts, kills and restarts while one node replaces another. There are never two leases, nothing acknowledged is
/// lost, and the change is complete in the end.
#[tokio::test(start_paused = true)]
async fn random_faults_during_a_change_cost_neither_writes_nor_the_change() {
    use rand::{Rng as _, SeedableRng as _};
    for seed in 0..8 {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
        let mut cluster = Cluster::running(3).await;
        let dead = rng.random_range(1..=3);
        cluster.kill(dead).await;
        let new = cluster.add_node(4, &format!("az{dead}")).await;
        let goal = goal(&cluster, dead, &new);
        let live: Vec<u64> = (1..=4).filter(|id| *id != dead).collect();
        let mut acknowledged = Vec::new();
        for step in 0..40 {
            let (a, b) = (live[rng.random_range(0..3)], live[rng.random_range(0..3)]);
            match rng.random_range(0..10) {
                0 | 1 if a != b => cluster.network.cut(NodeId(a), NodeId(b), true),
                2 if cluster.nodes.len() == 3 => cluster.kill(a).await,
                3 => cluster.network.set_delay(ms(rng.random_range(0..40))),
                _ => heal(&mut cluster, &live).await,
            }
            let reconciling: Vec<_> = cluster.nodes.values().map(|node| node.control.clone()).collect();
            for control in reconciling {
                let goal = goal.clone();
                // In the background, as the server does. What is refused is tried again.
                tokio::spawn(async move { drop(control.reconcile(&goal).await) });
            }
            let batch = format!("step {step}");
            if let Some((id, lease, _)) = cluster.holder() {
                cluster.propose(id, lease.epoch(), &batch);
                let committed = cluster.within(ms(rng.random_range(50..500)), |cluster| {
                    cluster.batches(id).contains(&batch).then_some(())
                });
                if committed.await.is_some() {
                    acknowledged.push(batch);
                }
            } else {
                cluster.within(ms(rng.random_range(50..500)), |_| None::<()>).await;
            }
            cluster.check_histories();
        }
        heal(&mut cluster, &live).await;
        cluster.network.set_delay(ms(0));
        reconcile(&cluster, &goal).await;
        let primary = write(&mut cluster, "last").await;
        for id in &live {
            cluster.committed(*id, "last").await;
        }
        cluster.check_histories();
        let found = cluster.batches(primary);
        for batch in &acknowledged {
            assert!(found.contains(batch), "seed {seed}: {batch} is lost");
        }
        assert!(acknowledged.len() > 5, "seed {seed}: only {} batches got through", acknowledged.len());
    }
}

async fn heal(cluster: &mut Cluster, live: &[u64]) {
    for a in live {
        for b in live {
            cluster.network.cut(NodeId(*a), NodeId(*b), false);
        }
    }
    for id in live {
        if !cluster.nodes.contains_key(id) {
            cluster.start(*id).await;
        }
    }
}

/// The old node restarts with its disk after the change is complete.
#[tokio::test(start_paused = true)]
async fn a_replaced_node_is_refused_and_stops() {
    let mut cluster = Cluster::running(3).await;
    let primary = write(&mut cluster, "before").await;
    let dead = primary % 3 + 1;
    cluster.kill(dead).await;
    let new = cluster.add_node(4, &format!("az{dead}")).await;
    let goal = goal(&cluster, dead, &new);
    reconcile(&cluster, &goal).await;
    for node in cluster.nodes.values() {
        node.consensus.set_replaced(&[(NodeId(dead), NodeId(4))]);
    }
    write(&mut cluster, "after").await;
    cluster.start(dead).await;
    let back = cluster.nodes[&dead].consensus.clone();
    let reason = cluster.within(ms(3000), |_| back.stopped()).await.expect("it does not stop");
    assert!(reason.contains(&format!("node {dead} was replaced by node 4")), "{reason}");
    cluster.kill(dead).await;
    write(&mut cluster, "undisturbed").await;
}

/// What the newest format level has introduced is written once every member understands it.
#[tokio::test(start_paused = true)]
async fn a_group_is_at_the_level_of_its_oldest_member() {
    let mut cluster = Cluster::new(3);
    cluster.formats.insert(3, FormatLevel::BASE);
    cluster.start_all().await;
    let all_at =
        |level| move |cluster: &Cluster| cluster.nodes.values().all(|node| node.handle.format() == level).then_some(());
    tokio::time::sleep(ms(1_000)).await;
    all_at(FormatLevel::BASE)(&cluster).expect("node 3 is of an older version");
    cluster.kill(3).await;
    tokio::time::sleep(ms(1_000)).await;
    all_at(FormatLevel::BASE)(&cluster).expect("it is still a member");
    cluster.formats.clear();
    cluster.start(3).await;
    cluster.within(ms(5_000), all_at(FormatLevel::CURRENT)).await.expect("all are upgraded");
    cluster.kill(3).await;
    tokio::time::sleep(ms(1_000)).await;
    all_at(FormatLevel::CURRENT)(&cluster).expect("one that is down is as it was");
}
