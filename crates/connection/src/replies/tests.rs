#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Everything that leaves until nothing may.
fn leave(replies: &mut Replies<u32>, at_once: usize) -> Vec<u8> {
    let mut left = Vec::new();
    while !replies.sendable().is_empty() {
        let len = replies.sendable().len().min(at_once);
        left.extend_from_slice(&replies.sendable()[..len]);
        replies.sent(len);
    }
    left
}

/// Whatever is written, held, lost and sent in whatever pieces: what leaves is what a list of replies gives.
#[test]
fn replies_leave_in_their_order_and_lost_ones_are_replaced() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut replies: Replies<u32> = Replies::default();
        let (mut expected, mut left) = (Vec::new(), Vec::new());
        // Of every hold: what becomes of it. Holds up to `known` are decided.
        let (mut fates, mut known) = (Vec::new(), 0);
        for i in 0..rng.random_range(1..300usize) {
            replies.close_block();
            let start = replies.out.len();
            let text = vec![b'a' + (i % 26) as u8; *[3, 70_000].get(usize::from(rng.random_bool(0.05))).unwrap()];
            if rng.random_bool(0.1) {
                replies.out.bulk_shared(&std::sync::Arc::new(text));
            } else {
                replies.out.bulk(&text);
            }
            let reply = replies.out.to_vec()[start..].to_vec();
            if rng.random_bool(0.5) {
                let lost = rng.random_bool(0.5);
                replies.hold(start, fates.len() as u32);
                fates.push(if lost { Fate::Lost("ERR lost") } else { Fate::Leaves });
                expected.extend(if lost { b"-ERR lost\r\n".to_vec() } else { reply });
            } else {
                expected.extend(reply);
            }
            if rng.random_bool(0.1) {
                known = fates.len();
                let fate = |hold: u32| if (hold as usize) < known { fates[hold as usize] } else { Fate::Waits };
                assert_eq!(replies.release(fate), None);
            } else if rng.random_bool(0.3) {
                let fate = |hold: u32| if (hold as usize) < known { fates[hold as usize] } else { Fate::Waits };
                replies.release(fate);
                assert!(replies.sendable_bytes() >= replies.sendable().len());
                left.extend(leave(&mut replies, rng.random_range(1..50_000)));
                assert_eq!(replies.sendable_bytes(), 0);
            }
        }
        replies.release(|hold| fates[hold as usize]);
        assert_eq!(replies.sendable_bytes(), replies.unsent());
        left.extend(leave(&mut replies, usize::MAX));
        assert!(left == expected, "seed {seed}");
        assert_eq!((replies.unsent(), replies.closed_bytes, replies.closed_capacity), (0, 0, 0));
    }
}

/// Found: what an undo costs grew with the square of a pipeline's length. Quadratic, this takes minutes.
#[test]
fn replacing_the_replies_of_a_long_pipeline_is_linear() {
    const COUNT: usize = 400_000;
    let mut replies: Replies<u32> = Replies::default();
    for i in 0..COUNT {
        replies.close_block();
        let start = replies.out.len();
        replies.out.ok();
        replies.hold(start, i as u32);
    }
    let began = Instant::now();
    assert_eq!(replies.release(|_| Fate::Lost("ERR lost")), None);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(replies.unsent(), COUNT * b"-ERR lost\r\n".len());
}

#[test]
fn what_has_left_is_given_back() {
    let mut replies: Replies<u32> = Replies::default();
    for _ in 0..40 {
        replies.close_block();
        replies.out.bulk(vec![b'x'; 100_000]);
    }
    assert!(replies.heap_bytes() >= 4_000_000 && replies.unsent() > 4_000_000);
    assert_eq!(leave(&mut replies, 64 * 1024).len(), 40 * 100_011);
    assert!(replies.heap_bytes() <= EMPTY_BYTES_KEPT, "{}", replies.heap_bytes());
}
