//! The tour: the commands of the pages' console blocks, pasted one by one in the order of the page, give what the page
//! says they give. Nobody is asked to understand a page before the commands work.
//!
//! They run on a terminal, in a folder with the Makefile, where `make` takes the binary under test for built. What is
//! not run is listed in `NOT_RUN`. Where a page shows output, it is compared, line by line:
//!
//! - `…` alone stands for any lines, at the end of a line for any rest.
//! - `0` is 0; any other number stands for any number: process ids, ports, figures. Spaces only separate.
//! - Where no output is shown, only the exit status counts. A client's remark that it was redirected may always be
//!   there.
//!
//! Lines that begin with a prompt (`127.0.0.1:7400> `) are typed into the program that was started before.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_testkit::cluster::binary;
use fastness_testkit::ports::Ports;
use parking_lot::Mutex;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the output of a program that has ended may take.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// The first port of the cluster, as the pages have it.
const PORT: u16 = 7400;

/// Parts of commands that are not run, and the reason. Each must be on a page.
const NOT_RUN: &[(&str, &str)] = &[
    ("make test", "this test is a part of it"),
    ("make lab", "needs containers, and has a test of its own (compose_lab)"),
    ("--dir .fastness-lab", "needs containers, and has a test of its own (compose_lab)"),
    ("fastness lab console", "serves until it is ended, and has a test of its own (console)"),
    ("cargo run ", "builds, and needs no other binary than the one that stranger.rs builds"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command of a page, with the lines that it shows below.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The commands of a page's console blocks.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), shown: Vec::new() });
            } else if let Some(step) = steps.last_mut() {
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}

/// What follows the prompt of a client: the typed words.
fn typed(line: &str) -> Option<&str> {
    let (prompt, words) = line.split_once("> ")?;
    let (host, port) = prompt.rsplit_once(':')?;
    (!host.contains(' ') && port.parse::<u16>().is_ok()).then_some(words)
}

/// The parts of a word: numbers, and what is between them.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let number = first.is_ascii_digit();
        let end = rest.find(|c: char| if number { !c.is_ascii_digit() && c != '.' } else { c.is_ascii_digit() });
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts
}

fn word_matches(expected: &str, actual: &str) -> bool {
    let (expected, actual) = (parts(expected), parts(actual));
    let number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    let same = |(e, a): (&&str, &&str)| e == a || (number(e) && number(a) && *e != "0");
    expected.len() == actual.len() && expected.iter().zip(&actual).all(same)
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let mut actual = actual.split_whitespace();
    for word in expected.split_whitespace() {
        if word == "…" {
            return true;
        }
        if !actual.next().is_some_and(|other| word_matches(word, other)) {
            return false;
        }
    }
    actual.next().is_none()
}

fn lines_match(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=actual.len()).any(|skipped| lines_match(rest, &actual[skipped..]))
        }
        Some((first, rest)) => {
            actual.split_first().is_some_and(|(line, further)| line_matches(first, line) && lines_match(rest, further))
        }
    }
}

/// A program on a terminal of 160 columns without escape sequences, and all that was written to it.
struct Terminal {
    child: Child,
    keys: File,
    written: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
}

impl Terminal {
    fn start(mut command: Command) -> Result<Terminal> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control = openpt(flags)?;
        grantpt(&control)?;
        unlockpt(&control)?;
        let terminal = File::from(ioctl_tiocgptpeer(&control, flags)?);
        tcsetwinsize(&control, Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 })?;
        command.env("TERM", "dumb");
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut screen = File::from(control);
        let keys = screen.try_clone()?;
        let (written, closed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (all, ended) = (written.clone(), closed.clone());
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // An error: the last program that had the terminal open has ended.
            while let Ok(length @ 1..) = screen.read(&mut part) {
                all.lock().extend_from_slice(&part[..length]);
            }
            ended.store(true, Ordering::Release);
        });
        Ok(Terminal { child, keys, written, closed })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock()).replace("\r\n", "\n")
    }

    /// Waits for a prompt after this much of the output, and types a line there.
    fn answer(&mut self, prompts: usize, words: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let waits = |text: &str| text.lines().filter(|line| typed(&format!("{line} ")).is_some()).count() > prompts;
        while !(waits(&self.text()) && self.text().ends_with("> ")) {
            ensure!(Instant::now() < until && self.child.try_wait()?.is_none(), "no prompt: {}", self.text());
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(self.keys.write_all(words.as_bytes())?)
    }

    /// The exit status and the output, once the program has ended.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < until => std::thread::sleep(POLL_INTERVAL),
                None => {
                    self.child.kill()?;
                    bail!("it does not end: {}", self.text());
                }
            }
        };
        // What it has started in the background may have the terminal open.
        let until = Instant::now() + LAST_OUTPUT;
        while !self.closed.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok((status.code(), self.text()))
    }
}

/// The checkout of somebody who takes the tour: everything is built, `make install` was run.
struct Checkout {
    folder: tempfile::TempDir,
    ports: Ports,
    client: bool,
}

impl Checkout {
    fn new() -> Result<Checkout> {
        let checkout = Checkout { folder: tempfile::tempdir()?, ports: Ports::reserve()?, client: client().is_some() };
        let path = checkout.path();
        for file in ["Makefile", "Cargo.toml", "Cargo.lock", "deploy/setup/env.sh"] {
            std::fs::create_dir_all(path.join(file).parent().context("no folder")?)?;
            std::fs::copy(root().join(file), path.join(file))?;
        }
        // The cluster has ports of its own, so that tests can run beside each other.
        let fastness = format!(
            "if [ \"$1 $2\" = 'dev --detach' ]; then set -- \"$@\" --port {}; fi\nexec '{}' \"$@\"",
            checkout.ports.first(),
            std::fs::canonicalize(binary()?)?.display()
        );
        script(&path.join("target/release/fastness"), &fastness)?;
        script(&path.join("bin/fastness"), &fastness)?;
        let make = on_path("make").context("make is not installed")?;
        script(&path.join("bin/make"), &format!("exec '{}' -o build \"$@\"", make.display()))?;
        if let Some(client) = client() {
            symlink(client, path.join("bin/redis-cli"))?;
        }
        Ok(checkout)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn shell(&self, line: &str) -> Result<Command> {
        let path = std::env::var_os("PATH").context("no PATH")?;
        let path = std::iter::once(self.path().join("bin")).chain(std::env::split_paths(&path));
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.path()).env("PATH", std::env::join_paths(path)?);
        command.env("CARGO_TARGET_DIR", self.path().join("target"));
        // This test may have been started by `make` itself.
        for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "FASTNESS_DEV_DIR"] {
            command.env_remove(variable);
        }
        Ok(command)
    }

    /// The nodes and primaries as they are now.
    fn status(&self) -> Result<Value> {
        let output = self.shell("fastness dev status --json")?.output()?;
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The value of a placeholder in a command.
    fn value_of(&self, placeholder: &str) -> Result<String> {
        let status = self.status()?;
        let nodes = status["nodes"].as_array().context("no nodes")?;
        let node = |id: &Value| nodes.iter().find(|node| node["id"] == *id).context("no such node");
        let primary = &status["primaries"]["1"];
        let value = match placeholder {
            "pid of the primary" => &node(primary)?["pid"],
            "pid of node 1" => &node(&Value::from(1))?["pid"],
            "port of another node" => {
                let other = nodes.iter().find(|node| node["id"] != *primary && !node["pid"].is_null());
                &other.context("no other node")?["resp"][0]["port"]
            }
            "its id" => &nodes.iter().find(|node| node["pid"].is_null()).context("all nodes run")?["id"],
            other => bail!("<{other}>: this test does not know what to put there"),
        };
        ensure!(value.is_u64(), "<{placeholder}> is {value}: {status:#}");
        Ok(value.to_string())
    }

    /// The command with the ports of this cluster, and with values for its placeholders.
    fn fill(&self, command: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = command;
        while let Some((before, after)) = rest.split_once('<') {
            let (placeholder, after) = after.split_once('>').context("a placeholder that does not end")?;
            filled = filled + before + &self.value_of(placeholder)?;
            rest = after;
        }
        let first = self.ports.first().to_string();
        Ok((filled + rest).replace(&format!("-p {PORT}"), &format!("-p {first}")))
    }

    /// Waits until every shard has a primary that runs.
    fn recover(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status()?;
            let nodes = status["nodes"].as_array().context("no nodes")?;
            let runs = |id: &Value| nodes.iter().any(|node| node["id"] == *id && !node["pid"].is_null());
            if status["primaries"].as_object().context("no primaries")?.values().all(runs) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{status:#}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Runs a command as it was pasted, and returns what it printed.
    fn paste(&self, step: &Step) -> Result<String> {
        let line = self.fill(&step.command)?;
        let mut terminal = Terminal::start(self.shell(&line)?)?;
        let lines: Vec<&str> = step.shown.iter().filter_map(|line| typed(line)).collect();
        for (number, words) in lines.iter().enumerate() {
            terminal.answer(number, &format!("{words}\n"))?;
        }
        if !lines.is_empty() {
            terminal.answer(lines.len(), "\u{4}")?;
        }
        let (status, text) = terminal.end()?;
        println!("$ {line}\n{text}");
        ensure!(status == Some(0), "{line}: exit status {status:?}\n{text}");
        let mut printed: Vec<&str> = text.lines().filter(|line| !line.starts_with("-> Redirected")).collect();
        // The prompt at which the session was ended.
        if !lines.is_empty() && printed.last().is_some_and(|line| typed(&format!("{line} ")).is_some()) {
            printed.pop();
        }
        let same = step.shown.is_empty() || lines_match(&step.shown, &printed);
        ensure!(same, "{line}\n--- the page shows\n{}\n--- but it prints\n{text}", step.shown.join("\n"));
        if line.starts_with("kill ") {
            self.recover()?;
        }
        Ok(text)
    }

    /// Pastes the commands one by one.
    fn walk(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            if let Some((_, reason)) = NOT_RUN.iter().find(|(part, _)| step.command.contains(part)) {
                println!("not run: {} ({reason})", step.command);
            } else if step.command.starts_with("redis-cli") && !self.client {
                ensure!(std::env::var_os("CI").is_none(), "there is no redis-cli and no valkey-cli");
                println!("SKIPPED: {}: there is no redis-cli (deploy/setup/python.sh installs one)", step.command);
            } else {
                self.paste(step)?;
            }
        }
        Ok(())
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // After a failure, the cluster and the load may still run.
        for line in ["fastness lab load stop", "fastness dev stop"] {
            let _ = self.shell(line).and_then(|mut command| Ok(command.output()?));
        }
    }
}

fn script(path: &Path, lines: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("no folder")?)?;
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n"))?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The client that the pages call `redis-cli`.
fn client() -> Option<PathBuf> {
    let named = std::env::var_os("FASTNESS_VALKEY_CLI").map(PathBuf::from).filter(|path| path.is_file());
    named.or_else(|| on_path("redis-cli")).or_else(|| on_path("valkey-cli"))
}

fn page(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(root().join(name))?)
}

/// Commands that `make run` prints: the indented lines.
fn printed_commands(text: &str) -> Vec<Step> {
    let indented = |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
    text.lines().filter_map(indented).map(|command| Step { command, shown: Vec::new() }).collect()
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() -> Result<()> {
    let steps = steps(&page("README.md")?);
    ensure!(steps.len() > 20, "{steps:?}");
    for (part, _) in NOT_RUN {
        ensure!(steps.iter().any(|step| step.command.contains(part)), "no command has {part:?}");
    }
    let checkout = Checkout::new()?;
    checkout.walk(&steps)?;
    // And what `make run` prints to try. It can be run again at any time.
    let printed = checkout.paste(&Step { command: "make run".to_owned(), shown: Vec::new() })?;
    let commands = printed_commands(&printed);
    ensure!(commands.len() >= 4, "{printed}");
    checkout.walk(&commands)
}

/// The verbs of the lab in containers, on processes: they are the same.
#[test]
fn the_commands_of_the_labs_page_work_without_containers_too() -> Result<()> {
    let mut steps = steps(&page("deploy/lab/README.md")?);
    steps.retain(|step| !step.command.starts_with("make "));
    ensure!(steps.len() > 5, "{steps:?}");
    let checkout = Checkout::new()?;
    let run = Step { command: "make run".to_owned(), shown: Vec::new() };
    let own = |step: Step| Step { command: step.command.replace(".fastness-lab", ".fastness-dev"), ..step };
    checkout.walk(&std::iter::once(run).chain(steps.into_iter().map(own)).collect::<Vec<_>>())
}

#[test]
fn pages_are_read() {
    let page = "text\n```console\n$ one  # comment\n$ two\nOK\n…\n```\nmore\n```toml\n$ no\n```\n";
    let step = |command: &str, shown: &[&str]| Step {
        command: command.to_owned(),
        shown: shown.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(steps(page), [step("one  # comment", &[]), step("two", &["OK", "…"])]);
    assert_eq!(typed("127.0.0.1:7400> SET a b"), Some("SET a b"));
    assert_eq!(typed("a > b"), None);
    assert_eq!(printed_commands("try\n\n  a b\n    c\n"), [step("a b", &[])]);
}

#[test]
fn output_is_compared() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let matches = |expected: &str, actual: &str| lines_match(&lines(expected), &actual.lines().collect::<Vec<_>>());
    for (expected, actual) in [
        ("OK", "OK"),
        ("pid 12, 3.5 s", "pid 4711, 12.25  s"),
        ("…\nlost 0\n…", "a\nb\nlost 0\nc"),
        ("ready …", "ready in 5 s: all"),
    ] {
        assert!(matches(expected, actual), "{expected} / {actual}");
    }
    for (expected, actual) in [
        ("OK", "OK\nmore"),
        ("OK", ""),
        ("lost 0", "lost 1"),
        ("…\nlost 0", "lost 0\nmore"),
        ("1 of 2", "x of 2"),
        ("a b", "a"),
        ("port 1", "port"),
    ] {
        assert!(!matches(expected, actual), "{expected} / {actual}");
    }
}
