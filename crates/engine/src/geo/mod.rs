//! The geo commands: positions on the earth as the scores of sorted sets.
//!
//! A geo set is a sorted set, and every command of sorted sets works on it. It has no effects of its own: GEOADD and
//! the commands that store what they find change scores.
//!
//! - [`geohash`]: positions, their scores, and the cells of the map. [`distance`]: distances and their units.
//! - [`area`]: what is searched, and the cells that cover it. `find`: the members in it, their order.
//! - `arguments`: positions and lengths among the arguments. `options`: the options of searches.
//! - `reply`: coordinates and found members in replies.
//! - [`add`], [`get`], [`search`], [`radius`]: the commands.

pub mod add;
pub mod area;
mod arguments;
pub mod distance;
mod find;
pub mod geohash;
pub mod get;
mod options;
pub mod radius;
mod reply;
pub mod search;
