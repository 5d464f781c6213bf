use crate::command::{spec::Flags, table};
use fastness_resp::Args;

#[test]
fn knows_every_command_of_the_reference() {
    let valkeys = || table().all().iter().filter(|spec| !spec.is_own);
    assert_eq!(valkeys().count(), 399);
    assert_eq!(valkeys().filter(|spec| !spec.name.contains('|')).count(), 257);
    assert_eq!(table().implemented().count() + table().missing().count(), table().all().len());
}

#[test]
fn every_row_is_found_by_its_name_in_any_case() {
    for (index, spec) in table().all().iter().enumerate() {
        assert_eq!(spec.index, index);
        assert_eq!(table().named(spec.name.as_bytes()).map(|found| found.index), Some(index), "{}", spec.name);
        assert_eq!(
            table().named(spec.name.to_uppercase().as_bytes()).map(|found| found.index),
            Some(index),
            "{}",
            spec.name
        );
    }
    assert!(table().named(b"get ").is_none());
    assert!(table().named(b"object|nosuch").is_none());
}

#[test]
fn subcommands_belong_to_their_container() {
    for spec in table().all() {
        let container = spec.name.split('|').next().expect("a split has a first part");
        let owner = table().named(container.as_bytes()).expect("containers are rows");
        assert_eq!(owner.subcommands.contains(&spec.index), spec.name.contains('|'), "{}", spec.name);
    }
}

#[test]
fn what_is_implemented_says_what_it_does() {
    for spec in table().implemented().filter(|spec| !spec.is_container()) {
        assert!(spec.summary.ends_with('.'), "{}: no summary", spec.name);
    }
}

#[test]
fn look_up_gives_what_runs_and_nothing_else() {
    for spec in table().all().iter().filter(|spec| !spec.is_container()) {
        let mut words: Vec<&[u8]> = spec.name.split('|').map(str::as_bytes).collect();
        words.resize(words.len().max(spec.arity.unsigned_abs().into()), b"x");
        match table().look_up(Args::slices(&words)) {
            Ok(found) => assert!(found.index == spec.index && spec.is_implemented, "{}", spec.name),
            Err(error) => assert!(!spec.is_implemented, "{}: {error}", spec.name),
        }
    }
}

#[test]
fn writers_are_no_readers() {
    for spec in table().all() {
        assert!(!(spec.flags.has(Flags::WRITE) && spec.flags.has(Flags::READONLY)), "{}", spec.name);
    }
}

#[test]
fn older_clients_see_one_range() {
    let range = |name: &str| {
        let positions = table().named(name.as_bytes()).expect("Valkey knows it").positions;
        (positions.first, positions.last, positions.step)
    };
    assert_eq!(range("get"), (1, 1, 1));
    assert_eq!(range("mset"), (1, -1, 2));
    assert_eq!(range("copy"), (1, 2, 1));
    assert_eq!(range("sunionstore"), (1, -1, 1));
    assert_eq!(range("zunionstore"), (1, 1, 1));
    assert_eq!(range("xread"), (0, 0, 0));
    assert_eq!(range("ping"), (0, 0, 0));
}
