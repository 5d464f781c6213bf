//! Tests of the task that follows group 0, against a log that the test moves.

use fastness_types::ClusterId;

use super::*;
use crate::fixtures::three_nodes;
use crate::map::{LagBound, Password, SettingsChange};
use crate::testing::{FakeGroup, Raft, Standing};

fn start(raft: &Raft) -> Control {
    Control::start(ControlOptions {
        node: NodeId(1),
        handle: raft.handle.clone(),
        group: Arc::new(FakeGroup::default()),
        clock: Arc::new(Standing::default()),
        snapshots: None,
    })
}

fn create(seq: u64, id: u8) -> EntryPayload {
    let mut map = three_nodes();
    map.cluster_id = ClusterId([id; 16]);
    EntryPayload::Batch(command::encode(&Envelope { seq: Seq(seq), command: Command::Create(map) }).into())
}

fn epoch(term: u64, node: u64) -> Epoch {
    Epoch { term, node: NodeId(node) }
}

async fn applied(control: &Control, index: LogIndex) -> ControlStatus {
    let mut status = control.status();
    status.wait_for(|s| s.applied >= index || s.failure.is_some()).await.unwrap().clone()
}

#[tokio::test]
async fn a_follower_learns_the_map_from_memory_and_from_disk() {
    for cold in [false, true] {
        let raft = Raft::new(cold);
        let control = start(&raft);
        assert_eq!(control.map(), None);
        raft.commit(epoch(1, 2), EntryPayload::Blank);
        raft.commit(epoch(1, 2), EntryPayload::Membership);
        let last = raft.commit(epoch(1, 2), create(1, 5));
        let mut changes = control.changed();
        let map = changes.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(map.cluster_id, ClusterId([5; 16]));
        assert_eq!(applied(&control, last).await.failure, None);
        assert_eq!(raft.driver.applied(), last);
        assert!(raft.driver.ready());
    }
}

#[tokio::test]
async fn the_first_map_is_kept() {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.commit(epoch(1, 2), create(1, 5));
    let last = raft.commit(epoch(2, 3), create(1, 6));
    applied(&control, last).await;
    assert_eq!(control.map().unwrap().cluster_id, ClusterId([5; 16]));
}

#[tokio::test]
async fn a_desired_mode_takes_effect_once_and_never_changes_whether_the_cluster_is_durable() {
    use fastness_types::Durability::{Async, Disabled, Sync};
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.commit(epoch(1, 2), create(1, 5));
    let mut seq = 1;
    for (mode, desired) in
        [(Sync, (Sync, 1)), (Async, (Async, 2)), (Async, (Async, 2)), (Disabled, (Async, 2)), (Sync, (Sync, 3))]
    {
        seq += 1;
        let envelope = Envelope { seq: Seq(seq), command: Command::SetDurability(mode) };
        let last = raft.commit(epoch(1, 2), EntryPayload::Batch(command::encode(&envelope).into()));
        assert_eq!(applied(&control, last).await.failure, None);
        let map = control.map().unwrap();
        assert_eq!((map.durability, map.durability_version), desired, "after {mode}");
        assert_eq!(map.version, map.durability_version);
    }
}

/// Two operators send a request at once: the second replacement was checked against a map that has changed since.
#[tokio::test]
async fn a_replacement_applies_only_to_the_map_it_was_checked_against() {
    use crate::fixtures::node;
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.commit(epoch(1, 2), create(1, 5));
    let replace = |map_version, old, new| Command::ReplaceNode { map_version, old: NodeId(old), new: node(new, "a") };
    let finish = |by| Command::FinishReplacement { by: NodeId(by) };
    let steps = [
        (replace(2, 1, 4), 1, 1),
        (replace(1, 1, 4), 2, 4),
        (replace(1, 2, 5), 2, 4),
        // Another replacement is in progress; the map would be invalid.
        (replace(2, 2, 5), 2, 4),
        (finish(5), 2, 4),
        (finish(4), 3, 4),
        (finish(4), 3, 4),
        (replace(3, 2, 1), 3, 4),
    ];
    for (seq, (command, version, first_member)) in (2..).zip(steps) {
        let text = format!("after {command:?}");
        let envelope = Envelope { seq: Seq(seq), command };
        let last = raft.commit(epoch(1, 2), EntryPayload::Batch(command::encode(&envelope).into()));
        assert_eq!(applied(&control, last).await.failure, None, "{text}");
        let map = control.map().unwrap();
        assert_eq!((map.version, map.shards[0].members[0]), (version, NodeId(first_member)), "{text}");
    }
    assert_eq!(control.map().unwrap().replaced_by(NodeId(1)), Some(NodeId(4)));
}

/// Commits one more entry and expects the control plane to stop with a text that contains `reason`.
#[tokio::test]
async fn settings_come_from_the_log_and_first_settings_replace_none() {
    let raft = Raft::new(false);
    let control = start(&raft);
    let settings = |seq: u64, command: fn(SettingsChange) -> Command, secret: u8, lag_ms: u64| {
        let max_lag = (lag_ms > 0).then(|| Duration::from_millis(lag_ms));
        let change = SettingsChange { password: Some(Password::Sha256([secret; 32])), max_lag };
        EntryPayload::Batch(command::encode(&Envelope { seq: Seq(seq), command: command(change) }).into())
    };
    raft.commit(epoch(1, 2), create(1, 5));
    raft.commit(epoch(1, 2), settings(2, Command::SetSettings, 1, 0));
    raft.commit(epoch(1, 2), settings(3, Command::FirstSettings, 2, 700));
    raft.commit(epoch(1, 2), settings(4, Command::SetSettings, 3, 700));
    let last = raft.commit(epoch(1, 2), settings(5, Command::FirstSettings, 4, 800));
    assert_eq!(applied(&control, last).await.failure, None);
    let map = control.map().unwrap();
    assert_eq!(map.settings.password, Some(Password::Sha256([3; 32])));
    assert_eq!(map.settings.max_lag, Some(LagBound { bound: Duration::from_millis(700), version: 3 }));
    assert_eq!((map.version, map.settings.version), (4, 4), "the last one changed nothing");
}

async fn stops_at(payload: EntryPayload, reason: &str) {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.commit(epoch(1, 2), create(1, 5));
    let last = raft.commit(epoch(1, 2), payload);
    let status = applied(&control, last).await;
    let failure = status.failure.expect("it must stop");
    assert!(failure.contains(reason), "{failure}");
    assert_eq!(status.role, ControlRole::Stopped);
    assert!(!raft.driver.ready());
    let refused = control.propose(Command::Create(three_nodes())).await;
    assert!(matches!(refused, Err(ProposeError::Stopped(_))), "{refused:?}");
}

#[tokio::test]
async fn an_unreadable_entry_stops_it() {
    stops_at(EntryPayload::Batch(Bytes::from_static(br#"{"version":9}"#)), "version 9").await;
    stops_at(EntryPayload::Batch(Bytes::from_static(b"\x00\x01")), "not readable").await;
}

#[tokio::test]
async fn a_gap_stops_it() {
    stops_at(create(3, 5), "expected 2").await;
    stops_at(create(1, 5), "expected 2").await;
}

#[tokio::test]
async fn group_0_stopping_stops_it() {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.driver.set_role(Role::Stopped { reason: "disk full".into() });
    let mut status = control.status();
    let failed = status.wait_for(|s| s.failure.is_some()).await.unwrap();
    assert!(failed.failure.as_ref().unwrap().contains("disk full"));
}

#[tokio::test]
async fn a_leader_proposes_in_order_and_answers_when_applied() {
    let raft = Raft::new(false);
    let control = start(&raft);
    let epoch = raft.lead(3, 1);
    for seq in 1..=2 {
        let proposal = tokio::spawn({
            let control = control.clone();
            async move { control.propose(Command::Create(three_nodes())).await }
        });
        let (proposed_under, payload) = raft.proposed().await;
        assert_eq!(proposed_under, epoch);
        assert_eq!(command::decode(&payload).unwrap().seq, Seq(seq));
        assert!(!proposal.is_finished());
        raft.commit(epoch, EntryPayload::Batch(payload));
        assert_eq!(proposal.await.unwrap(), Ok(seq == 1), "a second map has no effect");
    }
    assert_eq!(control.map(), Some(Arc::new(three_nodes())));
}

#[tokio::test]
async fn a_follower_names_the_leader() {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.driver.set_role(Role::Follower { leader: Some(NodeId(3)) });
    let refused = control.propose(Command::Create(three_nodes())).await;
    assert_eq!(refused, Err(ProposeError::NotLeader(Some(NodeId(3)))));
}

#[tokio::test]
async fn a_proposal_overtaken_by_another_leader_has_an_unknown_outcome() {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.lead(3, 1);
    let proposal = tokio::spawn(async move { control.propose(Command::Create(three_nodes())).await });
    raft.proposed().await;
    raft.driver.set_role(Role::Follower { leader: Some(NodeId(2)) });
    raft.commit(epoch(4, 2), EntryPayload::Blank);
    assert_eq!(proposal.await.unwrap(), Err(ProposeError::OutcomeUnknown));
}

#[tokio::test]
async fn without_a_lease_nothing_is_proposed() {
    let raft = Raft::new(false);
    let control = start(&raft);
    let epoch = epoch(3, 1);
    let first = raft.commit(epoch, EntryPayload::Blank);
    let lease = Arc::new(fastness_consensus::handle::Lease::new(epoch));
    raft.driver.set_role(Role::Leader { lease: lease.clone(), first });
    let proposal = tokio::spawn({
        let control = control.clone();
        async move { control.propose(Command::Create(three_nodes())).await }
    });
    applied(&control, first).await;
    assert!(raft.driver.next_proposal().is_none());
    lease.extend(fastness_types::BootNs(u64::MAX));
    let (_, payload) = raft.proposed().await;
    raft.commit(epoch, EntryPayload::Batch(payload));
    assert_eq!(proposal.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn requests_are_bounded() {
    let raft = Raft::new(false);
    let control = start(&raft);
    raft.lead(3, 1);
    let propose = || {
        let control = control.clone();
        tokio::spawn(async move { control.propose(Command::Create(three_nodes())).await })
    };
    // In flight and in the queue: at most twice the limit. Nothing commits, so the other commands are refused.
    let proposals: Vec<_> = (0..3 * REQUESTS_MAX).map(|_| propose()).collect();
    let mut busy = 0;
    for task in proposals {
        tokio::task::yield_now().await;
        if task.is_finished() && task.await.unwrap() == Err(ProposeError::Busy) {
            busy += 1;
        }
    }
    assert!(busy >= REQUESTS_MAX, "{busy} were refused");
}

#[tokio::test]
async fn draining_is_reported_once_nothing_is_in_flight() {
    let raft = Raft::new(false);
    let control = start(&raft);
    let epoch = raft.lead(3, 1);
    let proposal = tokio::spawn({
        let control = control.clone();
        async move { control.propose(Command::Create(three_nodes())).await }
    });
    let (_, payload) = raft.proposed().await;
    raft.driver.set_drain(true);
    tokio::task::yield_now().await;
    assert!(!raft.driver.drained());
    assert_eq!(control.propose(Command::Create(three_nodes())).await, Err(ProposeError::NotLeader(None)));
    raft.commit(epoch, EntryPayload::Batch(payload));
    assert_eq!(proposal.await.unwrap(), Ok(true));
    while !raft.driver.drained() {
        raft.driver.reported().await;
    }
}
