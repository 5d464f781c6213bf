//! GEOSEARCH, GEOSEARCHSTORE, and the code that searches for every command.

use super::find::find;
use super::options::{AreaForm, Search, SearchForm, StoreForm};
use super::reply::reply_found;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::zset::look_up::read;
use fastness_resp::Args;

/// GEOSEARCH key \[FROMMEMBER member|FROMLONLAT longitude latitude] BYRADIUS radius unit|BYBOX width height
/// unit|BYPOLYGON number longitude latitude ... \[ASC|DESC] \[COUNT count \[ANY]] \[WITHCOORD] \[WITHDIST] \[WITHHASH]
pub const GEOSEARCH: Command = Command::data(
    "geosearch",
    "<key> [FROMMEMBER <member>|FROMLONLAT <longitude> <latitude>] \
     <BYRADIUS <radius> M|KM|FT|MI|BYBOX <width> <height> M|KM|FT|MI|\
     BYPOLYGON <num-vertices> <longitude> <latitude> [<longitude> <latitude> ...]> \
     [ASC|DESC] [COUNT <count> [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    "Returns the members of a geo set within a circle, a rectangle or a polygon.",
    |engine, args, env| search(engine, args, env, SearchForm { area: AreaForm::Options, store: StoreForm::Never }),
);
/// GEOSEARCHSTORE destination source \[FROMMEMBER member|FROMLONLAT longitude latitude] BYRADIUS radius unit|BYBOX width
/// height unit|BYPOLYGON number longitude latitude ... \[ASC|DESC] \[COUNT count \[ANY]] \[STOREDIST]
pub const GEOSEARCHSTORE: Command = Command::data(
    "geosearchstore",
    "<destination> <source> [FROMMEMBER <member>|FROMLONLAT <longitude> <latitude>] \
     <BYRADIUS <radius> M|KM|FT|MI|BYBOX <width> <height> M|KM|FT|MI|\
     BYPOLYGON <num-vertices> <longitude> <latitude> [<longitude> <latitude> ...]> \
     [ASC|DESC] [COUNT <count> [ANY]] [STOREDIST]",
    "Stores the members of a geo set within a circle, a rectangle or a polygon in a sorted set.",
    |engine, args, env| search(engine, args, env, SearchForm { area: AreaForm::Options, store: StoreForm::Always }),
);

/// Runs a search, and replies with the members or stores them.
pub(super) fn search(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    form: SearchForm,
) -> Result<(), CommandError> {
    let source = match form.store {
        StoreForm::Always => engine.key(args.get(2)),
        StoreForm::Never | StoreForm::Option => engine.first_key(args, env),
    };
    let set = read(engine, &source, env)?;
    let search = Search::parse(args, form, set)?;
    let found = match (set, &search.area) {
        (Some(set), Some(area)) => find(set, area, search.selection),
        _ => Vec::new(),
    };
    let Some(store) = search.store else {
        reply_found(&found, search.with, env.reply);
        return Ok(());
    };
    let score = |distance, score| if store.distances { distance } else { score };
    let members: Vec<(Vec<u8>, f64)> =
        found.iter().map(|one| (one.name.to_vec(), score(one.distance, one.score))).collect();
    engine.put_scores(&engine.key(store.key), &members, env);
    env.reply.integer(members.len() as i64);
    Ok(())
}
