//! Commands that Valkey does not have and Fastness adds, beside the generated rows of `facts.rs` and
//! `argument_facts.rs`, which stay what a running reference server says. They stand in the same table in the place that
//! their names have there, so that look-up, arity, ACL categories, COMMAND, HELP and the docs know them as they know
//! the others; [`CommandSpec::is_own`](super::CommandSpec::is_own) marks them.
//!
//! A name is chosen where Valkey is unlikely to want it: a later version's command of the same name would have to win.

use super::argument_facts::ARGUMENTS;
use super::arguments::Kind::{Oneof, PureToken};
use super::arguments::{Argument, arg};
use super::facts::FACTS;
use super::spec::Group::Connection;
use super::spec::{Facts, category as c, fact, flag as f};

/// What `since` says of them.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[rustfmt::skip]
const OWN: &[Facts] = &[
    fact("client|durability", Connection, -2, f::NOSCRIPT | f::LOADING | f::STALE | f::NO_MULTI | f::ALLOW_BUSY, c::SLOW | c::CONNECTION, &[], &[], VERSION),
    fact("client|reads", Connection, -2, f::NOSCRIPT | f::LOADING | f::STALE | f::NO_MULTI | f::ALLOW_BUSY, c::SLOW | c::CONNECTION, &[], &[], VERSION),
];

#[rustfmt::skip]
const OWN_ARGUMENTS: &[(&str, &[Argument])] = &[
    ("client|durability", &[arg("wait-for", Oneof).optional().of(&[arg("sync", PureToken).token("SYNC"), arg("default", PureToken).token("DEFAULT")])]),
    ("client|reads", &[arg("confirmed-by", Oneof).optional().of(&[arg("quorum", PureToken).token("QUORUM"), arg("default", PureToken).token("DEFAULT")])]),
];

/// Whether this is a command of our own.
pub(super) fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| own.name == name)
}

/// All rows, Valkey's and our own, by group and name.
pub(super) fn rows() -> Vec<Facts> {
    let mut rows = FACTS.to_vec();
    for own in OWN {
        let key = |row: &Facts| (row.group.name(), row.name);
        let at = rows.iter().position(|row| key(row) > key(own)).unwrap_or(rows.len());
        rows.insert(at, *own);
    }
    rows
}

/// What the arguments of every command are, by group and name of Valkey's, then our own.
pub(super) fn arguments() -> impl Iterator<Item = &'static (&'static str, &'static [Argument])> {
    ARGUMENTS.iter().chain(OWN_ARGUMENTS)
}

/// What the arguments of the command of this name are.
pub(super) fn arguments_of(name: &str) -> &'static [Argument] {
    arguments().find(|(command, _)| *command == name).map_or(&[], |(_, arguments)| arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn valkeys_rows_stay_as_they_are() {
        let valkeys: Vec<&str> = table().all().iter().filter(|spec| !spec.is_own).map(|spec| spec.name).collect();
        assert_eq!(valkeys, FACTS.iter().map(|row| row.name).collect::<Vec<_>>());
    }

    #[test]
    fn our_own_stand_where_they_belong() {
        let all = table().all();
        let own: Vec<_> = all.iter().filter(|spec| spec.is_own).collect();
        assert_eq!(own.len(), OWN.len());
        for spec in own {
            let neighbours = all[spec.index - 1..=spec.index + 1].iter().map(|spec| (spec.group.name(), spec.name));
            assert!(neighbours.is_sorted(), "{}", spec.name);
        }
    }
}
