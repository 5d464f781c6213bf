//! Distances on the earth, as on a sphere, and their units.
//!
//! The formulas are Valkey's, operation by operation, because the last digit of a stored distance depends on that.
//! Sines and cosines are those of the C library, as Valkey's are. Replicas do not compute them: effects hold the
//! scores.

use super::geohash::Position;
use std::f64::consts::PI;

/// The radius of the sphere, m: the quadratic mean of the radii of WGS 84.
pub const EARTH_RADIUS: f64 = 6_372_797.560_856;

const RADIANS_PER_DEGREE: f64 = PI / 180.0;
/// Half a sine of a difference of longitudes that counts as none: about 6 nm on the earth.
const SAME_LONGITUDE_MAX: f64 = 1e-15;
/// What a distance in a reply is rounded to: 1 over this.
const REPLY_SCALE: f64 = 10_000.0;

/// Degrees in radians.
#[must_use]
pub fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

/// Radians in degrees. `f64::to_degrees` multiplies, which rounds differently.
#[must_use]
pub fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// The distance of two latitudes on one meridian, m.
#[must_use]
pub fn between_latitudes(one: f64, other: f64) -> f64 {
    EARTH_RADIUS * (radians(other) - radians(one)).abs()
}

/// The distance of two positions along the great circle, m: the haversine formula.
#[must_use]
pub fn between(one: Position, other: Position) -> f64 {
    let v = ((radians(other.longitude) - radians(one.longitude)) / 2.0).sin();
    if v.abs() <= SAME_LONGITUDE_MAX {
        return between_latitudes(one.latitude, other.latitude);
    }
    let (one, other) = (radians(one.latitude), radians(other.latitude));
    let u = ((other - one) / 2.0).sin();
    let a = u * u + one.cos() * other.cos() * v * v;
    // Of opposite positions the sum can be more than 1 by rounding, whose arc sine is no number.
    2.0 * EARTH_RADIUS * a.sqrt().min(1.0).asin()
}

/// A unit of distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Its length, m.
    pub metres: f64,
}

impl Unit {
    /// The metre.
    pub const METRE: Unit = Unit { metres: 1.0 };

    /// The unit of this name, in any case.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Unit> {
        let metres = match name.to_ascii_lowercase().as_slice() {
            b"m" => 1.0,
            b"km" => 1_000.0,
            b"ft" => 0.3048,
            b"mi" => 1_609.34,
            _ => return None,
        };
        Some(Unit { metres })
    }
}

/// A distance in replies: four digits after the point.
#[must_use]
pub fn text(distance: f64) -> String {
    let scaled = (distance * REPLY_SCALE).round_ties_even() as u64;
    let scale = REPLY_SCALE as u64;
    format!("{}.{:04}", scaled / scale, scaled % scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_four_digits() {
        for (distance, expected) in [
            (0.0, "0.0000"),
            (0.00004, "0.0000"),
            (0.00005, "0.0000"),
            (0.03125, "0.0312"),
            (0.09375, "0.0938"),
            (0.5, "0.5000"),
            (166_274.151_561_65, "166274.1516"),
            (20_020_741.999_99, "20020742.0000"),
        ] {
            assert_eq!(text(distance), expected);
        }
    }

    #[test]
    fn opposite_positions_have_a_distance() {
        let half = PI * EARTH_RADIUS;
        for step in 0..1_000 {
            let latitude = f64::from(step) * 0.085;
            let one = Position { longitude: f64::from(step) * 0.17, latitude };
            let other = Position { longitude: one.longitude - 180.0, latitude: -latitude };
            assert!((between(one, other) - half).abs() < 1.0, "{one:?}");
        }
    }

    #[test]
    fn units() {
        assert_eq!(Unit::named(b"KM").map(|unit| unit.metres), Some(1_000.0));
        assert_eq!(Unit::named(b"cm"), None);
    }
}
