//! Tests of promises and leases as plain state, step by step and with random schedules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{BootNs, Epoch, NodeId};

use super::deadline::Lease;
use super::leader::{LeaderLease, MemberReport, Voters};
use super::promises::{PENDING_MAX, Promises, Ticket};

const LENGTH: Duration = Duration::from_millis(100);
const LEADERS: Duration = Duration::from_millis(90);

fn ms(at: u64) -> BootNs {
    BootNs(at * 1_000_000)
}

fn epoch(term: u64, node: u64) -> Epoch {
    Epoch { term, node: NodeId(node) }
}

fn voters(halves: &[&[u64]]) -> Voters {
    let halves: Vec<BTreeSet<u64>> = halves.iter().map(|half| half.iter().copied().collect()).collect();
    let members = halves.iter().flatten().copied().collect();
    Voters { halves, members }
}

fn leader(own: u64, halves: &[&[u64]]) -> LeaderLease {
    let mut lead = LeaderLease::new(own, Arc::new(Lease::new(epoch(1, own))), LEADERS);
    lead.set_voters(voters(halves));
    lead
}

#[test]
fn a_promise_forbids_votes_for_others_until_it_ends() {
    let mut promises = Promises::new(LENGTH, ms(0));
    assert!(!promises.bars(epoch(2, 2), ms(0)));
    let ticket = promises.promise(epoch(1, 1), ms(10)).unwrap();
    assert!(promises.bars(epoch(2, 2), ms(10)), "before the core has answered");
    assert!(promises.resolve(epoch(1, 1), ticket, true));
    assert!(promises.bars(epoch(2, 2), ms(109)));
    assert!(!promises.bars(epoch(1, 1), ms(109)), "its own epoch is not barred");
    assert!(!promises.bars(epoch(2, 2), ms(110)));
}

#[test]
fn a_no_from_the_core_withdraws_only_what_was_not_answered() {
    let mut promises = Promises::new(LENGTH, ms(0));
    let first = promises.promise(epoch(1, 1), ms(0)).unwrap();
    let second = promises.promise(epoch(1, 1), ms(50)).unwrap();
    assert!(promises.resolve(epoch(1, 1), first, true));
    assert!(promises.bars(epoch(2, 2), ms(120)), "the second question is under way");
    assert!(!promises.resolve(epoch(1, 1), second, false));
    assert!(promises.bars(epoch(2, 2), ms(99)), "the leader counts on the first answer");
    assert!(!promises.bars(epoch(2, 2), ms(100)));
}

#[test]
fn promises_to_an_old_and_a_new_leader_both_bind() {
    let mut promises = Promises::new(LENGTH, ms(0));
    let old = promises.promise(epoch(1, 1), ms(0)).unwrap();
    assert!(promises.resolve(epoch(1, 1), old, true));
    let new = promises.promise(epoch(2, 2), ms(20)).unwrap();
    assert!(promises.resolve(epoch(2, 2), new, true));
    assert!(promises.bars(epoch(2, 2), ms(99)));
    assert!(!promises.bars(epoch(2, 2), ms(100)));
    assert!(promises.bars(epoch(3, 3), ms(119)));
}

#[test]
fn a_released_leader_never_binds_again() {
    let mut promises = Promises::new(LENGTH, ms(0));
    let ticket = promises.promise(epoch(1, 1), ms(0)).unwrap();
    let late = promises.promise(epoch(1, 1), ms(1)).unwrap();
    assert!(promises.resolve(epoch(1, 1), ticket, true));
    promises.release(epoch(1, 1));
    assert!(!promises.bars(epoch(2, 2), ms(2)));
    assert!(!promises.resolve(epoch(1, 1), late, true), "an answer after the release is a no");
    assert_eq!(promises.promise(epoch(1, 1), ms(3)), None);
    assert!(promises.promise(epoch(2, 2), ms(3)).is_some());
}

#[test]
fn a_restarted_voter_is_silent_for_one_lease() {
    let promises = Promises::new(LENGTH, ms(100));
    assert!(promises.silent(ms(99)) && promises.bars(epoch(9, 9), ms(99)));
    assert!(!promises.silent(ms(100)) && !promises.bars(epoch(9, 9), ms(100)));
}

#[test]
fn requests_to_a_silent_core_are_bounded() {
    let mut promises = Promises::new(LENGTH, ms(0));
    let accepted = (0..1000).filter_map(|at| promises.promise(epoch(1, 1), ms(at))).count();
    assert_eq!(accepted, PENDING_MAX);
}

#[test]
fn the_lease_runs_from_the_send_time_that_a_quorum_has_answered() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    lead.answered(1, ms(10), true, ms(10));
    assert!(!lead.lease().holds(ms(10)), "own answer alone");
    let by = lead.answered(2, ms(10), true, ms(30));
    assert!(by.started);
    assert_eq!(lead.lease().deadline(), ms(100));
    lead.answered(3, ms(50), true, ms(60));
    assert_eq!(lead.lease().deadline(), ms(100), "own node and node 3 need a common point: 10");
    lead.answered(1, ms(50), true, ms(60));
    assert_eq!(lead.lease().deadline(), ms(140));
}

#[test]
fn without_its_own_cores_answer_there_is_no_lease() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    lead.answered(2, ms(10), true, ms(10));
    lead.answered(3, ms(10), true, ms(10));
    assert!(!lead.lease().holds(ms(10)));
}

#[test]
fn answers_to_probes_earn_the_right_to_bind_and_nothing_else() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    assert!(!lead.may_bind(ms(10)));
    lead.answered(1, ms(10), false, ms(10));
    let by = lead.answered(2, ms(10), false, ms(12));
    assert!(by.request_again && !by.started);
    assert!(lead.may_bind(ms(12)) && !lead.lease().holds(ms(12)));
    assert!(!lead.may_bind(ms(100)), "one-way loss: no answers, no more binding");
}

#[test]
fn a_joint_membership_needs_both_halves() {
    let mut lead = leader(1, &[&[1, 2, 3], &[1, 4, 5]]);
    for node in [1, 2] {
        lead.answered(node, ms(50), true, ms(50));
    }
    assert!(!lead.lease().holds(ms(50)));
    lead.answered(4, ms(20), true, ms(50));
    assert_eq!(lead.lease().deadline(), ms(110), "the earlier of both halves");
}

#[test]
fn a_new_membership_cuts_what_was_earned_under_the_old_one() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    for node in [1, 2, 3] {
        lead.answered(node, ms(10), true, ms(10));
    }
    assert!(lead.lease().holds(ms(20)));
    lead.set_voters(voters(&[&[1, 2, 3], &[1, 4, 5]]));
    assert!(!lead.lease().holds(ms(20)), "4 and 5 have promised nothing");
    lead.answered(4, ms(15), true, ms(25));
    assert!(lead.lease().holds(ms(25)));
}

/// Node 4 replaces node 1, which is dead: learner, joint configuration, voter. It is bound from the time at which it
/// follows, so the change costs no lease while it answers. Where its vote is needed, only what it has promised counts.
#[test]
fn a_learner_that_becomes_a_voter_counts_by_what_it_has_promised() {
    for (promised_at, needed_until) in [(Some(5), 95), (Some(30), 100), (None, 0)] {
        let mut lead = leader(2, &[&[1, 2, 3]]);
        let mut following = voters(&[&[1, 2, 3]]);
        following.members.insert(4);
        lead.set_voters(following);
        for (node, timestamp) in [(4, promised_at), (2, Some(20))] {
            if let Some(timestamp) = timestamp {
                lead.answered(node, ms(timestamp), true, ms(timestamp));
            }
        }
        lead.set_report(4, MemberReport { ready: true, holding: None });
        assert!(!lead.lease().holds(ms(20)), "a learner is no quorum");
        assert_eq!(lead.fit(ms(0)).contains(&4), promised_at.is_some());
        assert!(lead.could_take_over(ms(0)).is_empty(), "nor can it lead");

        lead.answered(3, ms(10), true, ms(20));
        assert_eq!(lead.lease().deadline(), ms(100));
        lead.set_voters(voters(&[&[1, 2, 3], &[2, 3, 4]]));
        assert_eq!(lead.lease().deadline(), ms(100), "nodes 2 and 3 are a quorum of both halves");
        assert_eq!(lead.could_take_over(ms(0)).contains(&4), promised_at.is_some());
        lead.set_voters(voters(&[&[2, 4]]));
        assert_eq!(lead.lease().deadline(), ms(needed_until), "promised at {promised_at:?}");
        for node in [2, 4] {
            lead.answered(node, ms(60), true, ms(61));
        }
        assert_eq!(lead.lease().deadline(), ms(150));
    }
}

/// A node whose Raft core has died still sends heartbeats. They must not keep the voters from electing another leader.
#[test]
fn a_leader_whose_own_core_is_silent_binds_nobody() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    for node in [1, 2, 3] {
        lead.answered(node, ms(10), true, ms(10));
    }
    assert!(lead.may_bind(ms(20)));
    let dead = 10 + LEADERS.as_millis() as u64;
    for timestamp in (10..dead + 50).step_by(10) {
        lead.answered(2, ms(timestamp), timestamp < dead, ms(timestamp));
        lead.answered(3, ms(timestamp), timestamp < dead, ms(timestamp));
    }
    assert!(!lead.may_bind(ms(dead + 1)) && !lead.lease().holds(ms(dead + 1)));
}

#[test]
fn a_closed_lease_stays_closed() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    for node in [1, 2] {
        lead.answered(node, ms(10), true, ms(10));
    }
    lead.close();
    assert!(!lead.lease().holds(ms(11)));
    for node in [1, 2, 3] {
        lead.answered(node, ms(20), true, ms(20));
    }
    assert!(!lead.lease().holds(ms(21)) && !lead.may_bind(ms(21)));
}

#[test]
fn a_target_is_one_that_answered_lately_and_is_ready() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    for (node, timestamp, ready) in [(1, 50, true), (2, 50, true), (3, 10, true)] {
        lead.answered(node, ms(timestamp), false, ms(50));
        lead.set_report(node, MemberReport { ready, holding: None });
    }
    assert_eq!(lead.could_take_over(ms(40)), BTreeSet::from([2]));
    lead.set_report(2, MemberReport { ready: false, holding: None });
    assert!(lead.could_take_over(ms(40)).is_empty());
}

/// Voters and leaders with random delays, losses and elections. Votes are granted only where promises allow it, and a
/// term is won by a majority. No two leases are ever held at once.
#[test]
fn random_schedules_never_give_two_leases() {
    for seed in 0..300 {
        Schedule::new(seed).run();
    }
}

struct Schedule {
    rng: rand::rngs::SmallRng,
    promises: Vec<Promises>,
    /// What each node's core has voted for.
    votes: Vec<Epoch>,
    leaders: Vec<LeaderLease>,
    /// Heartbeats in flight: time of arrival, receiver, epoch, timestamp, whether they bind.
    requests: Vec<(u64, usize, Epoch, u64, bool)>,
    answers: Vec<(u64, usize, Epoch, u64, bool)>,
    /// Pending questions to the Raft core.
    questions: Vec<(u64, usize, Epoch, u64, Ticket)>,
    leases: usize,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        use rand::SeedableRng as _;
        Schedule {
            rng: rand::rngs::SmallRng::seed_from_u64(seed),
            promises: (0..3).map(|_| Promises::new(LENGTH, ms(0))).collect(),
            votes: vec![epoch(0, 0); 3],
            leaders: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            questions: Vec::new(),
            leases: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        use rand::Rng as _;
        self.rng.random_range(0..100) < percent
    }

    fn delay(&mut self) -> u64 {
        use rand::Rng as _;
        if self.chance(10) { self.rng.random_range(0..150) } else { self.rng.random_range(0..10) }
    }

    fn run(&mut self) {
        for at in 0..3000u64 {
            self.campaign(at);
            self.heartbeat(at);
            self.deliver(at);
            let held = self.leaders.iter().filter(|lead| lead.lease().holds(ms(at))).count();
            assert!(held <= 1, "{held} leases at {at} ms");
            self.leases += held;
        }
        assert!(self.leases > 100, "the schedule must give leases to be worth anything");
    }

    /// Now and then a node campaigns. Votes are requested and granted at once, where promises allow it.
    fn campaign(&mut self, at: u64) {
        use rand::Rng as _;
        if !self.chance(2) {
            return;
        }
        let node = self.rng.random_range(0..3usize);
        let term = self.votes[node].term + 1;
        let candidate = epoch(term, node as u64);
        // The core votes for itself whatever was promised; promises keep the requests from leaving.
        self.votes[node] = candidate;
        let mut granted = 1;
        if !self.promises[node].bars(candidate, ms(at)) {
            for voter in (0..3).filter(|voter| *voter != node).collect::<Vec<_>>() {
                if !self.promises[voter].bars(candidate, ms(at)) && self.votes[voter].term < term {
                    self.votes[voter] = candidate;
                    granted += 1;
                }
            }
        }
        if granted >= 2 {
            let mut lead = LeaderLease::new(node as u64, Arc::new(Lease::new(candidate)), LEADERS);
            lead.set_voters(voters(&[&[0, 1, 2]]));
            self.leaders.push(lead);
        }
    }

    fn heartbeat(&mut self, at: u64) {
        if !at.is_multiple_of(10) {
            return;
        }
        // Deposed leaders continue to send heartbeats: they may not know.
        let heartbeats: Vec<_> = self.leaders.iter().map(|lead| (lead.epoch(), lead.may_bind(ms(at)))).collect();
        for (epoch, bind) in heartbeats {
            for voter in 0..3 {
                if !self.chance(20) {
                    let delay = self.delay();
                    self.requests.push((at + delay, voter, epoch, at, bind));
                }
            }
        }
    }

    fn deliver(&mut self, at: u64) {
        for (_, voter, epoch, timestamp, bind) in
            self.requests.extract_if(.., |request| request.0 <= at).collect::<Vec<_>>()
        {
            if bind {
                let Some(ticket) = self.promises[voter].promise(epoch, ms(at)) else { continue };
                let delay = self.delay();
                self.questions.push((at + delay, voter, epoch, timestamp, ticket));
            } else if self.votes[voter] == epoch {
                self.answers.push((at, voter, epoch, timestamp, false));
            }
        }
        for (_, voter, epoch, timestamp, ticket) in self.questions.extract_if(.., |q| q.0 <= at).collect::<Vec<_>>() {
            let holds = self.votes[voter] == epoch;
            if self.promises[voter].resolve(epoch, ticket, holds) && !self.chance(20) {
                let delay = self.delay();
                self.answers.push((at + delay, voter, epoch, timestamp, true));
            }
        }
        for (_, voter, epoch, timestamp, bind) in
            self.answers.extract_if(.., |answer| answer.0 <= at).collect::<Vec<_>>()
        {
            if let Some(lead) = self.leaders.iter_mut().find(|lead| lead.epoch() == epoch) {
                lead.answered(voter as u64, ms(timestamp), bind, ms(at));
            }
        }
    }
}

/// Reads without a clock rely on the newest send time that a quorum has answered, including the own core, whether the
/// heartbeat bound or not.
#[test]
fn a_quorum_confirms_what_was_sent_before_its_answers() {
    let mut lead = leader(1, &[&[1, 2, 3]]);
    let lease = lead.lease().clone();
    lead.answered(2, ms(10), false, ms(12));
    lead.answered(3, ms(10), false, ms(12));
    assert_eq!(lease.confirmed(), ms(0), "the own core has not answered");
    lead.answered(1, ms(5), false, ms(12));
    assert_eq!(lease.confirmed(), ms(5));
    lease.await_confirmation(ms(20));
    assert!(!lead.answered(1, ms(30), false, ms(31)).confirmed, "only 10 is");
    assert_eq!(lease.confirmed(), ms(10));
    assert!(lead.answered(3, ms(20), false, ms(32)).confirmed);
    assert!(!lead.answered(2, ms(30), true, ms(33)).confirmed, "confirmed once");
    assert_eq!(lease.confirmed(), ms(30));

    let mut joint = leader(1, &[&[1, 2, 3], &[1, 4, 5]]);
    for node in [1, 2] {
        joint.answered(node, ms(50), false, ms(50));
    }
    assert_eq!(joint.lease().confirmed(), ms(0), "one half alone");
    joint.answered(4, ms(20), false, ms(50));
    assert_eq!(joint.lease().confirmed(), ms(20));
}
