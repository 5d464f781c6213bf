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
