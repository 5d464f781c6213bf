//! `deploy/systemd/fastness@.service`: its command is one that the program accepts, and systemd accepts the unit, where
//! its tool is installed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::binary;

const UNIT: &str = include_str!("../../../deploy/systemd/fastness@.service");
const README: &str = include_str!("../../../deploy/README.md");
/// The highest exposure that `systemd-analyze security` may report, in tenths: 2.0 of 10, "OK".
const EXPOSURE_MAX: u32 = 20;

/// The values of a directive.
fn values(name: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// The directive that must occur once.
fn value(name: &str) -> Result<&'static str> {
    let values = values(name);
    ensure!(values.len() == 1, "{name}: {values:?}");
    Ok(values[0])
}

/// Runs systemd's tool on the unit; `None` if it is not installed.
fn analyze(arguments: &[&str], folder: &Path) -> Result<Option<Output>> {
    match Command::new("systemd-analyze").args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: systemd-analyze is not installed");
            Ok(None)
        }
        output => Ok(Some(output.context("systemd-analyze")?)),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn its_command_is_one_of_this_program() -> Result<()> {
    let mut words = value("ExecStart")?.split(' ');
    ensure!(words.next() == Some("/usr/local/bin/fastness"), "{:?}", value("ExecStart"));
    let absent = "/nonexistent/%i.conf";
    let arguments: Vec<_> = words.map(|word| if word.starts_with('/') { absent } else { word }).collect();
    ensure!(arguments.contains(&absent), "{arguments:?} names no config file");
    let output = Command::new(binary()?).args(&arguments).output()?;
    // A wrong argument is refused with status 2, before any file is read.
    let said = said(&output);
    ensure!(output.status.code() == Some(1) && said.contains(absent) && said.contains("No such file"), "{said}");
    Ok(())
}

#[test]
fn its_limits_suffice_and_the_documentation_knows_its_paths() -> Result<()> {
    let descriptors: u64 = value("LimitNOFILE")?.parse()?;
    ensure!(descriptors >= 20_000, "10,000 clients, the default of maxclients, need more than {descriptors}");
    ensure!(value("LimitNICE")? == "-15", "consensus-nice has another default");
    let stop: u64 = value("TimeoutStopSec")?.parse()?;
    ensure!(stop > 10, "shutdown-timeout is longer than {stop} s");
    ensure!(values("KillSignal") == ["SIGTERM"], "the node stops in order on SIGTERM");
    for path in ["/usr/local/bin/fastness", "/etc/fastness/1.conf", "/var/lib/fastness/1", "/etc/fastness/1"] {
        ensure!(README.contains(path), "deploy/README.md does not name {path}");
    }
    Ok(())
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The program and the user of the unit need not exist on the machine of the test.
    let binary = binary()?;
    let path = binary.to_str().context("a path that is not UTF-8")?;
    let unit = UNIT.replace("/usr/local/bin/fastness ", &format!("{path} "));
    let unit = unit.replace("User=fastness", "User=daemon").replace("Group=fastness", "Group=daemon");
    std::fs::write(folder.path().join("fastness@1.service"), &unit)?;
    let Some(verified) = analyze(&["verify", "--man=no", "./fastness@1.service"], folder.path())? else {
        return Ok(());
    };
    let complaints = said(&verified);
    // What it says of other units of the machine, or of the lack of a running systemd, does not concern this one.
    let of_unit = complaints.lines().filter(|line| line.contains("fastness@")).collect::<Vec<_>>();
    ensure!(of_unit.is_empty(), "{of_unit:#?}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold, "./fastness@1.service"];
    let Some(rated) = analyze(&arguments, folder.path())? else { return Ok(()) };
    let text = said(&rated);
    if text.contains("unrecognized option") {
        eprintln!("SKIPPED: this systemd-analyze cannot rate a file");
        return Ok(());
    }
    ensure!(rated.status.success() && text.contains("Overall exposure level"), "{text}");
    Ok(())
}
