//! Geohashes: positions on the earth as numbers of 52 bits, which are the scores of a geo set.
//!
//! Longitudes and latitudes are divided into 2^26 steps each; the bits of both numbers alternate, the longitude's
//! first. The high bits of such a number name a rectangle on the map, a [`MapCell`], and the scores of all positions in
//! a cell are one range.
//!
//! No crate is used. `geohash`, the best known, encodes latitudes of -90° to 90°, as text. Valkey's bits are of the
//! latitudes that the Web Mercator projection shows, and clients read them (ZSCORE, WITHHASH, DUMP), together with
//! coordinates whose last digit depends on the order of the operations below.

use crate::zset::range::ScoreRange;

/// Steps of a position that is stored: 26 bits for each of both coordinates.
pub const STEP_MAX: u32 = 26;
/// Bits of a geohash of [`STEP_MAX`].
const BITS: u32 = 2 * STEP_MAX;
/// Characters of a geohash as text. The last one would need more bits than there are, and is always `0`.
const TEXT_CHARS: u32 = 11;
const TEXT_CHAR_BITS: u32 = 5;
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// A range of degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degrees {
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// All longitudes.
pub const LONGITUDES: Degrees = Degrees { min: -180.0, max: 180.0 };
/// The latitudes of geo sets: those of the Web Mercator projection (EPSG:3857), which does not reach the poles.
pub const LATITUDES: Degrees = Degrees { min: -85.051_128_78, max: 85.051_128_78 };
/// The latitudes of geohashes as text.
const TEXT_LATITUDES: Degrees = Degrees { min: -90.0, max: 90.0 };

/// A position, degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Degrees {
    /// Whether the range contains a number.
    #[must_use]
    pub fn contains(self, degrees: f64) -> bool {
        (self.min..=self.max).contains(&degrees)
    }

    fn size(self) -> f64 {
        self.max - self.min
    }

    /// The number of the step in which these degrees are, of 2^`step`. The highest degrees are after the last step.
    fn index(self, degrees: f64, step: u32) -> u32 {
        let fraction = (degrees - self.min) / self.size();
        (fraction * steps(step)) as u32
    }

    /// The degrees of a step. As in Valkey, the end of step 2^32 - 1, which no position has, is that of no step at all.
    fn of_index(self, index: u32, step: u32) -> Degrees {
        let at = |index: u32| self.min + (f64::from(index) / steps(step)) * self.size();
        Degrees { min: at(index), max: at(index.wrapping_add(1)) }
    }
}

/// 2^`step`.
fn steps(step: u32) -> f64 {
    f64::from(1u32 << step)
}

/// A rectangle on the map: one of 2^`step` steps in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapCell {
    /// Steps to the east of the first.
    x: u32,
    /// Steps to the north of the first.
    y: u32,
    step: u32,
}

impl MapCell {
    /// The cell that contains a position.
    #[must_use]
    pub fn of(position: Position, step: u32) -> MapCell {
        let x = LONGITUDES.index(position.longitude, step);
        MapCell { x, y: LATITUDES.index(position.latitude, step), step }
    }

    /// The cell so many steps to the east and north; beyond the edge of the map is the opposite edge.
    #[must_use]
    pub fn neighbour(self, east: i32, north: i32) -> MapCell {
        let moved = |index: u32, by: i32| match by {
            // An index after the last step stays as it is.
            0 => index,
            by => index.wrapping_add_signed(by) & ((1 << self.step) - 1),
        };
        MapCell { x: moved(self.x, east), y: moved(self.y, north), ..self }
    }

    /// The longitudes of the cell.
    #[must_use]
    pub fn longitudes(self) -> Degrees {
        LONGITUDES.of_index(self.x, self.step)
    }

    /// The latitudes of the cell.
    #[must_use]
    pub fn latitudes(self) -> Degrees {
        LATITUDES.of_index(self.y, self.step)
    }

    /// The scores of the positions in the cell.
    #[must_use]
    pub fn scores(self) -> ScoreRange {
        let bits = interleaved(self.x, self.y);
        let aligned = |bits: u64| (bits << (BITS - 2 * self.step)) as f64;
        ScoreRange::half_open(aligned(bits), aligned(bits + 1))
    }
}

/// The score of a position.
#[must_use]
pub fn score_of(position: Position) -> f64 {
    let cell = MapCell::of(position, STEP_MAX);
    interleaved(cell.x, cell.y) as f64
}

/// The position of a score: the middle of its cell. Scores that are no geohashes have positions, too.
#[must_use]
pub fn position_of(score: f64) -> Position {
    let (x, y) = separated(bits_of(score));
    let cell = MapCell { x, y, step: STEP_MAX };
    let middle = |of: Degrees, all: Degrees| f64::midpoint(of.min, of.max).clamp(all.min, all.max);
    Position { longitude: middle(cell.longitudes(), LONGITUDES), latitude: middle(cell.latitudes(), LATITUDES) }
}

/// The geohash of a position as text, of the standard's latitudes.
#[must_use]
pub fn text_of(position: Position) -> [u8; TEXT_CHARS as usize] {
    let x = LONGITUDES.index(position.longitude, STEP_MAX);
    let bits = interleaved(x, TEXT_LATITUDES.index(position.latitude, STEP_MAX));
    let mut text = [ALPHABET[0]; TEXT_CHARS as usize];
    for (at, char) in (1u32..).zip(&mut text[..TEXT_CHARS as usize - 1]) {
        *char = ALPHABET[(bits >> (BITS - at * TEXT_CHAR_BITS)) as usize % ALPHABET.len()];
    }
    text
}

/// The integer of a score, as the conversion of C returns it on x86-64 for numbers that are too large or negative,
/// which scores of ZADD may be.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    let signed = |score: f64| if score < HALF { score as i64 } else { i64::MIN };
    if score < HALF { signed(score) as u64 } else { signed(score - HALF) as u64 ^ 1 << 63 }
}

/// One number of the bits of both, the lowest one of `y` first.
fn interleaved(x: u32, y: u32) -> u64 {
    spread(x) << 1 | spread(y)
}

/// What [`interleaved`] made one number of.
fn separated(bits: u64) -> (u32, u32) {
    (gathered(bits >> 1), gathered(bits))
}

/// Distances and masks of the steps in which bits are spread.
const SPREAD: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

/// Moves every bit to twice its place.
fn spread(index: u32) -> u64 {
    SPREAD.iter().fold(u64::from(index), |bits, (by, mask)| (bits | bits << by) & mask)
}

/// The bits at even places.
fn gathered(bits: u64) -> u32 {
    let even = SPREAD.iter().rev().fold(bits, |bits, (by, mask)| {
        let bits = bits & mask;
        bits | bits >> by
    });
    even as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position { longitude, latitude }
    }

    #[test]
    fn scores_are_valkeys() {
        assert_eq!(score_of(at(13.361389, 38.115556)), 3_479_099_956_230_698.0);
        assert_eq!(score_of(at(15.087269, 37.502669)), 3_479_447_370_796_909.0);
        assert_eq!(score_of(at(-180.0, -85.05112878)), 0.0);
        assert_eq!(score_of(at(180.0, 85.05112878)), 13_510_798_882_111_488.0);
    }

    #[test]
    fn positions_of_scores_that_are_no_geohashes_are_those_of_x86_64() {
        let (east, north) = (180.0, 85.051_128_78);
        for score in [-5.0, -1e10, 9.3e18, 1.7e19] {
            assert_eq!(position_of(score), at(east, north), "{score}");
        }
        for score in [f64::INFINITY, 1e300, 0.0, -0.0] {
            assert_eq!(position_of(score), position_of(0.0), "{score}");
        }
        assert_eq!(position_of(f64::NEG_INFINITY).longitude, east);
        assert_eq!(position_of(f64::NEG_INFINITY).latitude, position_of(0.0).latitude);
    }

    #[test]
    fn texts_are_of_the_standard() {
        let text = |score| String::from_utf8(text_of(position_of(score)).to_vec()).unwrap();
        assert_eq!(text(3_479_099_956_230_698.0), "sqc8b49rny0");
        assert_eq!(text(3_479_447_370_796_909.0), "sqdtr74hyu0");
        assert_eq!(text(13_510_798_882_111_488.0), "bp05b5048p0");
    }

    #[test]
    fn neighbours_are_beyond_the_edges_of_the_map() {
        let corner = MapCell { x: 0, y: 3, step: 2 };
        assert_eq!(corner.neighbour(-1, 1), MapCell { x: 3, y: 0, step: 2 });
        assert_eq!(corner.neighbour(1, -1), MapCell { x: 1, y: 2, step: 2 });
        let after_the_last = MapCell { x: 4, y: 4, step: 2 };
        assert_eq!(after_the_last.neighbour(0, 1), MapCell { x: 4, y: 1, step: 2 });
        assert_eq!(after_the_last.neighbour(-1, 0), MapCell { x: 3, y: 4, step: 2 });
    }

    proptest! {
        #[test]
        fn interleaving_keeps_every_bit(x in any::<u32>(), y in any::<u32>()) {
            prop_assert_eq!(separated(interleaved(x, y)), (x, y));
        }

        #[test]
        fn a_position_is_kept_up_to_a_step(longitude in -180.0..180.0, latitude in -85.0..85.0) {
            let kept = position_of(score_of(at(longitude, latitude)));
            prop_assert!((kept.longitude - longitude).abs() < 6e-6 && (kept.latitude - latitude).abs() < 3e-6);
            prop_assert_eq!(score_of(kept), score_of(at(longitude, latitude)));
        }
    }
}
