use fastness_types::Seq;
use proptest::prelude::*;

use super::super::stored::{FrozenRecords, load};
use super::*;
use crate::outcome::Tenure;

const LIMITS: IdempotencyLimits =
    IdempotencyLimits { client_records_max: 3, bytes_max: 3000, age_max: Duration::from_millis(50) };

/// Clients with a number each.
type Numbers = Vec<(Vec<u8>, u64)>;

/// Everything that can be seen of the records.
fn seen(records: &Records) -> (u128, usize, u64, Numbers, Numbers) {
    let mut floors: Numbers = records.floors().map(|(client, floor)| (client.to_vec(), floor)).collect();
    floors.sort();
    let all = records.all().map(|record| (record.client.to_vec(), record.sequence)).collect();
    (records.digest(), records.bytes(), records.floor_of_gone(), floors, all)
}

fn write(records: &mut Records, client: u8, sequence: u64, now: u64, staged: Option<u64>) {
    let client = [client];
    let (leave, leave_own) = records.room_for(&client, 10, WallMs(now), &LIMITS);
    let record = UnitRecord { leave, leave_own, client: &client, sequence, payload: 5, reply: &[b'x'; 10] };
    let at = staged.map(|seq| WrittenAt { tenure: Tenure(1), seq: Seq(seq) });
    records.add(&record, WallMs(now), at);
}

proptest! {
    /// A primary's records equal a replica's; what has not committed is undone; what has left is never new again; a
    /// snapshot holds everything.
    #[test]
    fn records_follow_the_log(steps in prop::collection::vec((0u8..6, 0u64..40, 0u64..30, prop::bool::ANY), 1..120)) {
        let (mut primary, mut replica) = (Records::default(), Records::default());
        let mut ran = std::collections::HashSet::new();
        let (mut now, mut before, mut open) = (0, seen(&Records::default()), Vec::new());
        for (at, (client, sequence, passes, commits)) in steps.into_iter().enumerate() {
            now += passes;
            let (key, sequence) = ([client], now + sequence + 1);
            match primary.look_up(&key, sequence) {
                Known::New => {
                    prop_assert!(!ran.contains(&(client, sequence)), "it ran before");
                    write(&mut primary, client, sequence, now, Some(at as u64));
                    open.push((client, sequence, now));
                    ran.insert((client, sequence));
                }
                Known::Ran(record) => prop_assert_eq!((record.sequence, ran.contains(&(client, sequence))), (sequence, true)),
                Known::Past(floor) => prop_assert!(sequence <= floor),
            }
            prop_assert!(primary.bytes() <= LIMITS.bytes_max);
            if commits {
                primary.commit(Seq(at as u64));
                for (client, sequence, now) in open.drain(..) {
                    write(&mut replica, client, sequence, now, None);
                }
                before = seen(&primary);
                prop_assert_eq!(seen(&replica), before.clone());
            }
        }
        for (client, sequence, _) in open {
            ran.remove(&(client, sequence));
        }
        primary.undo();
        prop_assert_eq!(seen(&primary), before.clone());
        for (client, sequence) in ran {
            prop_assert!(!matches!(primary.look_up(&[client], sequence), Known::New), "{client} {sequence} would run again");
        }
        let mut frozen = FrozenRecords::of(&primary, 300);
        let (chunks, mut restored) = (frozen.chunks(), Records::default());
        for _ in 0..chunks {
            load(&mut restored, &frozen.next_chunk()).unwrap();
        }
        prop_assert!(frozen.is_empty());
        prop_assert_eq!(seen(&restored), before);
    }
}

#[test]
fn old_records_leave_and_raise_the_floor() {
    let mut records = Records::default();
    write(&mut records, 1, 100, 1, None);
    write(&mut records, 1, 90, 2, None);
    write(&mut records, 2, 50, 3, None);
    assert_eq!(records.overdue(WallMs(51), &LIMITS), 0);
    assert_eq!(records.overdue(WallMs(53), &LIMITS), 2);
    records.leave(1, None);
    assert!(matches!(records.look_up(&[1], 90), Known::Ran(_)), "its own record is there");
    assert!(matches!(records.look_up(&[1], 95), Known::Past(100)));
    assert!(matches!(records.look_up(&[1], 101), Known::New));
    assert!(matches!(records.look_up(&[3], 1), Known::New));
    records.leave(2, None);
    assert_eq!((records.len(), records.bytes(), records.floor_of_gone()), (0, 0, 100));
    assert!(matches!(records.look_up(&[3], 100), Known::Past(100)));
    assert!(matches!(records.look_up(&[3], 101), Known::New));
    assert_ne!(records.digest(), 0);
}

#[test]
fn malformed_chunks_are_refused() {
    let mut records = Records::default();
    write(&mut records, 1, 100, 1, None);
    let chunk = FrozenRecords::of(&records, 1 << 20).next_chunk();
    assert!(load(&mut records, &chunk).is_err(), "it is there");
    for cut in 1..chunk.len() {
        assert!(load(&mut Records::default(), &chunk[..cut]).is_err(), "{cut}");
    }
    assert!(load(&mut Records::default(), &[3, 0]).is_err());
    assert!(load(&mut Records::default(), &[2, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1]).is_err(), "a floor of nobody");
}

/// Many small records, then the longest replies: what is added never exceeds what leaves.
#[test]
fn the_bound_holds_whatever_the_replies_are() {
    let limits = IdempotencyLimits { bytes_max: 1 << 20, ..IdempotencyLimits::default() };
    let mut records = Records::default();
    let reply = vec![b'x'; limits::IDEMPOTENCY_REPLY_BYTES_MAX];
    for number in 1..8000u64 {
        let client = number.to_le_bytes();
        let reply = if number < 6000 { &reply[..4] } else { &reply };
        let (leave, leave_own) = records.room_for(&client, reply.len(), WallMs(1), &limits);
        let record = UnitRecord { leave, leave_own, client: &client, sequence: number, payload: 5, reply };
        records.add(&record, WallMs(1), None);
        assert!(records.bytes() <= limits.bytes_max, "{} bytes after {number}", records.bytes());
    }
    assert!(records.len() > 10);
    assert_eq!(limits.within(0), limits);
    assert_eq!(limits.within(1 << 20).bytes_max, 1 << 17);
}
