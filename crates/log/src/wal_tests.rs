//! Files written by a model of RocksDB's writer, then torn and damaged at every position.

use super::*;

/// Appends a batch in the way of RocksDB's writer.
fn add(file: &mut Vec<u8>, batch: &[u8]) {
    let mut left = batch;
    let mut begin = true;
    loop {
        let room = BLOCK - file.len() % BLOCK;
        if room < HEADER {
            file.extend(std::iter::repeat_n(0, room));
            continue;
        }
        let (part, rest) = left.split_at(left.len().min(room - HEADER));
        let kind = match (begin, rest.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        let mut covered = vec![kind];
        covered.extend_from_slice(part);
        file.extend_from_slice(&masked(crc32c(&covered)).to_le_bytes());
        file.extend_from_slice(&(part.len() as u16).to_le_bytes());
        file.extend_from_slice(&covered);
        (left, begin) = (rest, false);
        if rest.is_empty() {
            return;
        }
    }
}

/// Bytes that look random.
fn batch(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

fn file(sizes: &[usize]) -> (Vec<u8>, usize) {
    let mut file = Vec::new();
    let mut last = 0;
    for (i, &size) in sizes.iter().enumerate() {
        last = file.len();
        add(&mut file, &batch(i as u32 + 1, size));
    }
    if BLOCK - last % BLOCK < HEADER {
        last += BLOCK - last % BLOCK;
    }
    (file, last)
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn whole_files_are_clean() {
    for sizes in [&[][..], &[1], &[10, 20, 30], &[BLOCK * 3, 5, BLOCK - HEADER, 7], &[BLOCK - HEADER - 12, 1, 9]] {
        assert_eq!(examine(&file(sizes).0, false), Finding::Clean, "{sizes:?}");
    }
}

#[test]
fn a_file_that_ends_early_loses_its_last_batch_only() {
    for sizes in [&[40, 50, 60][..], &[100, BLOCK * 2 + 10], &[BLOCK - HEADER - 10, 30]] {
        let (file, last) = file(sizes);
        for end in (last + 1..file.len()).step_by((file.len() - last) / 200 + 1) {
            let found = examine(&file[..end], false);
            assert_eq!(found, Finding::Torn { at: last }, "{sizes:?} cut at {end}");
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_damage_also_after_a_crash() {
    let (file, last) = file(&[40, 50, 60]);
    for at in 0..last {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            for crashed in [false, true] {
                let found = examine(&changed, crashed);
                assert!(matches!(found, Finding::Damaged { .. }), "byte {at} bit {bit}: {found:?}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_damage_without_a_crash() {
    let (file, last) = file(&[40, 50, 60]);
    for at in last..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            let found = examine(&changed, false);
            assert!(matches!(found, Finding::Damaged { .. }), "byte {at} bit {bit}: {found:?}");
            if !(last + 4..last + 7).contains(&at) {
                assert_eq!(examine(&changed, true), Finding::Torn { at: last }, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_torn_batch_is_cut_wherever_its_sectors_are_missing() {
    let (file, last) = file(&[300, BLOCK * 3]);
    for hole in (last..file.len()).step_by(8 * 1024) {
        let mut torn = file.clone();
        let end = (hole + 512).min(file.len());
        torn[hole..end].fill(0);
        assert_eq!(examine(&torn, true), Finding::Torn { at: last }, "hole at {hole}");
        assert!(matches!(examine(&torn, false), Finding::Damaged { .. }), "hole at {hole}");
    }
}

#[test]
fn zeros_after_the_end_are_cut_after_a_crash_only() {
    let (mut file, _) = file(&[10, 20]);
    let end = file.len();
    file.resize(end + 5000, 0);
    assert_eq!(examine(&file, true), Finding::Torn { at: end });
    assert!(matches!(examine(&file, false), Finding::Damaged { .. }));
}

#[test]
fn only_the_newest_file_may_be_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, last) = file(&[10, 20]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("000009.log", &whole);
    write("000010.log", &whole[..whole.len() - 1]);
    write("LOG", b"not a write-ahead log");
    let cut = check(dir.path(), false).unwrap();
    let file = dir.path().join("000010.log");
    assert_eq!(cut, WalState::Cut { file: file.clone(), at: last as u64, bytes: (whole.len() - 1 - last) as u64 });
    assert_eq!(std::fs::read(&file).unwrap(), whole[..last]);
    assert_eq!(check(dir.path(), false), Ok(WalState::Clean));
    write("000009.log", &whole[..whole.len() - 1]);
    let error = check(dir.path(), true).unwrap_err();
    assert!(error.to_string().contains("000009.log is damaged: at byte"), "{error}");
}
