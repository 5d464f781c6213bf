//! Checks the layers of the workspace: which crate may depend on which, and which crates may name a library that the
//! design keeps in one place. Taken from `cargo metadata`, so nothing can be imported that is not listed here.
//!
//! A new edge is a design change: it shows up in review as a line in [`ALLOWED`], and leads only from a higher layer to
//! a lower one. Dev-dependencies are exempt (tests may use everything), except for the engine's.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::Value;

/// Each crate with its layer and the crates of the workspace it may depend on.
const ALLOWED: &[(&str, u8, &[&str])] = &[
    ("types", 0, &[]),
    ("resp", 0, &[]),
    ("events", 1, &["types"]),
    ("engine", 1, &["types", "resp"]),
    ("scripts", 1, &["resp"]),
    ("acl", 2, &["resp", "engine"]),
    ("cli", 2, &["types", "resp", "engine"]),
    ("log", 2, &["types"]),
    ("wire", 2, &[]),
    ("client", 3, &["wire"]),
    ("console", 3, &["wire"]),
    ("consensus", 3, &["types", "events", "log", "wire"]),
    ("shard", 4, &["types", "events", "resp", "engine", "scripts", "consensus"]),
    ("control", 4, &["types", "events", "consensus"]),
    ("connection", 5, &["types", "resp", "engine", "shard"]),
    (
        "server",
        6,
        &[
            "types",
            "events",
            "resp",
            "engine",
            "acl",
            "log",
            "wire",
            "console",
            "consensus",
            "shard",
            "connection",
            "control",
        ],
    ),
    ("fastness", 7, &["types", "resp", "wire", "client", "console", "load", "cli", "control", "server"]),
    ("load", 1, &["types", "resp"]),
    (
        "testkit",
        7,
        &[
            "types",
            "events",
            "resp",
            "engine",
            "acl",
            "log",
            "wire",
            "client",
            "consensus",
            "shard",
            "connection",
            "load",
        ],
    ),
    (
        "fuzz",
        8,
        &[
            "types",
            "resp",
            "scripts",
            "engine",
            "acl",
            "log",
            "wire",
            "consensus",
            "shard",
            "control",
            "server",
            "testkit",
        ],
    ),
];

/// Libraries that the design keeps out of most crates, with the crates that may depend on them.
const GUARDED: &[(&str, &[&str])] = &[
    ("openraft", &["consensus"]),
    ("rocksdb", &["log"]),
    ("clap", &["fastness", "testkit", "fuzz"]),
    ("anyhow", &["fastness", "testkit", "fuzz"]),
    ("rcgen", &["fastness"]),
    ("mlua", &["scripts"]),
    ("corosensei", &["scripts"]),
    ("prost", &["wire", "consensus", "server", "testkit", "fuzz"]),
    ("tonic", &["wire", "client", "server", "fastness", "testkit"]),
    ("rustls", &["consensus", "server", "fastness", "load", "cli"]),
    ("tokio-rustls", &["consensus", "server", "fastness", "load", "cli"]),
    ("rand", &["client", "console", "consensus", "shard", "server", "fastness", "load", "testkit", "fuzz"]),
    ("rustyline", &["cli"]),
    (
        "tokio",
        &["log", "load", "cli", "client", "console", "consensus", "shard", "control", "server", "fastness", "testkit"],
    ),
];

/// Libraries that the engine must not use even in its tests: they run with the determinism that they prove.
const ENGINE_NEVER: &[&str] = &["tokio", "openraft", "rocksdb", "tonic", "socket2"];

struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    dev: bool,
}

/// The folder name of a crate: the package name without the common prefix.
fn short(name: &str) -> &str {
    name.strip_prefix("fastness-").unwrap_or(name)
}

fn workspace() -> Vec<Package> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let dependencies = value["dependencies"].as_array().unwrap().iter().map(|dependency| Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        dev: dependency["kind"].as_str() == Some("dev"),
    });
    Package { name: short(value["name"].as_str().unwrap()).to_owned(), dependencies: dependencies.collect() }
}

fn row(name: &str) -> Option<&'static (&'static str, u8, &'static [&'static str])> {
    ALLOWED.iter().find(|row| row.0 == name)
}

#[test]
fn the_list_goes_downwards_only() {
    for (name, layer, edges) in ALLOWED {
        for edge in *edges {
            let below = row(edge).unwrap_or_else(|| panic!("{name} may use {edge}, which has no row of its own"));
            assert!(below.1 < *layer, "{name} (layer {layer}) may not depend on {edge} (layer {})", below.1);
        }
    }
}

#[test]
fn the_list_is_the_workspace() {
    let listed: BTreeSet<_> = ALLOWED.iter().map(|row| row.0.to_owned()).collect();
    let present: BTreeSet<_> = workspace().into_iter().map(|package| package.name).collect();
    assert_eq!(present, listed, "crates in the workspace (left) and rows in ALLOWED (right)");
}

#[test]
fn crates_depend_on_allowed_crates_only() {
    let packages = workspace();
    let members: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let allowed = row(&package.name).map_or(&[][..], |row| row.2);
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.dev) {
            let name = short(&dependency.name);
            if members.contains(name) && !allowed.contains(&name) {
                wrong.push(format!("{} -> {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that are not allowed: {wrong:?}");
}

#[test]
fn guarded_libraries_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for package in &workspace() {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.dev) {
            let guard = GUARDED.iter().find(|(library, _)| *library == dependency.name);
            if guard.is_some_and(|(_, crates)| !crates.contains(&package.name.as_str())) {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries outside the crates that may name them: {wrong:?}");
}

#[test]
fn the_engine_is_free_of_runtimes_even_in_tests() {
    let packages = workspace();
    let engine = packages.iter().find(|package| package.name == "engine").unwrap();
    let wrong: Vec<_> =
        engine.dependencies.iter().map(|d| d.name.as_str()).filter(|name| ENGINE_NEVER.contains(name)).collect();
    assert!(wrong.is_empty(), "the engine depends on {wrong:?}");
}
