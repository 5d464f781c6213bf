//! The area of a search: a circle, a rectangle or a polygon, and the cells of the map that cover it.

use super::distance::{EARTH_RADIUS, Unit, between, between_latitudes, degrees, radians};
use super::geohash::{Degrees, LATITUDES, LONGITUDES, MapCell, Position, STEP_MAX};

/// Half of the width of the map, m, as the estimate of a cell's size has it.
const MAP_MAX: f64 = 20_037_726.37;
/// The middle of the map: of the largest cells, that of this position and those around it are all.
const MAP_CENTER: Position = Position { longitude: 0.0, latitude: 0.0 };
/// Latitudes from which on cells are so narrow that larger ones are needed, and larger ones again.
const NARROW_FROM: f64 = 66.0;
const NARROWER_FROM: f64 = 80.0;
/// From this step on, cells beside the middle one can be needless: below it, they are all there are.
const OMITTED_FROM: u32 = 2;

/// The form of an area. Lengths are in the unit of the area.
#[derive(Debug, Clone)]
pub enum AreaShape {
    /// A circle.
    Circle {
        /// Its radius.
        radius: f64,
    },
    /// A rectangle, whose sides have these lengths.
    Rectangle {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
    /// A polygon of these corners, three at least.
    Polygon(Vec<Position>),
}

/// The area of a search.
#[derive(Debug, Clone)]
pub struct SearchArea {
    /// The position from which distances are measured.
    center: Position,
    shape: AreaShape,
    unit: Unit,
}

/// The longitudes and latitudes of an area.
#[derive(Debug, Clone, Copy)]
struct AreaBounds {
    longitudes: Degrees,
    latitudes: Degrees,
}

impl AreaBounds {
    /// What lies within these distances of a position, m. Of the parallels at the edges, the one that is farther from
    /// the equator has the wider span of longitudes.
    fn around(center: Position, width: f64, height: f64) -> AreaBounds {
        let Position { longitude, latitude } = center;
        let north = degrees(height / EARTH_RADIUS);
        let parallel = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = degrees(width / EARTH_RADIUS / radians(parallel).cos());
        AreaBounds {
            longitudes: Degrees { min: longitude - east, max: longitude + east },
            latitudes: Degrees { min: latitude - north, max: latitude + north },
        }
    }

    fn of(corners: &[Position]) -> AreaBounds {
        let span = |all: Degrees, of: fn(&Position) -> f64| {
            let start = Degrees { min: all.max, max: all.min };
            corners.iter().map(of).fold(start, |span, at| Degrees { min: span.min.min(at), max: span.max.max(at) })
        };
        AreaBounds {
            longitudes: span(LONGITUDES, |corner| corner.longitude),
            latitudes: span(LATITUDES, |corner| corner.latitude),
        }
    }

    /// The distance of the corner that is farthest from a position, m.
    fn farthest_corner(self, from: Position) -> f64 {
        let (west, east) = (self.longitudes.min, self.longitudes.max);
        let (south, north) = (self.latitudes.min, self.latitudes.max);
        let corners = [(west, north), (east, north), (west, south), (east, south)];
        let distance = |(longitude, latitude)| between(from, Position { longitude, latitude });
        corners.map(distance).into_iter().fold(0.0, f64::max)
    }
}

impl SearchArea {
    /// A circle or rectangle around a position.
    #[must_use]
    pub fn around(center: Position, shape: AreaShape, unit: Unit) -> SearchArea {
        SearchArea { center, shape, unit }
    }

    /// A polygon. Distances are measured from the middle of its corners.
    #[must_use]
    pub fn polygon(corners: Vec<Position>) -> SearchArea {
        SearchArea { center: middle(&corners), shape: AreaShape::Polygon(corners), unit: Unit::METRE }
    }

    /// The unit of its lengths.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The distance of a position from the center, m; `None`: the position is outside.
    #[must_use]
    pub fn distance(&self, position: Position) -> Option<f64> {
        let metres = self.unit.metres;
        let is_inside = match &self.shape {
            AreaShape::Circle { radius } => {
                let distance = between(self.center, position);
                return (distance <= radius * metres).then_some(distance);
            }
            AreaShape::Rectangle { width, height } => {
                let below = Position { latitude: position.latitude, ..self.center };
                between_latitudes(position.latitude, self.center.latitude) <= height * metres / 2.0
                    && between(position, below) <= width * metres / 2.0
            }
            AreaShape::Polygon(corners) => is_within(corners, position),
        };
        is_inside.then(|| between(self.center, position))
    }

    fn bounds(&self) -> AreaBounds {
        let metres = self.unit.metres;
        match &self.shape {
            AreaShape::Circle { radius } => AreaBounds::around(self.center, metres * radius, metres * radius),
            AreaShape::Rectangle { width, height } => {
                AreaBounds::around(self.center, metres * width / 2.0, metres * height / 2.0)
            }
            AreaShape::Polygon(corners) => AreaBounds::of(corners),
        }
    }

    /// The radius of a circle around the center that contains the area, m.
    fn radius(&self, bounds: AreaBounds) -> f64 {
        match &self.shape {
            AreaShape::Circle { radius } => radius * self.unit.metres,
            AreaShape::Rectangle { width, height } => {
                let (x, y) = (width / 2.0, height / 2.0);
                (x * x + y * y).sqrt() * self.unit.metres
            }
            AreaShape::Polygon(_) => bounds.farthest_corner(self.center),
        }
    }

    /// The cells in which a search looks, in this order: that of the center, and those around it that the area may
    /// reach.
    pub fn cells(&self) -> impl Iterator<Item = MapCell> + use<> {
        let bounds = self.bounds();
        let (center, mut step) = if LATITUDES.contains(self.center.latitude) {
            (self.center, estimated_step(self.radius(bounds), self.center.latitude))
        } else {
            // The middle of a polygon, nearer to a pole than the map. What Valkey searches then is not specified.
            (MAP_CENTER, 1)
        };
        if step > 1 && !reaches(MapCell::of(center, step), bounds) {
            step -= 1;
        }
        let cell = MapCell::of(center, step);
        let (longitudes, latitudes) = (cell.longitudes(), cell.latitudes());
        let is_omitted = move |(east, north): (i32, i32)| {
            let beyond_latitudes = match north {
                -1 => latitudes.min < bounds.latitudes.min,
                1 => latitudes.max > bounds.latitudes.max,
                _ => false,
            };
            let beyond_longitudes = match east {
                -1 => longitudes.min < bounds.longitudes.min,
                1 => longitudes.max > bounds.longitudes.max,
                _ => false,
            };
            step >= OMITTED_FROM && (beyond_latitudes || beyond_longitudes)
        };
        let mut before = None;
        // Of the largest cells, those on both sides are the same one.
        let is_another = move |cell: &MapCell| before.replace(*cell) != Some(*cell);
        let around = AROUND.into_iter().filter(move |by| !is_omitted(*by));
        around.map(move |(east, north)| cell.neighbour(east, north)).filter(is_another)
    }
}

/// A cell and those around it, steps to the east and north, in Valkey's order.
const AROUND: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

/// Whether a cell and those around it reach to these bounds.
fn reaches(cell: MapCell, bounds: AreaBounds) -> bool {
    let is_short = cell.neighbour(0, 1).latitudes().max < bounds.latitudes.max
        || cell.neighbour(0, -1).latitudes().min > bounds.latitudes.min
        || cell.neighbour(1, 0).longitudes().max < bounds.longitudes.max
        || cell.neighbour(-1, 0).longitudes().min > bounds.longitudes.min;
    !is_short
}

/// The step of cells that are about as large as a circle of this radius, m, at this latitude.
fn estimated_step(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEP_MAX;
    }
    let mut step: i32 = -1;
    let mut doubled = radius;
    while doubled < MAP_MAX {
        doubled *= 2.0;
        step += 1;
    }
    if latitude.abs() > NARROW_FROM {
        step -= 1;
    }
    if latitude.abs() > NARROWER_FROM {
        step -= 1;
    }
    step.clamp(1, STEP_MAX as i32).unsigned_abs()
}

/// The middle of positions on the sphere. The length of the sum does not matter, because only its direction is used.
fn middle(corners: &[Position]) -> Position {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for corner in corners {
        let (longitude, latitude) = (radians(corner.longitude), radians(corner.latitude));
        x += latitude.cos() * longitude.cos();
        y += latitude.cos() * longitude.sin();
        z += latitude.sin();
    }
    // Not `hypot`, which rounds once.
    let flat = f64::sqrt(x * x + y * y);
    Position { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2(flat)) }
}

/// Whether a position is within a polygon on the map: whether a ray from it to the east crosses an odd number of edges.
fn is_within(corners: &[Position], position: Position) -> bool {
    let mut is_within = false;
    let Some(mut last) = corners.last() else { return false };
    for corner in corners {
        let is_between = (corner.latitude > position.latitude) != (last.latitude > position.latitude);
        if is_between {
            let (width, height) = (last.longitude - corner.longitude, last.latitude - corner.latitude);
            let crossing = width * (position.latitude - corner.latitude) / height + corner.longitude;
            is_within ^= position.longitude < crossing;
        }
        last = corner;
    }
    is_within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position { longitude, latitude }
    }

    #[test]
    fn the_larger_the_area_the_larger_its_cells() {
        let steps = [0.0, 1.0, 1_000.0, 200_000.0, 5e6, 2e7, f64::INFINITY].map(|radius| estimated_step(radius, 0.0));
        assert_eq!(steps, [26, 24, 14, 6, 2, 1, 1]);
        assert_eq!([67.0, -81.0].map(|latitude| estimated_step(1_000.0, latitude)), [13, 12]);
    }

    #[test]
    fn few_cells_cover_a_small_area() {
        let area = |radius| SearchArea::around(at(15.0, 37.0), AreaShape::Circle { radius }, Unit::METRE);
        assert_eq!(area(0.0).cells().count(), 1);
        assert!(area(1.0).cells().count() <= 6);
        // Of the largest cells there are four.
        assert_eq!(area(f64::INFINITY).cells().count(), 4);
    }

    #[test]
    fn a_polygon_contains_what_its_edges_surround() {
        let corners = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 3.0), (0.0, 10.0)];
        let corners = corners.map(|(longitude, latitude)| at(longitude, latitude));
        assert!(is_within(&corners, at(5.0, 1.0)) && is_within(&corners, at(1.0, 7.0)));
        assert!(!is_within(&corners, at(5.0, 5.0)) && !is_within(&corners, at(-1.0, 5.0)));
        assert!(!is_within(&[], at(0.0, 0.0)));
    }

    fn any_area() -> impl Strategy<Value = SearchArea> {
        (-150.0..150.0, -60.0..60.0, 0.0..1_000.0, 0.0..1_000.0, 0..3).prop_map(|(longitude, latitude, x, y, kind)| {
            let center = at(longitude, latitude);
            let unit = Unit { metres: 1_000.0 };
            match kind {
                0 => SearchArea::around(center, AreaShape::Circle { radius: x }, unit),
                1 => SearchArea::around(center, AreaShape::Rectangle { width: x, height: y }, unit),
                _ => SearchArea::polygon(vec![
                    center,
                    at(longitude + x / 100.0, latitude),
                    at(longitude, latitude + y / 100.0 + 0.1),
                ]),
            }
        })
    }

    proptest! {
        /// Positions are near the area, so that many are within.
        #[test]
        fn what_is_within_an_area_is_in_its_cells(area in any_area(), x in -12.0..12.0, y in -12.0..12.0) {
            let position = at(area.center.longitude + x, area.center.latitude + y);
            if area.distance(position).is_some() {
                let is_in = |cell: MapCell| {
                    cell.longitudes().contains(position.longitude) && cell.latitudes().contains(position.latitude)
                };
                prop_assert!(area.cells().any(is_in), "{area:?} {position:?}");
            }
        }
    }
}
