//! Tests of cutting, joining, and taking turns.

use prost::Message as _;

use super::*;

fn envelope(group: u32, id: u64, len: usize) -> Envelope {
    let payload: Vec<u8> = (0..len).map(|i| (i as u64 * 31 + id) as u8).collect();
    Envelope::new(GroupId(group), Kind::Append, id, payload.into())
}

fn drain(outbox: &mut Outbox) -> Vec<Frame> {
    std::iter::from_fn(|| outbox.next_frame()).collect()
}

#[test]
fn a_message_of_any_size_arrives_whole_and_frames_keep_their_bound() {
    let sizes = [0, 1, PART_BYTES_MAX - 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 5 * limits::FRAME_BYTES_MAX + 7];
    for len in sizes {
        let mut outbox = Outbox::default();
        let sent = envelope(3, 9, len);
        outbox.push(sent.clone(), Urgency::Now).unwrap();
        let mut joiner = Joiner::default();
        let mut joined = Vec::new();
        for frame in drain(&mut outbox) {
            assert!(frame.encoded_len() <= limits::FRAME_BYTES_MAX, "{} bytes", frame.encoded_len());
            joined.extend(frame.messages.into_iter().filter_map(|m| joiner.push(m).unwrap()));
        }
        assert_eq!(joined, [sent], "{len} bytes");
    }
}

#[test]
fn a_large_message_delays_other_groups_by_a_part_and_never_its_own_groups_order() {
    let mut outbox = Outbox::default();
    outbox.push(envelope(1, 1, 3 * limits::FRAME_BYTES_MAX), Urgency::Now).unwrap();
    outbox.push(envelope(1, 2, 10), Urgency::Now).unwrap();
    outbox.push(envelope(2, 3, 10), Urgency::Now).unwrap();
    let frames = drain(&mut outbox);
    assert!(frames[0].messages.iter().any(|m| m.group == 2), "the small one rides in the first frame");
    let mut joiner = Joiner::default();
    let joined = frames.into_iter().flat_map(|f| f.messages).filter_map(|m| joiner.push(m).unwrap());
    let ids: Vec<_> = joined.map(|e| e.id).collect();
    assert_eq!(ids, [3, 1, 2]);
}

#[test]
fn a_full_queue_refuses_and_others_continue() {
    let mut outbox = Outbox::default();
    for id in 0..QUEUED_PER_GROUP_MAX as u64 {
        outbox.push(envelope(1, id, 1), Urgency::Now).unwrap();
    }
    assert_eq!(outbox.push(envelope(1, 0, 1), Urgency::Now), Err(QueueError::Full));
    assert_eq!(outbox.push(envelope(2, 0, 1), Urgency::Now), Ok(()));
}

#[test]
fn mixed_and_endless_parts_are_errors() {
    let part = |id, len| Message { group: 1, kind: 10, id, payload: vec![0; len].into(), more: true };
    let mut joiner = Joiner::default();
    assert_eq!(joiner.push(part(1, 10)), Ok(None));
    assert_eq!(joiner.push(part(2, 10)), Err(JoinError::Mixed));
    let mut joiner = Joiner::default();
    let endless = (0..1000).map(|_| joiner.push(part(1, limits::FRAME_BYTES_MAX))).find(Result::is_err);
    assert_eq!(endless, Some(Err(JoinError::TooLarge)));
}

#[test]
fn kind_numbers_are_frozen() {
    let numbers: Vec<u32> = Kind::ALL.into_iter().map(|kind| kind as u32).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    assert!(Kind::ALL.into_iter().all(|kind| Kind::from_number(kind as u32) == Some(kind)));
    assert_eq!(Kind::from_number(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_lingering_message_leaves_with_the_next_one_or_after_a_while() {
    let mut outbox = Outbox::default();
    outbox.push(envelope(1, 1, 0), Urgency::Lingers).unwrap();
    assert_eq!(outbox.next_frame(), None);
    outbox.push(envelope(2, 2, 0), Urgency::Now).unwrap();
    assert_eq!(outbox.next_frame().map(|frame| frame.messages.len()), Some(2));
    assert_eq!(outbox.leaves_at(), None);

    outbox.push(envelope(1, 3, 0), Urgency::Lingers).unwrap();
    lingered(outbox.leaves_at()).await;
    assert_eq!(outbox.next_frame().map(|frame| frame.messages.len()), Some(1));
    assert_eq!(outbox.next_frame(), None);
}

#[test]
fn a_message_that_no_receiver_would_take_is_not_sent() {
    let mut outbox = Outbox::default();
    let bytes = limits::MESSAGE_BYTES_MAX + 1;
    assert_eq!(outbox.push(envelope(1, 0, bytes), Urgency::Now), Err(QueueError::TooLarge(bytes)));
    assert!(outbox.next_frame().is_none(), "nothing of it is queued");
    outbox.push(envelope(1, 0, limits::MESSAGE_BYTES_MAX), Urgency::Now).unwrap();
    let mut joiner = Joiner::default();
    let mut joined = None;
    while let Some(frame) = outbox.next_frame() {
        for message in frame.messages {
            joined = joiner.push(message).unwrap().or(joined);
        }
    }
    assert_eq!(joined.unwrap().payload.len(), limits::MESSAGE_BYTES_MAX, "the largest one arrives whole");
}
