//! Random parts of a value: HRANDFIELD, SRANDMEMBER and ZRANDMEMBER, and the choice of SPOP.

use crate::command::parse::integer;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::PackedLimits;
use crate::random::Random;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::limits::ENTRY_BYTES_MAX;
use std::collections::BTreeSet;

/// Longest reply of independently drawn parts, bytes; their count has no other bound.
const REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX;
/// Drawing is faster than a walk through the whole value while less than one part in this many is requested.
const DRAW_MAX: usize = 3;

/// A value from which parts are drawn.
pub(crate) trait Sampled: Copy {
    /// A part: a field with its value, a member with its score.
    type Part: Copy;
    /// What tells parts apart.
    type Name: Ord;

    /// Number of parts.
    fn count(self) -> usize;

    /// Every part.
    fn parts(self) -> impl Iterator<Item = Self::Part>;

    /// A random part; all are equally likely.
    fn draw(self, random: &mut dyn Random) -> Option<Self::Part>;

    /// What the part is called.
    fn name(part: Self::Part) -> Self::Name;

    /// Starts a reply of `count` parts. `in_full`: with values or scores.
    fn reply_head(count: usize, in_full: bool, reply: &mut ReplyBuf);

    /// Replies with a part.
    fn reply_part(part: Self::Part, in_full: bool, reply: &mut ReplyBuf);
}

/// How many parts are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requested {
    /// Below 0: as many parts, drawn independently of each other.
    count: i64,
    in_full: bool,
}

/// Parses `[count [option]]`; `None` without a count.
pub(crate) fn requested(options: Args<'_>, in_full: Option<&str>) -> Result<Option<Requested>, CommandError> {
    const RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    let Some(count) = options.try_get(0) else { return Ok(None) };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::Fixed(RANGE));
    }
    let Some(option) = options.try_get(1) else { return Ok(Some(Requested { count, in_full: false })) };
    if options.len() > 2 || !in_full.is_some_and(|name| option.eq_ignore_ascii_case(name.as_bytes())) {
        return Err(CommandError::Syntax);
    }
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Fixed("ERR value is out of range"));
    }
    Ok(Some(Requested { count, in_full: true }))
}

/// Replies with random parts: one, or as many as are requested.
pub(crate) fn reply<S: Sampled>(
    sampled: Option<S>,
    requested: Option<Requested>,
    env: &mut Env<'_>,
) -> Result<(), CommandError> {
    match (sampled, requested) {
        (None, None) => env.reply.null(),
        (None, Some(_)) => env.reply.array(0),
        (Some(sampled), None) => match sampled.draw(env.random) {
            Some(part) => S::reply_part(part, false, env.reply),
            None => env.reply.null(),
        },
        (Some(sampled), Some(Requested { count, in_full })) => match usize::try_from(count) {
            Ok(count) => {
                let parts = different(sampled, count, env.random);
                S::reply_head(parts.len(), in_full, env.reply);
                parts.into_iter().for_each(|part| S::reply_part(part, in_full, env.reply));
            }
            Err(_) => return reply_independent(sampled, count.unsigned_abs(), in_full, env),
        },
    }
    Ok(())
}

/// Replies with independently drawn parts.
fn reply_independent<S: Sampled>(sampled: S, count: u64, in_full: bool, env: &mut Env<'_>) -> Result<(), CommandError> {
    let start = env.reply.len();
    let count = usize::try_from(count).map_err(|_| CommandError::REPLY_TOO_LARGE)?;
    S::reply_head(count, in_full, env.reply);
    // A packed value is read from its start for each part that is drawn, so its parts are collected once.
    let is_short = count > 1 && sampled.count() as u64 <= PackedLimits::PARTS_MAX;
    let held: Vec<S::Part> = if is_short { sampled.parts().collect() } else { Vec::new() };
    for _ in 0..count {
        let drawn = match held.len() as u64 {
            0 => sampled.draw(env.random),
            len => Some(held[env.random.below(len) as usize]),
        };
        let Some(part) = drawn else { break };
        S::reply_part(part, in_full, env.reply);
        if env.reply.len() - start > REPLY_BYTES_MAX {
            return Err(CommandError::REPLY_TOO_LARGE);
        }
    }
    Ok(())
}

/// Up to `count` distinct parts.
pub(crate) fn different<S: Sampled>(sampled: S, count: usize, random: &mut dyn Random) -> Vec<S::Part> {
    let len = sampled.count();
    if count >= len {
        return sampled.parts().collect();
    }
    if count < len / DRAW_MAX {
        return drawn(sampled, count, random);
    }
    // One walk: each part is taken with the probability `wanted / left`, so that every sample is equally likely.
    let (mut wanted, mut left) = (count as u64, len as u64);
    let is_taken = |_: &S::Part| {
        let taken = random.below(left) < wanted;
        left -= 1;
        wanted -= u64::from(taken);
        taken
    };
    sampled.parts().take(len).filter(is_taken).collect()
}

fn drawn<S: Sampled>(sampled: S, count: usize, random: &mut dyn Random) -> Vec<S::Part> {
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    while parts.len() < count {
        let Some(part) = sampled.draw(random) else { break };
        if seen.insert(S::name(part)) {
            parts.push(part);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Counter;

    /// The numbers below one.
    #[derive(Clone, Copy)]
    struct Below(usize);

    impl Sampled for Below {
        type Part = usize;
        type Name = usize;

        fn count(self) -> usize {
            self.0
        }

        fn parts(self) -> impl Iterator<Item = usize> {
            0..self.0
        }

        fn draw(self, random: &mut dyn Random) -> Option<usize> {
            (self.0 > 0).then(|| random.below(self.0 as u64) as usize)
        }

        fn name(part: usize) -> usize {
            part
        }

        fn reply_head(count: usize, _: bool, reply: &mut ReplyBuf) {
            reply.array(count);
        }

        fn reply_part(part: usize, _: bool, reply: &mut ReplyBuf) {
            reply.integer(part as i64);
        }
    }

    #[test]
    fn every_part_is_equally_likely() {
        let mut random = Counter(7);
        for count in [1, 2, 5, 9] {
            let mut taken = [0u32; 10];
            for _ in 0..10_000 {
                let parts = different(Below(10), count, &mut random);
                assert_eq!(parts.iter().collect::<BTreeSet<_>>().len(), count, "all different");
                parts.into_iter().for_each(|part| taken[part] += 1);
            }
            let expected = 1_000 * count as u32;
            assert!(taken.iter().all(|times| times.abs_diff(expected) < 250), "{count}: {taken:?}");
        }
        assert_eq!(different(Below(3), 3, &mut random), [0, 1, 2]);
        assert_eq!(different(Below(0), 3, &mut random), [0; 0]);
    }
}
