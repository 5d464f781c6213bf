//! A program outside of the workspace, made of what the README says, uses the SDK.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};

/// The first block of this language in a page.
fn block<'a>(page: &'a str, language: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(&format!("```{language}\n")).with_context(|| format!("no block of {language}"))?;
    Ok(rest.split_once("```").context("a block that does not end")?.0)
}

#[test]
fn the_readmes_example_builds_and_runs() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace")?;
    let readme = std::fs::read_to_string(workspace.join("README.md"))?;
    let folder = tempfile::tempdir()?;
    let client = workspace.join("crates/client");
    let dependencies = block(&readme, "toml")?.replace("crates/client", &client.display().to_string());
    let manifest = format!("[package]\nname = \"stranger\"\nedition = \"2024\"\n\n{dependencies}\n[workspace]\n");
    std::fs::create_dir(folder.path().join("src"))?;
    std::fs::write(folder.path().join("Cargo.toml"), manifest)?;
    std::fs::write(folder.path().join("src/main.rs"), block(&readme, "rust")?)?;
    // The versions that are there: nothing newer is fetched.
    std::fs::copy(workspace.join("Cargo.lock"), folder.path().join("Cargo.lock"))?;

    // This program is TARGET/PROFILE/deps/stranger-HASH, whatever CARGO_TARGET_DIR is.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("not a target directory")?.join("stranger");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("build").arg("--target-dir").arg(&target).current_dir(folder.path());
    let built = cargo.output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    let mut program = Command::new(target.join("debug/stranger"));
    let run = program.env("FASTNESS_CLUSTER", cluster.dir().join("cluster.json")).output()?;
    let (text, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{text}{errors}");
    ensure!(run.status.success() && text.lines().eq(["taken: true", "left: Some(b\"4\")"]), "{text}{errors}");
    Ok(())
}
