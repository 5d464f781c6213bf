//! GEOSEARCH, GEOSEARCHSTORE, and the code that searches for every command.

use super::find::find;
use super::options::{AreaForm, Search, SearchForm, StoreForm};
use super::reply::reply_found;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
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
/// GEOSEARCHSTORE destination source \[FROMMEMBER member|FROMLONLAT longitude latitude] BYRADIUS radius unit|BYBOX
/// width height unit|BYPOLYGON number longitude latitude ... \[ASC|DESC] \[COUNT count \[ANY]] \[STOREDIST]
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
    let destination = engine.key(store.key);
    let existed = engine.put_scores(&destination, &members, env);
    let event = if form.store == StoreForm::Always { "geosearchstore" } else { "georadiusstore" };
    engine.notify_stored(NotifyClasses::ZSET, event, &destination, existed);
    env.reply.integer(members.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    const SICILY: &str = "GEOADD g 13.361389 38.115556 palermo 15.087269 37.502669 catania => :2";
    /// Members in the cells around one.
    const COMPASS: &str = "GEOADD c 0.1 0.1 center 0.1 9 n 0.1 -9 s 9 0.1 e -9 0.1 w 9 9 ne -9 9 nw 9 -9 se -9 -9 sw \
                           0.2 0.1 b => :10";

    #[test]
    fn areas() {
        check(&format!(
            "{SICILY} | GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km WITHDIST => *2 *2 $7 palermo $8 190.4424 *2 $7 \
             catania $7 56.4413 | GEOSEARCH g FROMMEMBER palermo BYRADIUS 100 mi => *1 $7 palermo"
        ));
        check(&format!(
            "{SICILY} | GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST => *2 *2 $7 catania $7 56.4413 *2 \
             $7 palermo $8 190.4424 | GEOSEARCH g BYBOX 400 100 km FROMLONLAT 15 37 => *0"
        ));
        check(&format!(
            "{SICILY} | GEOSEARCH g BYPOLYGON 4 13 37 16 37 16 38.2 13 38.2 WITHDIST => *2 *2 $7 catania $10 \
             53128.1363 *2 $7 palermo $11 114737.1699 | GEOSEARCH g WITHDIST BYPOLYGON 3 13 37 16 37 16 38.2 => *1 *2 \
             $7 catania $10 13288.8523"
        ));
        // Around a pole, which is beyond the map.
        check(
            "GEOADD p 10 84.5 a -100 84.5 b 10 80 c => :3 | GEOSEARCH p BYPOLYGON 6 -170 84 0 84 170 84 170 85 0 \
             85 -170 85 => *2 $1 a $1 b",
        );
        // The last of two counts.
        check(&format!(
            "{SICILY} | GEOSEARCH g FROMLONLAT 0 0 FROMLONLAT 15 37 BYRADIUS 1 m BYRADIUS 100 km => *1 $7 catania"
        ));
    }

    #[test]
    fn the_cell_of_the_center_is_first_and_then_those_around_it() {
        let all = "*10 $6 center $1 b $1 e $1 n $2 ne $1 s $2 se $1 w $2 nw $2 sw";
        check(&format!(
            "{COMPASS} | GEOSEARCH c FROMLONLAT 0.1 0.1 BYRADIUS 2000 km => {all} | GEOSEARCH c FROMLONLAT 0 0 \
             BYRADIUS 25000 km => {all} | GEOSEARCH c FROMMEMBER ne BYRADIUS 1100 km => *3 $1 e $1 n $2 ne"
        ));
        check(
            "GEOADD w 180 85.05112878 ne -180 85.05112878 nw => :2 | GEOSEARCH w FROMLONLAT -180 85.05112878 BYRADIUS \
             1 km => *1 $2 nw",
        );
    }

    #[test]
    fn the_nearest_are_counted_unless_any_are_wanted() {
        let search = "GEOSEARCH c FROMLONLAT 9 9 BYRADIUS 2000 km COUNT 2";
        check(&format!("{COMPASS} | {search} => *2 $2 ne $1 n | {search} ANY => *2 $6 center $1 b"));
        check(&format!("{COMPASS} | {search} ANY ASC => *2 $1 b $6 center | {search} DESC => *2 $2 nw $6 center"));
    }

    #[test]
    fn replies_have_what_is_asked_for() {
        let search = "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 100 km";
        let mut bench = Bench::new();
        bench.script(&format!(
            "{SICILY} | {search} WITHCOORD WITHHASH WITHDIST => *1 *4 $7 catania $7 56.4413 :3479447370796909 *2 $20 \
             15.08726745843887329 $20 37.50266842333162032 | {search} WITHHASH => *1 *2 $7 catania :3479447370796909"
        ));
        bench.protocol = Protocol::Resp3;
        bench.script(&format!(
            "{search} WITHCOORD WITHDIST => *1 *3 $7 catania $7 56.4413 *2 ,15.08726745843887329 ,37.50266842333162032"
        ));
    }

    #[test]
    fn stores() {
        check(&format!(
            "SET d x PX 50 => +OK | {SICILY} | GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 => :1 | \
             ZRANGE d 0 -1 WITHSCORES => *2 $7 catania $16 3479447370796909 | PTTL d => :-1"
        ));
        check(&format!(
            "{SICILY} | GEOSEARCHSTORE d g FROMMEMBER palermo BYRADIUS 200 km STOREDIST => :2 | ZRANGE d 0 -1 \
             WITHSCORES => *4 $7 palermo $1 0 $7 catania $18 166.27415156960032"
        ));
        check(&format!(
            "{SICILY} | SET d x => +OK | GEOSEARCHSTORE d g FROMLONLAT 0 0 BYRADIUS 1 km => :0 | EXISTS d => :0 | \
             GEOSEARCHSTORE g g FROMMEMBER catania BYRADIUS 1 m => :1 | ZCARD g => :1"
        ));
        check("SET d x => +OK | GEOSEARCHSTORE d none FROMMEMBER a BYRADIUS 1 m => :0 | EXISTS d => :0");
    }

    #[test]
    fn a_missing_set_is_searched_without_success() {
        check("GEOSEARCH none FROMMEMBER a BYRADIUS 1 m => *0 | GEOSEARCH none BYPOLYGON 3 0 0 1 0 1 1 => *0");
        check(
            "GEOSEARCH none FROMLONLAT 1 99 BYRADIUS 1 m => -ERR invalid longitude,latitude pair 1.000000,99.000000 | \
             GEOSEARCH none FROMMEMBER a BYRADIUS 1 x => -ERR unsupported unit provided. please use M, KM, FT, MI",
        );
    }

    #[test]
    fn refusals() {
        for wrong in [
            "FROMLONLAT 1 1 BYPOLYGON 3 0 0 1 0 1 1",
            "FROMMEMBER palermo BYPOLYGON 3 0 0 1 0 1 1",
            "BYPOLYGON 3 0 0 1 0 1 1 FROMLONLAT 1 1",
            "BYPOLYGON 3 0 0 1 0 1 1 BYRADIUS 1 m",
            "BYRADIUS 1 m BYPOLYGON 3 0 0 1 0 1 1",
            "BYPOLYGON 3 0 0 1 0 1 1 1",
            "FROMMEMBER palermo FROMLONLAT 1 1 BYRADIUS 1 m",
            "FROMLONLAT 1 1 FROMMEMBER palermo BYRADIUS 1 m",
            "FROMLONLAT 1 1 BYRADIUS 1 m BYBOX 1 1 m",
            "FROMLONLAT 1 1 BYBOX 1 1 m BYRADIUS 1 m",
            "FROMLONLAT 1 1 BYRADIUS 1",
            "FROMLONLAT 1 1 BYRADIUS 1 m STORE x",
            "FROMLONLAT 1 1 BYRADIUS 1 m STOREDIST",
            "FROMLONLAT 1 1 BYRADIUS 1 m COUNT",
            "ASC ASC ASC BYPOLYGON 3",
        ] {
            check(&format!("{SICILY} | GEOSEARCH g {wrong} => -ERR syntax error"));
        }
        for (wrong, error) in [
            ("FROMMEMBER nosuch BYRADIUS x m", "member nosuch does not exist"),
            ("FROMLONLAT 1 1 BYRADIUS x x", "need numeric radius"),
            ("FROMLONLAT 1 1 BYRADIUS -1 x", "radius cannot be negative"),
            ("FROMLONLAT 1 1 BYRADIUS 1 x", "unsupported unit provided. please use M, KM, FT, MI"),
            ("FROMLONLAT 1 1 BYBOX x x m", "need numeric width"),
            ("FROMLONLAT 1 1 BYBOX 1 x m", "need numeric height"),
            ("FROMLONLAT 1 1 BYBOX 1 -1 x", "height or width cannot be negative"),
            ("FROMLONLAT 1 1 BYRADIUS 1 m COUNT 0", "COUNT must be > 0"),
            ("FROMLONLAT 1 1 BYRADIUS 1 m COUNT x", "value is not an integer or out of range"),
            ("FROMLONLAT 1 1 BYRADIUS 1 m ANY", "the ANY argument requires COUNT argument"),
            ("BYPOLYGON x 0 0 1 0 1 1", "invalid number of vertices"),
            ("BYPOLYGON 2147483648 0 0 1 0 1 1", "invalid number of vertices"),
            ("BYPOLYGON 4 0 0 1 0 1 1", "GEOSEARCH BYPOLYGON must have at least 3 vertices"),
            ("BYPOLYGON -3 0 0 1 0 1 1", "GEOSEARCH BYPOLYGON must have at least 3 vertices"),
            ("BYPOLYGON 3 0 0 1 0 1 99", "invalid longitude,latitude pair 1.000000,99.000000"),
            ("ASC ASC ASC ASC ANY", "exactly one of FROMMEMBER or FROMLONLAT can be specified for GeoSearch"),
            (
                "FROMMEMBER palermo ASC ASC ANY",
                "exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for GeoSearch",
            ),
        ] {
            check(&format!("{SICILY} | GeoSearch g {wrong} => -ERR {error}"));
        }
        check(
            "GEOSEARCHSTORE d g FROMMEMBER a ASC ASC WITHDIST => -ERR GEOSEARCHSTORE is not compatible with WITHDIST, \
             WITHHASH and WITHCOORD options",
        );
        check(
            "SET s 1 => +OK | GEOSEARCH s x x x x x => -WRONGTYPE Operation against a key holding the wrong kind of \
             value",
        );
    }

    #[test]
    fn large_sets_are_searched_as_small_ones_are() {
        let mut bench = Bench::new();
        for i in 0..2_000 {
            let (longitude, latitude) = (f64::from(i % 50) * 0.1, f64::from(i / 50) * 0.1);
            let name = format!("m{i}");
            bench.run(&[
                b"GEOADD",
                b"g",
                longitude.to_string().as_bytes(),
                latitude.to_string().as_bytes(),
                name.as_bytes(),
            ]);
        }
        bench.script(
            "OBJECT ENCODING g => $8 skiplist | GEOSEARCHSTORE d g FROMLONLAT 2 2 BYBOX 45 45 km => :25 | OBJECT \
             ENCODING d => $8 listpack | GEOSEARCHSTORE e g FROMLONLAT 2 2 BYRADIUS 500 km => :2000 | ZCARD e => :2000",
        );
        let search = "FROMLONLAT 2 2 BYBOX 25 25 km => :9";
        bench.script(&format!("GEOSEARCHSTORE f d {search} | GEOSEARCHSTORE f g {search}"));
    }
}
