//! Random arguments of the geo commands.
//!
//! No two positions are equal, because the order of equal distances is not specified.

use super::rng::Rng;

/// Positions around which members are, so that searches find some: one each of a hemisphere, at the date line, near a
/// pole.
const CENTERS: &[(f64, f64)] = &[(13.4, 38.1), (-70.3, -33.4), (179.9, 0.1), (-20.5, 83.7)];
/// How far positions are from a center, degrees: so far that no two of them are stored as one.
const SPREADS: &[f64] = &[0.05, 0.5, 3.0, 20.0];
const WRONG: &[(&str, &str)] = &[("181", "1"), ("1", "86"), ("x", "1"), ("1", ""), ("inf", "0"), ("1e3", "-1e300")];
const RADII: &[&str] = &["0", "-1", "x", "", "inf", "1e300", "1e-300", "21000000"];
const UNITS: &[&str] = &["m", "KM", "ft", "Mi", "mi", "km", "km", "km", "km", "km", "x"];
const CORNER_NUMBERS: &[&str] = &["0", "2", "3", "-1", "x", "9999999999", "2147483647"];
/// Corners are around positions of this latitude at most: near a pole, it is not specified where Valkey looks.
const POLYGON_LATITUDE_MAX: f64 = 60.0;

/// A number from 0 to 1.
fn fraction(rng: &mut Rng) -> f64 {
    rng.below(1 << 30) as f64 / f64::from(1 << 30)
}

fn near(rng: &mut Rng, (longitude, latitude): (f64, f64)) -> [String; 2] {
    let spread = SPREADS[rng.below(SPREADS.len())];
    let mut moved = |degrees: f64, max: f64| (degrees + spread * (2.0 * fraction(rng) - 1.0)).clamp(-max, max);
    let (longitude, latitude) = (moved(longitude, 180.0), moved(latitude, 85.0));
    match rng.below(24) {
        0 => [rng.pick(&["180", "-180"]).to_owned(), latitude.to_string()],
        1 => [longitude.to_string(), rng.pick(&["85.05112878", "-85.05112878"]).to_owned()],
        2..=8 => [longitude.to_string(), latitude.to_string()],
        _ => [format!("{longitude:.7}"), format!("{latitude:.7}")],
    }
}

fn any_center(rng: &mut Rng) -> (f64, f64) {
    CENTERS[rng.below(CENTERS.len())]
}

/// Adds a longitude and a latitude, mostly valid ones.
pub fn push_position(rng: &mut Rng, request: &mut Vec<Vec<u8>>) {
    let position = if rng.one_in(40) {
        let (longitude, latitude) = WRONG[rng.below(WRONG.len())];
        [longitude.to_owned(), latitude.to_owned()]
    } else {
        let center = any_center(rng);
        near(rng, center)
    };
    request.extend(position.map(String::into_bytes));
}

/// Adds the number of the corners of a polygon, and their positions.
pub fn push_corners(rng: &mut Rng, request: &mut Vec<Vec<u8>>) {
    let number = 3 + rng.below(4);
    let wrong = rng.one_in(12);
    let text = if wrong { rng.pick(CORNER_NUMBERS).to_owned() } else { number.to_string() };
    request.push(text.into_bytes());
    let (longitude, latitude) = any_center(rng);
    for _ in 0..number {
        let corner = near(rng, (longitude, latitude.min(POLYGON_LATITUDE_MAX)));
        request.extend(corner.map(String::into_bytes));
    }
}

/// Adds positions and members, so many that a small set is full, or becomes a large one.
pub fn push_many(rng: &mut Rng, request: &mut Vec<Vec<u8>>) {
    let (from, center) = (rng.below(40), any_center(rng));
    for member in from..from + 100 + rng.below(40) {
        request.extend(near(rng, center).map(String::into_bytes));
        request.push(format!("m{member}").into_bytes());
    }
}

/// A radius, a width or a height, of any size.
pub fn radius(rng: &mut Rng) -> Vec<u8> {
    match rng.below(16) {
        0 => rng.pick(RADII).as_bytes().to_vec(),
        1..=8 => (rng.below(10) * 10usize.pow(rng.below(5) as u32)).to_string().into_bytes(),
        _ => format!("{:.3}", fraction(rng) * [1.0, 100.0, 5_000.0][rng.below(3)]).into_bytes(),
    }
}

/// A unit of lengths.
pub fn unit(rng: &mut Rng) -> Vec<u8> {
    rng.pick(UNITS).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_positions_are_valid() {
        let mut rng = Rng::new(1);
        let mut request = Vec::new();
        (0..1_000).for_each(|_| push_position(&mut rng, &mut request));
        let number = |text: &Vec<u8>| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
        let is_valid = |pair: &[Vec<u8>]| {
            number(&pair[0]).is_some_and(|degrees| degrees.abs() <= 180.0)
                && number(&pair[1]).is_some_and(|degrees| degrees.abs() < 85.06)
        };
        let valid = request.chunks(2).filter(|pair| is_valid(pair)).count();
        assert!((950..1_000).contains(&valid), "{valid}");
    }
}
