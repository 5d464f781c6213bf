//! Tests with two nodes that exchange hellos, on disks that are wiped, copied and restarted.

use fastness_log::memory::MemoryDisk;
use fastness_log::{Cipher, LogOptions, MasterKey, WriterDriver};

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const CLUSTER: ClusterId = ClusterId([7; 16]);

fn start(node: NodeId, disk: &MemoryDisk, nonce: u64) -> Identities {
    start_as(node, disk, nonce, FormatLevel::CURRENT)
}

/// Starts a node as a version that understands levels up to `format`.
fn start_as(node: NodeId, disk: &MemoryDisk, nonce: u64, format: FormatLevel) -> Identities {
    let cipher = Cipher::new(MasterKey::from_bytes(&[1; 32]));
    let options = LogOptions::new(node, CLUSTER);
    let log = Log::open(disk.open().unwrap(), cipher, options, WriterDriver::Thread).unwrap();
    Identities::new(log, nonce, format).unwrap()
}

fn stop(node: Identities) {
    node.log.close();
}

/// `listener` verifies the hello of `speaker`.
async fn hears(listener: &Identities, speaker: &Identities) -> Result<Admitted, Refusal> {
    listener.verify(speaker.node, &speaker.hello(listener.node)).await
}

fn members(nodes: [&Identities; 2]) -> [(NodeId, DiskId); 2] {
    nodes.map(|node| (node.node, node.own.disk))
}

#[tokio::test]
async fn members_on_their_disks_hear_each_other_start_after_start() {
    let (disk_a, disk_b) = (MemoryDisk::new(), MemoryDisk::new());
    let mut b = start(B, &disk_b, 0);
    for nonce in 1..4 {
        let a = start(A, &disk_a, nonce);
        for node in [&a, &b] {
            node.expect(members([&a, &b]));
        }
        hears(&a, &b).await.unwrap();
        hears(&b, &a).await.unwrap();
        hears(&b, &a).await.unwrap();
        stop(a);
        stop(b);
        b = start(B, &disk_b, nonce);
    }
}

#[tokio::test]
async fn the_lowest_format_is_that_of_the_oldest_member_and_a_restart_remembers_it() {
    let (disk_a, disk_b) = (MemoryDisk::new(), MemoryDisk::new());
    let a = start(A, &disk_a, 1);
    assert_eq!(a.lowest_format([A]), FormatLevel::CURRENT);
    assert_eq!(a.lowest_format([A, B]), FormatLevel::BASE, "who was never heard of may be of the first version");
    let b = start_as(B, &disk_b, 1, FormatLevel::BASE);
    hears(&a, &b).await.unwrap();
    assert_eq!(a.lowest_format([A, B]), FormatLevel::BASE);
    stop(b);
    let b = start(B, &disk_b, 2);
    hears(&a, &b).await.unwrap();
    assert_eq!(a.lowest_format([A, B]), FormatLevel::CURRENT, "it was upgraded");
    stop(b);
    stop(a);
    let a = start(A, &disk_a, 2);
    assert_eq!(a.lowest_format([A, B]), FormatLevel::CURRENT, "although it is down and this node was restarted");
    let silent = Hello { format_level: 0, ..start(B, &disk_b, 3).hello(A) };
    a.verify(B, &silent).await.unwrap();
    assert_eq!(a.lowest_format([A, B]), FormatLevel::BASE, "a version that announces nothing is the first");
}

#[tokio::test]
async fn a_wiped_member_is_refused_and_informed() {
    let a = start(A, &MemoryDisk::new(), 1);
    let disk_b = MemoryDisk::new();
    let b = start(B, &disk_b, 1);
    a.expect(members([&a, &b]));
    hears(&a, &b).await.unwrap();
    stop(b);
    let wiped = start(B, &MemoryDisk::new(), 2);
    let refusal = hears(&a, &wiped).await.unwrap_err();
    assert!(matches!(refusal, Refusal::OtherDisk { found, .. } if found == wiped.own.disk), "{refusal}");
    let Err(Refusal::StopHere(reason)) = hears(&wiped, &a).await else { panic!("it does not stop") };
    for part in [wiped.log.place(), "not this node's disk", "wiped", "fastness cluster replace-replica --node 2"] {
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
    }
    stop(wiped);
    let back = start(B, &disk_b, 3);
    hears(&a, &back).await.expect("on its own disk it is the member it was");
    hears(&back, &a).await.expect("nothing that the wiped one said was taken");
}

#[tokio::test]
async fn a_stream_ends_when_a_membership_names_another_disk() {
    let a = start(A, &MemoryDisk::new(), 1);
    let disk_b = MemoryDisk::new();
    let b = start(B, &disk_b, 1);
    let wiped = start(B, &MemoryDisk::new(), 1);
    let mut stream = hears(&a, &wiped).await.expect("no membership has named another disk yet");
    assert!(a.still_admits(B, &mut stream));
    a.expect(members([&a, &b]));
    assert!(!a.still_admits(B, &mut stream));
    assert!(matches!(hears(&a, &wiped).await, Err(Refusal::OtherDisk { .. })));
    let mut stream = hears(&a, &b).await.expect("what was heard of the other disk does not count");
    a.expect([(NodeId(3), DiskId([3; 16]))]);
    assert!(a.still_admits(B, &mut stream), "news about others");
}

#[tokio::test]
async fn an_old_copy_is_refused_and_informed_even_after_a_restart_of_the_listener() {
    for restarted in [false, true] {
        let (disk_a, disk_b) = (MemoryDisk::new(), MemoryDisk::new());
        let mut a = start(A, &disk_a, 1);
        stop(start(B, &disk_b, 1));
        let copy = disk_b.copy();
        let b = start(B, &disk_b, 2);
        a.expect(members([&a, &b]));
        hears(&a, &b).await.unwrap();
        stop(b);
        if restarted {
            stop(a);
            a = start(A, &disk_a, 2);
        }
        let old = start(B, &copy, 3);
        let refusal = hears(&a, &old).await.unwrap_err();
        assert_eq!(refusal, Refusal::OldCopy { found: 2, known: 2 });
        let Err(Refusal::StopHere(reason)) = hears(&old, &a).await else { panic!("it does not stop") };
        assert!(reason.contains("old copy") && reason.contains("replace-replica"), "{reason}");
    }
}

#[tokio::test]
async fn a_replaced_node_is_refused_on_any_disk_and_informed() {
    let a = start(A, &MemoryDisk::new(), 1);
    let disk_b = MemoryDisk::new();
    let b = start(B, &disk_b, 1);
    a.expect(members([&a, &b]));
    let mut stream = hears(&a, &b).await.unwrap();
    a.set_replaced([(B, NodeId(4))]);
    assert!(!a.still_admits(B, &mut stream), "an open stream ends");
    for b in [b, start(B, &MemoryDisk::new(), 2)] {
        assert_eq!(hears(&a, &b).await.unwrap_err(), Refusal::Replaced(NodeId(4)));
        let Err(Refusal::StopHere(reason)) = hears(&b, &a).await else { panic!("it does not stop") };
        assert!(reason.contains("replaced by node 4") && reason.contains(b.log.place()), "{reason}");
    }
    hears(&a, &start(NodeId(4), &MemoryDisk::new(), 1)).await.expect("its successor is listened to");
}

#[tokio::test]
async fn a_peer_with_another_identity_is_refused() {
    let (a, b) = (start(A, &MemoryDisk::new(), 1), start(B, &MemoryDisk::new(), 1));
    let hello = b.hello(A);
    assert_eq!(a.verify(NodeId(3), &hello).await.unwrap_err(), Refusal::OtherNode(2));
    let other = Hello { cluster: Bytes::from_static(&[8; 16]), ..hello.clone() };
    assert_eq!(a.verify(B, &other).await.unwrap_err(), Refusal::OtherCluster);
    let short = Hello { disk: Bytes::from_static(b"short"), ..hello };
    assert!(matches!(a.verify(B, &short).await, Err(Refusal::Malformed(_))));
}

#[tokio::test]
async fn a_peer_whose_start_cannot_be_stored_is_refused() {
    let (a, b) = (start(A, &MemoryDisk::new(), 1), start(B, &MemoryDisk::new(), 1));
    a.log.close();
    assert!(matches!(hears(&a, &b).await, Err(Refusal::NotStored(_))));
}
