//! GEORADIUS, GEORADIUS_RO, GEORADIUSBYMEMBER, GEORADIUSBYMEMBER_RO: older forms of GEOSEARCH and GEOSEARCHSTORE.

use super::options::{AreaForm, SearchForm, StoreForm};
use super::search::search;
use crate::command::Command;

/// GEORADIUS key longitude latitude radius unit \[WITHCOORD] \[WITHDIST] \[WITHHASH] \[COUNT count \[ANY]] \[ASC|DESC]
/// \[STORE key|STOREDIST key]
pub const GEORADIUS: Command = Command::data(
    "georadius",
    "<key> <longitude> <latitude> <radius> M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT <count> [ANY]] \
     [ASC|DESC] [STORE <key>|STOREDIST <key>]",
    "Returns or stores the members of a geo set within a radius of a position; an old form of GEOSEARCH.",
    |engine, args, env| search(engine, args, env, AROUND_POSITION),
);
/// GEORADIUS_RO key longitude latitude radius unit \[WITHCOORD] \[WITHDIST] \[WITHHASH] \[COUNT count \[ANY]]
/// \[ASC|DESC]
pub const GEORADIUS_RO: Command = Command::data(
    "georadius_ro",
    "<key> <longitude> <latitude> <radius> M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT <count> [ANY]] \
     [ASC|DESC]",
    "Returns the members of a geo set within a radius of a position; an old form of GEOSEARCH.",
    |engine, args, env| search(engine, args, env, SearchForm { store: StoreForm::Never, ..AROUND_POSITION }),
);
/// GEORADIUSBYMEMBER key member radius unit \[WITHCOORD] \[WITHDIST] \[WITHHASH] \[COUNT count \[ANY]] \[ASC|DESC]
/// \[STORE key|STOREDIST key]
pub const GEORADIUSBYMEMBER: Command = Command::data(
    "georadiusbymember",
    "<key> <member> <radius> M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT <count> [ANY]] [ASC|DESC] \
     [STORE <key>|STOREDIST <key>]",
    "Returns or stores the members of a geo set within a radius of a member; an old form of GEOSEARCH.",
    |engine, args, env| search(engine, args, env, AROUND_MEMBER),
);
/// GEORADIUSBYMEMBER_RO key member radius unit \[WITHCOORD] \[WITHDIST] \[WITHHASH] \[COUNT count \[ANY]] \[ASC|DESC]
pub const GEORADIUSBYMEMBER_RO: Command = Command::data(
    "georadiusbymember_ro",
    "<key> <member> <radius> M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT <count> [ANY]] [ASC|DESC]",
    "Returns the members of a geo set within a radius of a member; an old form of GEOSEARCH.",
    |engine, args, env| search(engine, args, env, SearchForm { store: StoreForm::Never, ..AROUND_MEMBER }),
);

const AROUND_POSITION: SearchForm = SearchForm { area: AreaForm::AroundPosition, store: StoreForm::Option };
const AROUND_MEMBER: SearchForm = SearchForm { area: AreaForm::AroundMember, store: StoreForm::Option };

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    const SICILY: &str = "GEOADD g 13.361389 38.115556 palermo 15.087269 37.502669 catania => :2";

    #[test]
    fn around_positions_and_members() {
        check(&format!(
            "{SICILY} | GEORADIUS g 15 37 200 km WITHDIST => *2 *2 $7 palermo $8 190.4424 *2 $7 catania $7 56.4413 | \
             GEORADIUS_RO g 15 37 200 km DESC => *2 $7 palermo $7 catania | GEORADIUS g 15 37 200 km COUNT 1 => *1 $7 \
             catania"
        ));
        check(&format!(
            "{SICILY} | GEORADIUSBYMEMBER g palermo 200 km WITHDIST => *2 *2 $7 palermo $6 0.0000 *2 $7 catania $8 \
             166.2742 | GEORADIUSBYMEMBER_RO g palermo 100 km => *1 $7 palermo"
        ));
        check("GEORADIUS none 15 37 1 m => *0 | GEORADIUSBYMEMBER none a x x => *0");
    }

    #[test]
    fn stores_at_the_last_key() {
        check(&format!(
            "{SICILY} | GEORADIUS g 15 37 200 km STORE a STOREDIST d => :2 | EXISTS a => :0 | ZRANGE d 0 -1 WITHSCORES \
             => *4 $7 catania $16 56.4412578701582 $7 palermo $18 190.44242984775784"
        ));
        check(&format!(
            "{SICILY} | GEORADIUSBYMEMBER g catania 1 km STOREDIST a STORE d => :1 | ZRANGE d 0 -1 WITHSCORES => *2 $7 \
             catania $16 3479447370796909 | GEORADIUSBYMEMBER none m x x STORE d => :0 | EXISTS d => :0"
        ));
        let mut bench = Bench::new();
        bench.script(SICILY);
        bench.effects.clear();
        bench.script("GEORADIUS g 15 37 200 km => *2 $7 palermo $7 catania | GEORADIUS g 0 0 1 m STORE d => :0");
        assert!(bench.effects.is_empty());
    }

    #[test]
    fn refusals() {
        for wrong in [
            "GEORADIUS g 15 37 1 m STORE",
            "GEORADIUS g 15 37 1 m FROMMEMBER palermo",
            "GEORADIUS_RO g 15 37 1 m STORE d",
            "GEORADIUSBYMEMBER_RO g palermo 1 m STOREDIST d",
            "GEORADIUSBYMEMBER none palermo x x FOO",
        ] {
            check(&format!("{SICILY} | {wrong} => -ERR syntax error"));
        }
        check(&format!(
            "{SICILY} | GEORADIUS g 15 37 1 m STORE d WITHDIST => -ERR STORE option in GEORADIUS is not compatible \
             with WITHDIST, WITHHASH and WITHCOORD options | GEORADIUSBYMEMBER g nosuch x x => -ERR member nosuch does \
             not exist | GEORADIUS none 1 99 x x FOO => -ERR invalid longitude,latitude pair 1.000000,99.000000"
        ));
    }
}
