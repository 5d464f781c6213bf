//! Code that is compiled in only for tests is not in the shipped binary: planted bugs, failpoints, a data type.
//!
//! `make build` and `make install` build `-p fastness`; cargo reports which features that enables in its dependencies.
//! The makefile checks the finished binary as well.

#![allow(clippy::unwrap_used)]

use std::process::Command;

/// Features that only the test kit asks for, as `cargo tree` names them.
const TESTS_ALONE: [&str; 3] =
    ["fastness-types feature \"plants\"", "fail feature \"failpoints\"", "fastness-engine feature \"test-type\""];

/// Features that only the fuzz targets ask for.
const FUZZING_ALONE: [&str; 4] = [
    "fastness-engine feature \"fuzzing\"",
    "fastness-log feature \"fuzzing\"",
    "fastness-consensus feature \"fuzzing\"",
    "fastness-server feature \"fuzzing\"",
];

/// The features that building a package enables, without those of its tests.
fn features(package: &str) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["tree", "--locked", "--offline", "--edges", "normal,build,features", "--package", package];
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_shipped_binary_has_nothing_that_is_for_tests_alone() {
    let (shipped, tests) = (features("fastness"), features("fastness-testkit"));
    for feature in TESTS_ALONE {
        assert!(tests.contains(feature), "the test kit does not ask for {feature}: this test would find nothing");
        assert!(!shipped.contains(feature), "{feature} is in the shipped binary");
    }
    let fuzzing = features("fastness-fuzz");
    for feature in FUZZING_ALONE {
        assert!(fuzzing.contains(feature), "the fuzz targets do not ask for {feature}: this test would find nothing");
        assert!(!shipped.contains(feature), "{feature} is in the shipped binary");
    }
}
