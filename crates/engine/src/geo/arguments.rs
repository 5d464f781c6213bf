//! Positions and lengths among the arguments, with Valkey's texts for what is none.

use super::area::AreaShape;
use super::distance::Unit;
use super::geohash::{LATITUDES, LONGITUDES, Position};
use crate::error::CommandError;
use crate::zset::score::parse;
use fastness_resp::Args;
use fastness_resp::number::parse_int;

/// A longitude and a latitude.
pub(super) fn position(args: Args<'_>) -> Result<Position, CommandError> {
    let [longitude, latitude] = [args.get(0), args.get(1)].map(|text| parse(text).ok_or(CommandError::NotAFloat));
    let (longitude, latitude) = (longitude?, latitude?);
    if LONGITUDES.contains(longitude) && LATITUDES.contains(latitude) {
        return Ok(Position { longitude, latitude });
    }
    Err(CommandError::Text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// A unit of lengths.
pub(super) fn unit(name: &[u8]) -> Result<Unit, CommandError> {
    Unit::named(name).ok_or(CommandError::Fixed("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// A radius and its unit.
pub(super) fn circle(args: Args<'_>) -> Result<(AreaShape, Unit), CommandError> {
    let radius = parse(args.get(0)).ok_or(CommandError::Fixed("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(CommandError::Fixed("ERR radius cannot be negative"));
    }
    Ok((AreaShape::Circle { radius }, unit(args.get(1))?))
}

/// A width, a height and their unit.
pub(super) fn rectangle(args: Args<'_>) -> Result<(AreaShape, Unit), CommandError> {
    let width = parse(args.get(0)).ok_or(CommandError::Fixed("ERR need numeric width"))?;
    let height = parse(args.get(1)).ok_or(CommandError::Fixed("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::Fixed("ERR height or width cannot be negative"));
    }
    Ok((AreaShape::Rectangle { width, height }, unit(args.get(2))?))
}

/// The corners of a polygon: their number, and so many positions.
pub(super) fn corners(args: Args<'_>) -> Result<Vec<Position>, CommandError> {
    /// The least number of corners.
    const CORNERS_MIN: i32 = 3;
    let number = parse_int(args.get(0)).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or(CommandError::Fixed("ERR invalid number of vertices"))?;
    let positions = args.skip(1);
    let given = usize::try_from(number).ok().filter(|given| number >= CORNERS_MIN && *given <= positions.len() / 2);
    let given = given.ok_or(CommandError::Fixed("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"))?;
    (0..given).map(|corner| position(positions.skip(2 * corner))).collect()
}
