//! Payloads of log entries: batches and fragments of batches.

use fastness_resp::SharedBuf;
use fastness_shard::batch::{self, Batch, BatchHeader, UnitHead, UnitKind};
use fastness_shard::fragment::{Fragments, Part};
use fastness_types::limits::BATCH_BYTES_MAX;
use fastness_types::{Durability, Seq, WallMs};

use super::input::{joined, linear, none, pieces};
use crate::Target;

pub(super) const BATCH: Target = Target {
    name: "batch",
    what: "batches, the payload of a log entry: written and read back as themselves, and the units cover the effects",
    bytes_max: 400,
    share: 150,
    seeds: batches,
    words: none,
    memory: linear,
    run: decode,
};

pub(super) const FRAGMENTS: Target = Target {
    name: "fragments",
    what: "fragments of batches in any order: a batch is complete exactly when its bytes are, and memory follows what has \
           arrived",
    bytes_max: 600,
    share: 90,
    seeds: fragments,
    words: none,
    memory: linear,
    run: join,
};

fn head(kind: UnitKind, length: usize) -> UnitHead {
    UnitHead { kind, durability: None, timestamp: WallMs(1_700_000_000_300), length, record: None }
}

/// Batches with units of every kind.
pub(super) fn batches() -> Vec<Vec<u8>> {
    let header = BatchHeader { seq: Seq(1), timestamp: WallMs(1_700_000_000_000), durability: Durability::Async };
    let setting = [&[1][..], &7u64.to_le_bytes(), &1_500u64.to_le_bytes()].concat();
    let mode = |record| UnitHead { durability: Some(Durability::Sync), record, ..head(UnitKind::Mode, 0) };
    let units = vec![
        UnitHead { timestamp: WallMs(1_700_000_000_000), ..head(UnitKind::Write, 3) },
        UnitHead { record: Some(Box::from(&b"id-1"[..])), ..head(UnitKind::Write, 0) },
        head(UnitKind::Expiry, 200),
        mode(None),
        mode(Some(Box::from(9u64.to_le_bytes()))),
        head(UnitKind::Time, 0),
        UnitHead { record: Some(setting.into()), ..head(UnitKind::Setting, 0) },
    ];
    let mut effects = b"abc".to_vec();
    effects.extend_from_slice(&[0x55; 200]);
    let encode = |units: &[UnitHead], effects: &[u8]| batch::encode(header, units, &SharedBuf::from(effects)).to_vec();
    let set = b"\x02\x02\x01a\x01v";
    vec![encode(&units, &effects), encode(&[], b""), encode(&[head(UnitKind::Write, set.len())], set)]
}

fn decode(input: &[u8]) -> bool {
    let peeked = batch::peek_header(input);
    let Ok(batch) = Batch::decode(input) else { return false };
    assert_eq!(peeked, Ok(batch.header), "the header is the same without the rest");
    let (mut heads, mut effects) = (Vec::new(), Vec::new());
    for unit in batch.units() {
        assert!(unit.timestamp >= batch.header.timestamp, "a unit is older than its batch");
        effects.extend_from_slice(unit.effects);
        heads.push(UnitHead {
            kind: unit.kind,
            durability: unit.durability,
            timestamp: unit.timestamp,
            length: unit.effects.len(),
            record: unit.record.map(Box::from),
        });
    }
    assert_eq!((heads.len(), effects.len()), (batch.unit_count, batch.effect_bytes()), "the units are the whole batch");
    let written = batch::encode(batch.header, &heads, &SharedBuf::from(&effects[..]));
    let again = Batch::decode(&written).unwrap_or_else(|error| panic!("what was written: {error}"));
    assert_eq!(again.header, batch.header);
    assert!(again.units().eq(batch.units()), "a batch is read as it was written");
    true
}

/// A fragment, as `fragment.rs` describes it.
fn fragment(seq: u64, number: u32, count: u32, total: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![2, u8::from(number + 1 == count)];
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&(total as u64).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

fn cut(payload: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = payload.chunks(bytes).collect();
    let count = parts.len() as u32;
    // The batch's own sequence, 1, is that of its last fragment.
    let first = 2u64.wrapping_sub(u64::from(count));
    let numbered = parts.iter().zip(0u32..);
    numbered.map(|(part, at)| fragment(first.wrapping_add(at.into()), at, count, payload.len(), part)).collect()
}

fn fragments() -> Vec<Vec<u8>> {
    let batches = batches();
    let mut seeds: Vec<Vec<u8>> = batches.iter().map(|whole| joined([&whole[..]])).collect();
    for (batch, bytes) in [(&batches[0], 100), (&batches[0], 280), (&batches[2], 16), (&batches[1], 20)] {
        seeds.push(joined(cut(batch, bytes).iter().map(|part| &part[..])));
    }
    seeds.push(joined([&fragment(1, 0, 3, BATCH_BYTES_MAX, b"x")[..]]));
    seeds
}

fn join(input: &[u8]) -> bool {
    let (mut fragments, mut arrived, mut complete) = (Fragments::default(), 0, false);
    for payload in pieces(input) {
        let Ok(part) = Part::of(payload) else { break };
        if let Part::Fragment(fragment) = &part {
            assert!(fragment.total <= BATCH_BYTES_MAX as u64 && fragment.number < fragment.count);
            assert!(!fragment.bytes.is_empty() && fragment.bytes.len() < payload.len());
            arrived += fragment.bytes.len();
        }
        match fragments.push(part) {
            Ok(Some(whole)) => {
                assert!(fragments.is_empty(), "nothing is left of a complete batch");
                assert!(matches!(part, Part::Whole(_)) || whole.len() == arrived, "a batch is the bytes that arrived");
                complete |= batch::peek_header(&whole).is_ok();
                arrived = 0;
            }
            Ok(None) => assert!(!fragments.is_empty()),
            // A replica stops here.
            Err(_) => break,
        }
    }
    complete
}
