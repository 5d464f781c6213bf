//! What the 24 bits of an entry say about its accesses, and what an access makes of them.
//!
//! - Mode [`AccessMode::LastAccess`]: the time of the last access, in seconds. They wrap around twice a year.
//! - Mode [`AccessMode::Frequency`]: the time of the last change in minutes (16 bits), and a logarithmic counter (8
//!   bits), as in Valkey. An access increments a counter `c` above [`FREQUENCY_NEW`] with the probability
//!   `1 / ((c - FREQUENCY_NEW) * log_factor + 1)`. The counter loses one for every `decay_minutes` without a change.
//!
//! The bits are not data: no digest, effect or image has them. Each replica keeps its own, so the draws that increment
//! counters are made here and not by the owner of the engine. When the mode changes, entries keep their bits, which the
//! new mode reads in its own way until the entries are accessed.

use fastness_types::{HashSeed, WallMs};

/// The bits of an entry that tell of its accesses.
const ACCESS_MASK: u32 = 0x00ff_ffff;
const MINUTES_MASK: u32 = 0xffff;
const COUNTER_BITS: u32 = 8;
/// The counter of a new key in [`AccessMode::Frequency`]: above 0, so that it has time to be accessed.
pub const FREQUENCY_NEW: u8 = 5;

/// What entries record of their accesses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// When the last one was.
    #[default]
    LastAccess,
    /// About how many there are.
    Frequency {
        /// How much slower a high counter grows: 0 counts every access, up to 255.
        log_factor: u32,
        /// Minutes after which a counter loses one; 0: never.
        decay_minutes: u32,
    },
}

/// Makes and reads the bits.
#[derive(Debug, Clone, Copy)]
pub struct AccessClock {
    mode: AccessMode,
    /// The state of a xorshift generator; not 0.
    draws: u64,
    /// The hash of the key whose access was counted last, so that a command that looks a key up and then replaces its
    /// value counts once.
    counted: u64,
}

fn seconds(now: WallMs) -> u32 {
    (now.0 / 1_000) as u32 & ACCESS_MASK
}

fn minutes(now: WallMs) -> u32 {
    (now.0 / 60_000) as u32 & MINUTES_MASK
}

impl AccessClock {
    pub(super) fn new(seed: HashSeed) -> AccessClock {
        let mut word = [0; 8];
        word.copy_from_slice(&seed.0[..8]);
        AccessClock { mode: AccessMode::default(), draws: u64::from_le_bytes(word) | 1, counted: 0 }
    }

    /// What entries record.
    #[must_use]
    pub fn mode(&self) -> AccessMode {
        self.mode
    }

    pub(super) fn set_mode(&mut self, mode: AccessMode) {
        self.mode = mode;
    }

    /// The bits of a new key.
    #[inline]
    pub(crate) fn fresh(&self, now: WallMs) -> u32 {
        match self.mode {
            AccessMode::LastAccess => seconds(now),
            AccessMode::Frequency { .. } => self.of_frequency(FREQUENCY_NEW, now),
        }
    }

    /// The bits after a look-up.
    #[inline]
    pub(super) fn accessed(&mut self, bits: u32, hash: u64, now: WallMs) -> u32 {
        match self.mode {
            AccessMode::LastAccess => seconds(now),
            AccessMode::Frequency { log_factor, decay_minutes } => {
                self.counted = hash;
                self.counted_up(bits, log_factor, decay_minutes, now)
            }
        }
    }

    /// The bits after a write, which counts as an access unless the same command has looked the key up.
    #[inline]
    pub(super) fn written(&mut self, bits: u32, hash: u64, now: WallMs) -> u32 {
        match self.mode {
            AccessMode::LastAccess => seconds(now),
            AccessMode::Frequency { .. } if std::mem::take(&mut self.counted) == hash => bits,
            AccessMode::Frequency { log_factor, decay_minutes } => {
                self.counted_up(bits, log_factor, decay_minutes, now)
            }
        }
    }

    fn counted_up(&mut self, bits: u32, log_factor: u32, decay_minutes: u32, now: WallMs) -> u32 {
        let counter = decayed(bits, decay_minutes, now);
        let above = f64::from(counter.saturating_sub(FREQUENCY_NEW));
        let chance = 1.0 / (above * f64::from(log_factor) + 1.0);
        let grows = self.draw() < chance;
        self.of_frequency(counter.saturating_add(u8::from(grows)), now)
    }

    /// Uniform from 0 to 1, which is not reached.
    fn draw(&mut self) -> f64 {
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        (self.draws >> 11) as f64 / (1u64 << 53) as f64
    }

    fn of_frequency(&self, counter: u8, now: WallMs) -> u32 {
        minutes(now) << COUNTER_BITS | u32::from(counter)
    }

    /// The counter of an entry with these bits; `None`: the mode does not count.
    #[must_use]
    pub fn frequency(&self, bits: u32, now: WallMs) -> Option<u8> {
        match self.mode {
            AccessMode::LastAccess => None,
            AccessMode::Frequency { decay_minutes, .. } => Some(decayed(bits, decay_minutes, now)),
        }
    }

    /// Seconds since the last access of an entry with these bits; `None`: the mode does not record it.
    #[must_use]
    pub fn idle_seconds(&self, bits: u32, now: WallMs) -> Option<u32> {
        match self.mode {
            AccessMode::LastAccess => Some(seconds(now).wrapping_sub(bits) & ACCESS_MASK),
            AccessMode::Frequency { .. } => None,
        }
    }

    /// The bits of a key that RESTORE creates with this counter; `None`: the mode does not count.
    #[must_use]
    pub(crate) fn with_frequency(&self, counter: u8, now: WallMs) -> Option<u32> {
        matches!(self.mode, AccessMode::Frequency { .. }).then(|| self.of_frequency(counter, now))
    }

    /// The bits of a key that RESTORE creates with this idle time; `None`: the mode does not record it. A time of more
    /// than the seconds that 24 bits count is cut to these.
    #[must_use]
    pub(crate) fn with_idle_seconds(&self, idle: u64, now: WallMs) -> Option<u32> {
        let idle = idle.min(u64::from(ACCESS_MASK)) as u32;
        (self.mode == AccessMode::LastAccess).then(|| seconds(now).wrapping_sub(idle) & ACCESS_MASK)
    }
}

/// The counter after what it has lost since its last change.
fn decayed(bits: u32, decay_minutes: u32, now: WallMs) -> u8 {
    let counter = bits as u8;
    let elapsed = minutes(now).wrapping_sub(bits >> COUNTER_BITS) & MINUTES_MASK;
    let periods = elapsed.checked_div(decay_minutes).unwrap_or(0);
    counter.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(1_700_000_000_000);
    const MINUTE: u64 = 60_000;

    fn clock(log_factor: u32, decay_minutes: u32) -> AccessClock {
        let mut clock = AccessClock::new(HashSeed([7; 16]));
        clock.set_mode(AccessMode::Frequency { log_factor, decay_minutes });
        clock
    }

    fn after_accesses(clock: &mut AccessClock, accesses: u32) -> u8 {
        let mut bits = clock.fresh(NOW);
        (0..accesses).for_each(|_| bits = clock.accessed(bits, 1, NOW));
        clock.frequency(bits, NOW).unwrap()
    }

    /// The table of Valkey's documentation: the counter after so many accesses.
    #[test]
    fn counters_grow_as_valkeys() {
        for (factor, accesses, expected) in [
            (0, 100, 105..=105),
            (0, 1_000, 255..=255),
            (1, 100, 15..=22),
            (1, 1_000, 44..=54),
            (10, 100, 7..=14),
            (10, 1_000, 16..=22),
            (10, 100_000, 132..=152),
            (100, 100_000, 44..=54),
        ] {
            let counter = after_accesses(&mut clock(factor, 1), accesses);
            assert!(expected.contains(&counter), "{factor} {accesses}: {counter}");
        }
    }

    #[test]
    fn counters_decay_with_time_and_never_below_zero() {
        let clock = clock(10, 2);
        let bits = clock.with_frequency(100, NOW).unwrap();
        let after = |minutes: u64| clock.frequency(bits, WallMs(NOW.0 + minutes * MINUTE)).unwrap();
        assert_eq!([after(0), after(1), after(2), after(9), after(199), after(400)], [100, 100, 99, 96, 1, 0]);
        let never = self::clock(10, 0);
        assert_eq!(never.frequency(bits, WallMs(NOW.0 + 5_000 * MINUTE)), Some(100));
    }

    #[test]
    fn a_look_up_and_the_write_after_it_are_one_access() {
        let mut clock = clock(0, 1);
        let bits = clock.fresh(NOW);
        let bits = clock.accessed(bits, 3, NOW);
        let bits = clock.written(bits, 3, NOW);
        assert_eq!(clock.frequency(bits, NOW), Some(6));
        let bits = clock.written(bits, 3, NOW);
        assert_eq!(clock.frequency(bits, NOW), Some(7), "a write without a look-up");
    }

    #[test]
    fn idle_times_are_seconds() {
        let clock = AccessClock::new(HashSeed([0; 16]));
        let bits = clock.fresh(NOW);
        assert_eq!(clock.idle_seconds(bits, WallMs(NOW.0 + 2_500)), Some(2));
        let bits = clock.with_idle_seconds(1_000, NOW).unwrap();
        assert_eq!(clock.idle_seconds(bits, NOW), Some(1_000));
        assert_eq!(clock.frequency(bits, NOW), None);
    }
}
