//! The log on the simulated disk, with its writer on a thread: reading appended entries, reopening, errors.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{
    CLUSTER, NODE, append, batch_entry, entries, entry, master, open, open_with, purge, truncate, vote, wait,
};
use fastness_log::memory::{MemoryDisk, MemoryFault};
use fastness_log::store::{Family, StoreError};
use fastness_log::{
    Cipher, EntryId, EntryKind, Log, LogOptions, MasterKey, OpenError, ReadError, WriteError, WriterDriver,
};
use fastness_types::{ClusterId, GroupId, NodeId};

const G: GroupId = GroupId(3);

#[tokio::test]
async fn an_append_is_readable_at_once_and_after_a_reopen() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let group = log.group(G);
    let (sent, written) = tokio::sync::oneshot::channel();
    group.append(entries(1..=5), move |result| sent.send(result).unwrap());
    assert_eq!(group.read_cached(1..6, usize::MAX).unwrap().len(), 5);
    written.await.unwrap().unwrap();
    vote(&group, b"vote").unwrap();
    group.save_committed("committed".into());
    log.close();
    drop((log, group));

    let log = open(&disk);
    assert_eq!(log.identity().starts, 2);
    assert_eq!(log.groups(), vec![G]);
    let state = log.group(G).state();
    assert_eq!(state.vote.unwrap(), "vote");
    assert_eq!(state.committed.unwrap(), "committed");
    assert_eq!((state.first, state.last), (Some(1), Some(entry(5).id())));
    let read = log.group(G).read(2..4, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|e| (**e).clone()).collect::<Vec<_>>(), entries(2..=3));
}

#[tokio::test]
async fn entries_that_memory_dropped_are_read_from_disk() {
    let disk = MemoryDisk::new();
    let log = open_with(&disk, |options| options.tail_bytes_max = 0);
    let group = log.group(G);
    append(&group, 1..=9).unwrap();
    assert_eq!(group.read_cached(1..10, usize::MAX), None);
    assert_eq!(group.tail_bytes(), 0);
    let read = group.read(3..8, usize::MAX).await.unwrap();
    assert_eq!(read.iter().map(|e| (**e).clone()).collect::<Vec<_>>(), entries(3..=7));
    let one = group.read(3..8, 1).await.unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(log.stats().disk_reads.load(Ordering::Relaxed), 2);
    assert!(group.read(10..20, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_truncated_index_is_read_as_it_was_written_again() {
    let disk = MemoryDisk::new();
    let log = open_with(&disk, |options| options.tail_bytes_max = 0);
    let group = log.group(G);
    append(&group, 1..=9).unwrap();
    truncate(&group, Some(entry(4).id())).unwrap();
    assert_eq!(group.state().last, Some(entry(4).id()));
    let mut again = batch_entry(5, b"again");
    again.term = 8;
    common::wait(|done| group.append(vec![again.clone()], done)).unwrap();
    let read = group.read(4..9, usize::MAX).await.unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(*read[1], again);
    log.close();
    drop((log, group));
    let state = open(&disk).group(G).state();
    assert_eq!(state.last, Some(again.id()));
}

#[tokio::test]
async fn everything_can_be_truncated_and_the_log_starts_again() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let group = log.group(G);
    append(&group, 0..=3).unwrap();
    truncate(&group, None).unwrap();
    assert_eq!((group.state().first, group.state().last), (None, None));
    append(&group, 1..=2).unwrap();
    log.close();
    drop((log, group));
    let state = open(&disk).group(G).state();
    assert_eq!((state.first, state.last), (Some(1), Some(entry(2).id())));
}

#[tokio::test]
async fn purging_keeps_the_newest_purged_membership() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let group = log.group(G);
    let mut all = entries(1..=6);
    for index in [2, 4, 6] {
        all[index - 1].kind = EntryKind::Membership;
    }
    common::wait(|done| group.append(all.clone(), done)).unwrap();
    let indexes = |log: &Log| log.group(G).state().memberships.iter().map(|e| e.index).collect::<Vec<_>>();
    assert_eq!(indexes(&log), vec![2, 4, 6]);
    purge(&group, entry(5).id()).unwrap();
    purge(&group, entry(3).id()).unwrap();
    assert_eq!(indexes(&log), vec![4, 6]);
    assert_eq!(group.read(5..7, 9).await, Err(ReadError::Purged(entry(5).id())));
    log.close();
    drop((log, group));

    let log = open(&disk);
    assert_eq!(indexes(&log), vec![4, 6]);
    let state = log.group(G).state();
    assert_eq!((state.purged, state.first, state.last), (Some(entry(5).id()), Some(6), Some(entry(6).id())));
    assert_eq!(*state.memberships[0], all[3]);
    truncate(&log.group(G), Some(entry(5).id())).unwrap();
    assert_eq!(indexes(&log), vec![4]);
    let refused = truncate(&log.group(G), Some(entry(4).id())).unwrap_err();
    assert_eq!(refused, WriteError::BelowPurged { group: G, after: Some(4), purged: Some(5) });
    assert!(matches!(truncate(&log.group(G), None), Err(WriteError::BelowPurged { .. })));
}

#[tokio::test]
async fn after_a_purge_beyond_the_end_the_log_continues_there() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let group = log.group(G);
    append(&group, 1..=3).unwrap();
    let upto = EntryId { index: 100, term: 9, node: 2 };
    purge(&group, upto).unwrap();
    assert_eq!((group.state().first, group.state().last), (None, Some(upto)));
    let refused = append(&group, 4..=4).unwrap_err();
    assert_eq!(refused, WriteError::NotContiguous { group: G, last: Some(100), found: 4 });
    let mut next = batch_entry(101, b"next");
    next.term = 9;
    common::wait(|done| group.append(vec![next.clone()], done)).unwrap();
    log.close();
    drop((log, group));
    let log = open(&disk);
    let state = log.group(G).state();
    assert_eq!((state.purged, state.first, state.last), (Some(upto), Some(101), Some(next.id())));
}

#[test]
fn entries_that_do_not_follow_are_refused() {
    let log = open(&MemoryDisk::new());
    let group = log.group(G);
    append(&group, 1..=2).unwrap();
    let hole = append(&group, 4..=4).unwrap_err();
    assert_eq!(hole, WriteError::NotContiguous { group: G, last: Some(2), found: 4 });
    let again = append(&group, 2..=2).unwrap_err();
    assert_eq!(again, WriteError::NotContiguous { group: G, last: Some(2), found: 2 });
    assert_eq!(group.state().last, Some(entry(2).id()));
    append(&group, 3..=3).unwrap();
}

#[test]
fn a_failed_write_fails_the_log_for_good() {
    for fault in [MemoryFault::Write, MemoryFault::Sync] {
        let disk = MemoryDisk::new();
        let log = open(&disk);
        let group = log.group(G);
        append(&group, 1..=2).unwrap();
        disk.inject(fault);
        let error = append(&group, 3..=3).unwrap_err();
        assert!(matches!(&error, WriteError::Failed(StoreError::Io { .. })), "{error}");
        assert_eq!(append(&group, 4..=4).unwrap_err(), error);
        assert_eq!(vote(&group, b"v").unwrap_err(), error);
        assert!(log.failure().is_some());
        // What is in memory can still be read, so that leadership can be handed over.
        assert_eq!(group.read_cached(1..5, usize::MAX).unwrap().len(), 4);
        log.close();
        drop((log, group));
        let last = open(&disk).group(G).state().last.unwrap().index;
        assert_eq!(last, if fault == MemoryFault::Write { 2 } else { 3 });
    }
}

#[test]
fn a_full_disk_says_so() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    disk.set_capacity(Some(1_000));
    let error = vote(&log.group(G), &[0; 2_000]).unwrap_err();
    assert!(matches!(&error, WriteError::Failed(StoreError::NoSpace { .. })), "{error}");
}

#[tokio::test]
async fn observers_learn_of_a_failure() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    disk.inject(MemoryFault::Sync);
    let observed = tokio::spawn({
        let log = log.clone();
        async move { log.failed().await }
    });
    log.group(G).save_vote("v".into(), |_| {});
    assert!(matches!(observed.await.unwrap(), StoreError::Io { .. }));
}

#[test]
fn a_closed_log_refuses() {
    let log = open(&MemoryDisk::new());
    let group = log.group(G);
    log.close();
    assert_eq!(append(&group, 1..=1).unwrap_err(), WriteError::Closed);
    assert_eq!(group.state().last, None);
    assert_eq!(vote(&group, b"v").unwrap_err(), WriteError::Closed);
}

fn reopen(disk: &MemoryDisk, node: NodeId, cluster: ClusterId, key: MasterKey) -> Result<Log, OpenError> {
    Log::open(disk.open().unwrap(), Cipher::new(key), LogOptions::new(node, cluster), WriterDriver::Thread)
}

#[test]
fn a_disk_is_opened_by_its_own_node_cluster_and_key_only() {
    let disk = MemoryDisk::new();
    open(&disk).close();
    let before = disk.dump(Family::Meta);
    let node = reopen(&disk, NodeId(9), CLUSTER, master()).unwrap_err();
    assert!(matches!(node, OpenError::OtherNode { disk: NODE, .. }), "{node}");
    let cluster = reopen(&disk, NODE, ClusterId([9; 16]), master()).unwrap_err();
    assert!(matches!(cluster, OpenError::OtherCluster { disk: CLUSTER, .. }), "{cluster}");
    let key = reopen(&disk, NODE, CLUSTER, MasterKey::from_bytes(&[9; 32])).unwrap_err();
    assert!(matches!(key, OpenError::OtherMasterKey { .. }), "{key}");
    assert!(key.to_string().contains("give the key file that this node had"), "{key}");
    assert_eq!(disk.dump(Family::Meta), before, "an open that fails changes nothing");
    disk.edit(Family::Meta, &[1], None);
    let none = reopen(&disk, NODE, CLUSTER, master()).unwrap_err();
    assert!(matches!(none, OpenError::NoIdentity { .. }), "{none}");
}

#[test]
fn every_disk_has_an_id_of_its_own_for_life() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let id = log.identity().disk;
    log.close();
    assert_eq!(open(&disk).identity().disk, id, "the next start finds it");
    assert_eq!(open(&disk.copy()).identity().disk, id, "a copy has it too: the start counter distinguishes it");
    let other = open(&MemoryDisk::new()).identity().disk;
    assert_ne!(other, id, "an empty disk is a new disk, even for the same node");
}

#[test]
fn records_of_peers_are_kept() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    assert!(log.peers().is_empty());
    for record in ["older", "newer"] {
        wait(|done| log.save_peer(NodeId(2), record.into(), done)).unwrap();
    }
    wait(|done| log.save_peer(NodeId(3), "third".into(), done)).unwrap();
    let crashed = disk.copy();
    log.close();
    assert_eq!(wait(|done| log.save_peer(NodeId(3), "late".into(), done)), Err(WriteError::Closed));
    for disk in [disk, crashed] {
        let log = open(&disk);
        assert_eq!(log.peers()[&NodeId(2)], "newer");
        assert_eq!(log.peers()[&NodeId(3)], "third");
        log.close();
    }
}

#[test]
fn a_start_is_counted_and_a_copy_has_a_lower_count() {
    let disk = MemoryDisk::new();
    open(&disk).close();
    let copy = disk.copy();
    for starts in 2..5 {
        let log = open(&disk);
        assert_eq!(log.identity().starts, starts);
        log.close();
    }
    assert_eq!(open(&copy).identity().starts, 2);
}

#[test]
fn many_groups_share_syncs() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let (sent, received) = std::sync::mpsc::channel();
    // Keeps the writer in a callback until everything is queued.
    let gate = Arc::new(std::sync::Barrier::new(2));
    let opened = gate.clone();
    log.group(GroupId(0)).save_vote("v".into(), move |_| {
        opened.wait();
    });
    for number in 1..=50 {
        let group = log.group(GroupId(number));
        for index in 1..=4 {
            let sent = sent.clone();
            group.append(entries(index..=index), move |result| sent.send((number, index, result)).unwrap());
        }
    }
    gate.wait();
    for number in 1..=50 {
        for index in 1..=4 {
            let (n, i, result) = received.recv().unwrap();
            assert_eq!((n, i), (number, index), "callbacks come in the order of the calls");
            result.unwrap();
        }
    }
    log.close();
    let stats = log.stats();
    assert_eq!(stats.appends.load(Ordering::Relaxed), 200);
    assert!(stats.syncs.load(Ordering::Relaxed) <= 3, "{stats:?}");
}

#[test]
fn a_committed_position_alone_costs_no_write_and_survives_closing() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    let before = disk.syncs();
    for n in 0..100 {
        log.group(G).save_committed(format!("{n}").into());
    }
    common::wait(|done| log.group(G).append(Vec::new(), done)).unwrap();
    assert_eq!(disk.syncs(), before);
    assert_eq!(disk.unsynced(), 0);
    vote(&log.group(G), b"v").unwrap();
    assert_eq!(disk.syncs(), before + 1);
    log.group(G).save_committed("last".into());
    log.close();
    drop(log);
    assert_eq!(open(&disk).group(G).state().committed.unwrap(), "last");
}

/// A position that clients have seen is stored even if nothing else is written, and only once.
#[test]
fn a_committed_position_is_written_alone_on_request() {
    let disk = MemoryDisk::new();
    let log = open(&disk);
    vote(&log.group(G), b"v").unwrap();
    let before = disk.syncs();
    log.group(G).write_committed();
    log.group(G).save_committed("shown".into());
    log.group(G).write_committed();
    log.group(G).write_committed();
    common::wait(|done| log.group(G).append(Vec::new(), done)).unwrap();
    assert_eq!(disk.syncs(), before + 1);
    assert_eq!(disk.unsynced(), 0, "what a power loss may tear is one batch at most");
    // Killed: the log is not closed.
    disk.kill();
    assert_eq!(open(&disk).group(G).state().committed.unwrap(), "shown");
}

#[tokio::test]
async fn the_queue_has_a_bound() {
    let disk = MemoryDisk::new();
    let log = open_with(&disk, |options| options.queue_bytes_max = 1_000);
    let group = log.group(G);
    log.wait_for_capacity().await;
    let gate = Arc::new(std::sync::Barrier::new(2));
    let opened = gate.clone();
    group.save_vote("v".into(), move |_| {
        opened.wait();
    });
    group.append(vec![batch_entry(1, &[0; 2_000])], |_| {});
    assert!(!log.has_capacity());
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait_for_capacity().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
    waiting.await.unwrap();
    assert!(log.has_capacity());
}
