//! The arguments of searches: where they begin, the area, and the options, in any order.
//!
//! The center of an area may be a member. The geo set is found before the arguments are read, so that errors are found
//! in Valkey's order.

use super::area::{AreaShape, SearchArea};
use super::arguments::{circle, corners, position, rectangle};
use super::distance::Unit;
use super::find::{DistanceOrder, Selection};
use super::geohash::{Position, position_of};
use super::reply::With;
use crate::command::parse::integer;
use crate::error::CommandError;
use crate::zset::SortedSet;
use fastness_resp::Args;

/// Where a command's arguments say which area it searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AreaForm {
    /// First a position, a radius and a unit.
    AroundPosition,
    /// First a member, a radius and a unit.
    AroundMember,
    /// Among the options.
    Options,
}

/// Where a command stores what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreForm {
    /// It replies instead.
    Never,
    /// At the key of an option.
    Option,
    /// At its first key.
    Always,
}

/// What the name of a command fixes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchForm {
    pub(super) area: AreaForm,
    pub(super) store: StoreForm,
}

/// Where found members are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreTarget<'a> {
    pub(super) key: &'a [u8],
    /// Their distances are their scores.
    pub(super) distances: bool,
}

/// A parsed search.
#[derive(Debug)]
pub(super) struct Search<'a> {
    /// Missing if the geo set is.
    pub(super) area: Option<SearchArea>,
    pub(super) selection: Selection,
    pub(super) with: With,
    pub(super) store: Option<StoreTarget<'a>>,
}

/// The arguments as far as they are read.
#[derive(Debug, Default)]
struct Parsed<'a> {
    /// FROMMEMBER
    from_member: bool,
    /// FROMLONLAT
    from_position: bool,
    /// Missing if it is that of a member of a missing set.
    center: Option<Position>,
    shape: Option<(AreaShape, Unit)>,
    polygon: Option<Vec<Position>>,
    count: Option<i64>,
    any: bool,
    order: Option<DistanceOrder>,
    with: With,
    store: Option<&'a [u8]>,
    stores_distances: bool,
}

impl<'a> Search<'a> {
    /// Parses the arguments of a command, of which the first is its name.
    pub(super) fn parse(
        args: Args<'a>,
        form: SearchForm,
        set: Option<SortedSet<'_>>,
    ) -> Result<Search<'a>, CommandError> {
        let mut parsed = Parsed::default();
        let options = match form.area {
            AreaForm::AroundPosition => {
                parsed.center = Some(position(args.skip(2))?);
                parsed.shape = Some(circle(args.skip(4))?);
                args.skip(6)
            }
            AreaForm::AroundMember => {
                if let Some(set) = set {
                    parsed.center = Some(position_of_member(set, args.get(2))?);
                    parsed.shape = Some(circle(args.skip(3))?);
                }
                args.skip(5)
            }
            AreaForm::Options if form.store == StoreForm::Always => {
                parsed.store = Some(args.get(1));
                args.skip(3)
            }
            AreaForm::Options => args.skip(2),
        };
        let mut at = 0;
        while at < options.len() {
            at += parsed.option(options.skip(at), form, set)?;
        }
        parsed.finish(args.get(0), form)
    }
}

impl<'a> Parsed<'a> {
    fn is_centered(&self) -> bool {
        self.from_member || self.from_position
    }

    /// Reads an option, and returns how many arguments it has, its name included.
    fn option(&mut self, args: Args<'a>, form: SearchForm, set: Option<SortedSet<'_>>) -> Result<usize, CommandError> {
        let left = args.len() - 1;
        match args.get(0).to_ascii_lowercase().as_slice() {
            b"withdist" => self.with.distance = true,
            b"withhash" => self.with.hash = true,
            b"withcoord" => self.with.position = true,
            b"any" => self.any = true,
            b"asc" => self.order = Some(DistanceOrder::Ascending),
            b"desc" => self.order = Some(DistanceOrder::Descending),
            b"count" if left >= 1 => {
                let count = integer(args.get(1))?;
                if count <= 0 {
                    return Err(CommandError::Fixed("ERR COUNT must be > 0"));
                }
                self.count = Some(count);
                return Ok(2);
            }
            name @ (b"store" | b"storedist") if left >= 1 && form.store == StoreForm::Option => {
                self.store = Some(args.get(1));
                self.stores_distances = name == b"storedist";
                return Ok(2);
            }
            b"storedist" if form.store == StoreForm::Always => self.stores_distances = true,
            name if form.area == AreaForm::Options => return self.area(name, args.skip(1), set),
            _ => return Err(CommandError::Syntax),
        }
        Ok(1)
    }

    /// Reads an option that says what is searched: its name is known, and its arguments follow.
    fn area(&mut self, name: &[u8], args: Args<'a>, set: Option<SortedSet<'_>>) -> Result<usize, CommandError> {
        let given = args.len();
        let has = |shape: fn(&AreaShape) -> bool| self.shape.as_ref().is_some_and(|(held, _)| shape(held));
        let is_circle = has(|shape| matches!(shape, AreaShape::Circle { .. }));
        let is_rectangle = has(|shape| matches!(shape, AreaShape::Rectangle { .. }));
        let is_polygon = self.polygon.is_some();
        match name {
            b"frommember" if given >= 1 && !self.from_position && !is_polygon => {
                self.center = set.map(|set| position_of_member(set, args.get(0))).transpose()?;
                self.from_member = true;
                Ok(2)
            }
            b"fromlonlat" if given >= 2 && !self.from_member && !is_polygon => {
                self.center = Some(position(args)?);
                self.from_position = true;
                Ok(3)
            }
            b"byradius" if given >= 2 && !is_rectangle && !is_polygon => {
                self.shape = Some(circle(args)?);
                Ok(3)
            }
            b"bybox" if given >= 3 && !is_circle && !is_polygon => {
                self.shape = Some(rectangle(args)?);
                Ok(4)
            }
            b"bypolygon" if given >= 2 && self.shape.is_none() && !self.is_centered() => {
                let corners = corners(args)?;
                let read = 2 + 2 * corners.len();
                self.polygon = Some(corners);
                Ok(read)
            }
            _ => Err(CommandError::Syntax),
        }
    }

    /// Checks what the options say together. `name`: the command's, as the client wrote it.
    fn finish(self, name: &[u8], form: SearchForm) -> Result<Search<'a>, CommandError> {
        let With { distance, hash, position } = self.with;
        if self.store.is_some() && (distance || hash || position) {
            return Err(CommandError::Fixed(match form.store {
                StoreForm::Always => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
                StoreForm::Never | StoreForm::Option => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
            }));
        }
        let missing = if form.area != AreaForm::Options || self.polygon.is_some() {
            None
        } else if !self.is_centered() {
            Some("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ")
        } else if self.shape.is_none() {
            Some("ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for ")
        } else {
            None
        };
        if let Some(text) = missing {
            return Err(CommandError::quoting(text, name, ""));
        }
        if self.any && self.count.is_none() {
            return Err(CommandError::Fixed("ERR the ANY argument requires COUNT argument"));
        }
        let area = match (self.polygon, self.center, self.shape) {
            (Some(corners), ..) => Some(SearchArea::polygon(corners)),
            (None, Some(center), Some((shape, unit))) => Some(SearchArea::around(center, shape, unit)),
            _ => None,
        };
        let count = self.count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let store = self.store.map(|key| StoreTarget { key, distances: self.stores_distances });
        let selection = Selection { count, any: self.any, order: self.order };
        Ok(Search { area, selection, with: self.with, store })
    }
}

fn position_of_member(set: SortedSet<'_>, name: &[u8]) -> Result<Position, CommandError> {
    let score = set.score(name);
    score.map(position_of).ok_or_else(|| CommandError::quoting("ERR member ", name, " does not exist"))
}
