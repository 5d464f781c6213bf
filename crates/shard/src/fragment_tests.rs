use super::*;
use crate::batch::{BatchHeader, UnitHead, UnitKind, encode, encode_head};
use fastness_types::{Durability, WallMs};
use proptest::prelude::*;

fn head(length: usize) -> UnitHead {
    UnitHead { kind: UnitKind::Write, durability: None, timestamp: WallMs(5), length, record: None }
}

fn cut(effects: &[u8], fragment_bytes: usize, first: u64) -> (Cut, Vec<u8>) {
    let heads = [head(effects.len())];
    let header = |seq| BatchHeader { seq, timestamp: WallMs(5), durability: Durability::Sync };
    let length = encode_head(header(Seq(0)), &heads).len() + effects.len();
    let last = Seq(first + u64::from(count_of(length, fragment_bytes)) - 1);
    let cut = Cut::new(encode_head(header(last), &heads), effects.into(), fragment_bytes, Seq(first));
    assert_eq!((cut.len(), cut.last()), (length, last));
    (cut, encode(header(last), &heads, &effects.into()).to_vec())
}

fn all(cut: &mut Cut) -> Vec<(Seq, Bytes)> {
    std::iter::from_fn(|| cut.next()).collect()
}

fn push(fragments: &mut Fragments, payload: &[u8]) -> Result<Option<Vec<u8>>, BatchError> {
    Ok(fragments.push(Part::of(payload)?)?.map(std::borrow::Cow::into_owned))
}

#[test]
fn golden() {
    let (mut cut, whole) = cut(b"effects!", 24, 7);
    assert_eq!(whole.len(), 33);
    let entries = all(&mut cut);
    assert_eq!(entries.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(), [7, 8]);
    let first = b"\x02\x00\x07\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x21\0\0\0\0\0\0\0\
        \x01\x00\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x01\x01\x01\0\0\0";
    assert_eq!(entries[0].1[..], first[..]);
    let last = b"\x02\x01\x08\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x21\0\0\0\0\0\0\0\x08effects!";
    assert_eq!(entries[1].1[..], last[..]);
    let mut fragments = Fragments::default();
    assert_eq!(push(&mut fragments, first), Ok(None));
    assert!(!fragments.is_empty());
    assert_eq!(push(&mut fragments, last), Ok(Some(whole)));
    assert!(fragments.is_empty() && fragments.bytes() == 0);
}

#[test]
fn what_does_not_follow_is_refused() {
    let (mut cut, whole) = cut(&[b'x'; 100], 40, 1);
    let entries: Vec<Bytes> = all(&mut cut).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(entries.len(), 4);
    for wrong in [&entries[0], &entries[2], &entries[3], &Bytes::from(whole.clone())] {
        let mut fragments = Fragments::default();
        assert_eq!(push(&mut fragments, &entries[0]), Ok(None));
        assert_eq!(push(&mut fragments, wrong), Err(BatchError::Fragment));
    }
    assert_eq!(push(&mut Fragments::default(), &entries[1]), Err(BatchError::Fragment), "it is not the first");
    let mut fragments = Fragments::default();
    push(&mut fragments, &entries[0]).unwrap();
    fragments.clear();
    assert_eq!(push(&mut fragments, &whole), Ok(Some(whole.clone())), "what was dropped is forgotten");
    for (at, with) in [(0, 3), (1, 2), (1, 1), (14, 0), (25, 1)] {
        let mut broken = entries[0].to_vec();
        broken[at] = with;
        assert!(Part::of(&broken).is_err(), "byte {at}");
    }
    assert!(Part::of(&entries[0][..HEADER_BYTES]).is_err(), "an empty part");
    assert!(Part::of(b"").is_err());
}

/// Found by fuzzing: one byte of a batch that declared the largest length reserved 577 MiB.
#[test]
fn memory_follows_what_has_arrived() {
    let first = Fragment { seq: Seq(1), number: 0, count: 3, total: limits::BATCH_BYTES_MAX as u64, bytes: b"x" };
    let entry = first.encode(&SharedBuf::default(), 0..0);
    let mut fragments = Fragments::default();
    assert_eq!(push(&mut fragments, &entry), Ok(None));
    assert!(fragments.bytes() <= RESERVED_FRAGMENTS_MAX, "{} bytes", fragments.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_cut_is_joined(
        effects in prop::collection::vec(any::<u8>(), 0..400),
        fragment_bytes in 1usize..120,
        first in 1u64..1_000,
    ) {
        let (mut cut, whole) = cut(&effects, fragment_bytes, first);
        let entries = all(&mut cut);
        let mut fragments = Fragments::default();
        for (i, (seq, entry)) in entries.iter().enumerate() {
            prop_assert!(entry.len() <= HEADER_BYTES + fragment_bytes);
            let part = Part::of(entry).unwrap();
            let is_last = i + 1 == entries.len();
            prop_assert_eq!(part.place(), Ok((*seq, is_last)));
            prop_assert_eq!(seq.0, first + i as u64);
            let joined = push(&mut fragments, entry).unwrap();
            prop_assert_eq!(joined, is_last.then(|| whole.clone()));
        }
        prop_assert!(fragments.is_empty());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..60), version in 0u8..4) {
        let mut payload = payload;
        if let Some(first) = payload.first_mut() {
            *first = version;
        }
        if let Ok(part) = Part::of(&payload) {
            let _ = part.place();
            let _ = Fragments::default().push(part);
        }
    }
}
