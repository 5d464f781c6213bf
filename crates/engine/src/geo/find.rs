//! The members of a geo set in an area, and their order.

use super::area::SearchArea;
use super::geohash::{Position, position_of};
use crate::zset::SortedSet;

/// A member in an area.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundMember<'a> {
    pub(super) name: &'a [u8],
    pub(super) score: f64,
    pub(super) position: Position,
    /// From the center of the area, in its unit.
    pub(super) distance: f64,
}

/// The order of distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DistanceOrder {
    /// The nearest first.
    Ascending,
    /// The farthest first.
    Descending,
}

/// How many members are returned, and which.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Selection {
    /// COUNT
    pub(super) count: Option<usize>,
    /// ANY: the first ones that are found, instead of the nearest.
    pub(super) any: bool,
    /// ASC, DESC
    pub(super) order: Option<DistanceOrder>,
}

/// The members in an area. Without an order, they are in the order of the area's cells, and of scores in each.
pub(super) fn find<'a>(set: SortedSet<'a>, area: &SearchArea, selection: Selection) -> Vec<FoundMember<'a>> {
    let Selection { count, any, order } = selection;
    let mut found: Vec<FoundMember<'a>> = within(set, area).take(count.filter(|_| any).unwrap_or(usize::MAX)).collect();
    // The nearest of all are wanted, if not any.
    let order = order.or(count.filter(|_| !any).map(|_| DistanceOrder::Ascending));
    // Equal distances stay in the order in which they were found. With COUNT, Valkey's order of them is not specified.
    match order {
        None => {}
        Some(DistanceOrder::Ascending) => found.sort_by(|one, other| one.distance.total_cmp(&other.distance)),
        Some(DistanceOrder::Descending) => found.sort_by(|one, other| other.distance.total_cmp(&one.distance)),
    }
    found.truncate(count.unwrap_or(usize::MAX));
    let metres = area.unit().metres;
    found.iter_mut().for_each(|one| one.distance /= metres);
    found
}

/// The members in an area with their distances in metres.
fn within<'a>(set: SortedSet<'a>, area: &SearchArea) -> impl Iterator<Item = FoundMember<'a>> {
    let members = area.cells().flat_map(move |cell| set.range(set.with_scores(&cell.scores()), false));
    members.filter_map(|(name, score)| {
        let position = position_of(score);
        let distance = area.distance(position)?;
        Some(FoundMember { name, score, position, distance })
    })
}
