//! The first run on a machine without Rust, or with one that is too old: what the scripts of `deploy/setup` install,
//! what they ask and say before, and what they print while a long build runs. On a machine of stand-ins: a PATH with
//! basic tools, and programs that record how they were called.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use parking_lot::{Mutex, MutexGuard};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What the smallest installation has, and the scripts use.
const TOOLS: &[&str] = &[
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "env",
    "find",
    "grep",
    "head",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "tail",
    "tput",
    "tr",
    "uname",
];

/// The programs of a Rust that is new enough, and of one that is too old.
const NEW: &str = "1.95.0";
const OLD: &str = "1.63.0";

/// A stand-in for `curl`: the installer, whatever the URL, and its checksum.
const CURL: &str = r#"for word; do
    if [ "$before" = -o ]; then out=$word; fi
    before=$word
done
case "$before" in
    *.sha256) if [ -f "$HOME/wrong" ]; then echo 0000; else sha256sum "$HOME/rustup-init"; fi >"$out" ;;
    *) cp "$HOME/rustup-init" "$out" ;;
esac"#;

/// A program may not be started while a file handle for writing to it is open, and what another thread starts has
/// inherited all handles for a moment: so one machine at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A machine of stand-ins. Its programs append their names and arguments to `called`.
struct Machine {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    _only: MutexGuard<'static, ()>,
}

impl Machine {
    /// A machine without Rust, with `curl`, on which the caller is root.
    fn bare() -> Result<Machine> {
        let machine = Machine { _only: ONE_AT_A_TIME.lock(), folder: tempfile::tempdir()?, variables: Vec::new() };
        std::fs::create_dir_all(machine.bin())?;
        let path = std::env::var_os("PATH").context("no PATH")?;
        for tool in TOOLS {
            let found = std::env::split_paths(&path).map(|dir| dir.join(tool)).find(|file| file.is_file());
            symlink(found.with_context(|| format!("no {tool} in PATH"))?, machine.bin().join(tool))?;
        }
        machine.program("id", "echo 0")?;
        machine.program("curl", CURL)?;
        // The stand-in of rustup's installer creates a Rust where rustup's would.
        machine.write("rustup-init", &machine.script("rustup-init", &machine.rust_lines(".cargo/bin", NEW)))?;
        Ok(machine)
    }

    /// The same machine for a user, of whom this `sudo` exists.
    fn of_user(sudo: Option<&str>) -> Result<Machine> {
        let machine = Machine::bare()?;
        machine.program("id", "echo 1000")?;
        if let Some(lines) = sudo {
            machine.program("sudo", lines)?;
        }
        Ok(machine)
    }

    fn home(&self) -> &Path {
        self.folder.path()
    }

    fn bin(&self) -> PathBuf {
        self.home().join("bin")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn script(&self, name: &str, lines: &str) -> String {
        let called = self.home().join("called");
        format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{lines}\n", called.display())
    }

    /// Puts a stand-in into PATH.
    fn program(&self, name: &str, lines: &str) -> Result<()> {
        self.write(&format!("bin/{name}"), &self.script(name, lines))
    }

    /// Shell lines that create the stand-ins of this Rust in a folder.
    fn rust_lines(&self, folder: &str, version: &str) -> String {
        let folder = self.home().join(folder);
        let mut lines = format!("mkdir -p '{0}'\n", folder.display());
        for program in ["rustc", "cargo"] {
            let file = folder.join(program);
            lines +=
                &format!("printf '#!/bin/sh\\necho {program} {version}\\n' >'{0}'; chmod +x '{0}'\n", file.display());
        }
        lines
    }

    /// Installs this Rust in PATH, as a distribution does.
    fn with_rust(self, version: &str) -> Result<Machine> {
        for program in ["rustc", "cargo"] {
            self.write(&format!("bin/{program}"), &format!("#!/bin/sh\necho '{program} {version} (0 2026-01-01)'\n"))?;
        }
        Ok(self)
    }

    fn with(mut self, name: &'static str, value: &str) -> Machine {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(root().join("deploy/setup").join(script));
        command.env_clear().env("PATH", self.bin()).env("HOME", self.home());
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command.stdin(Stdio::null());
        command
    }

    /// The exit status and output of a script that nobody can answer.
    fn run(&self, script: &str) -> Result<(Option<i32>, String)> {
        Ok(shown(&self.command(script).output()?))
    }

    /// The same with a terminal, on which this is typed.
    fn answer(&self, script: &str, typed: &str) -> Result<(Option<i32>, String)> {
        let (mut keys, terminal) = pty()?;
        let mut command = self.command(script);
        let child = command.stdin(terminal).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        keys.write_all(typed.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok(shown(&output))
    }

    /// The calls of the stand-ins so far, of which these matter.
    fn calls(&self, programs: &[&str]) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.home().join("called")).unwrap_or_default();
        let matters = |line: &&str| line.split(' ').next().is_some_and(|name| programs.contains(&name));
        Ok(text.lines().filter(matters).map(|line| line.trim_end().to_owned()).collect())
    }

    /// Nothing was installed.
    fn ensure_untouched(&self) -> Result<()> {
        let calls = self.calls(&["rustup-init", "rustup", "apt-get", "sudo", "curl"])?;
        ensure!(calls.is_empty() && !self.home().join(".cargo").exists(), "{calls:?}");
        Ok(())
    }
}

/// The control side of a pseudoterminal of 80 columns, and the terminal.
fn pty() -> Result<(File, File)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let control = openpt(flags)?;
    grantpt(&control)?;
    unlockpt(&control)?;
    let terminal = ioctl_tiocgptpeer(&control, flags)?;
    tcsetwinsize(&control, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((File::from(control), File::from(terminal)))
}

fn shown(output: &Output) -> (Option<i32>, String) {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), format!("{text}{errors}"))
}

/// The text of a run with this exit status.
fn expect(status: i32, run: (Option<i32>, String)) -> Result<String> {
    ensure!(run.0 == Some(status), "exit status {:?}, not {status}: {}", run.0, run.1);
    Ok(run.1)
}

fn ensure_says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in: {text}");
    }
    Ok(())
}

#[test]
fn a_rust_that_is_new_enough_is_left_alone_without_a_word() -> Result<()> {
    // `rust-version` of the workspace, to the letter.
    for version in ["1.90.0", NEW, "2.0.0", "1.101.0-nightly"] {
        let machine = Machine::bare()?.with_rust(version)?;
        let text = expect(0, machine.run("rust.sh")?)?;
        ensure!(text.is_empty(), "{text}");
        machine.ensure_untouched()?;
    }
    Ok(())
}

#[test]
fn rust_is_installed_where_there_is_none_and_nobody_to_ask() -> Result<()> {
    let machine = Machine::bare()?;
    let text = expect(0, machine.run("rust.sh")?)?;
    ensure_says(&text, &["Rust 1.90 or newer is needed, but not installed", "ready: rustc 1.95.0", ".cargo/env"])?;
    let calls = machine.calls(&["curl", "rustup-init"])?;
    let url = "https://static.rust-lang.org/rustup/dist/";
    ensure!(calls.len() == 3 && calls[..2].iter().all(|call| call.contains(url)), "{calls:?}");
    for call in &calls[..2] {
        ensure_says(call, &["--proto =https --proto-redir =https --tlsv1.2 -sSfL"])?;
    }
    let options = "-y --no-modify-path --default-toolchain stable --profile minimal -c rustfmt -c clippy";
    ensure!(calls[2] == format!("rustup-init {options}"), "{calls:?}");
    // The commands were shown before.
    ensure_says(&text, &["this will be run", url, &format!("./rustup-init {options}")])?;

    // Again: env.sh finds it, although PATH does not name its folder.
    let text = expect(0, machine.run("rust.sh")?)?;
    ensure!(text.is_empty() && machine.calls(&["curl"])?.len() == 2, "{text}");
    Ok(())
}

#[test]
fn an_old_rust_of_the_distribution_stays_and_a_newer_one_is_preferred() -> Result<()> {
    let machine = Machine::bare()?.with_rust(OLD)?;
    // A package would replace the distribution's.
    machine.program("apt-cache", "echo 'Candidate: 1.27'")?;
    let text = expect(0, machine.run("rust.sh")?)?;
    ensure_says(&text, &["rustc is 1.63.0", "ready: rustc 1.95.0"])?;
    ensure!(machine.calls(&["rustup-init", "apt-get"])?.len() == 1);
    ensure!(machine.bin().join("rustc").exists());
    Ok(())
}

#[test]
fn a_terminal_is_asked() -> Result<()> {
    for (typed, installs) in [("n\n", false), ("no\n", false), ("y\n", true), ("\n", true), ("\u{4}", false)] {
        let machine = Machine::bare()?;
        let run = machine.answer("rust.sh", typed)?;
        if installs {
            ensure_says(&expect(0, run)?, &["this will be run", "ready: rustc 1.95.0"])?;
        } else {
            ensure_says(&expect(1, run)?, &["not installed. To install it by hand", "./rustup-init -y"])?;
            machine.ensure_untouched()?;
        }
    }
    Ok(())
}

#[test]
fn a_variable_answers_for_everybody() -> Result<()> {
    let machine = Machine::bare()?.with("FASTNESS_INSTALL", "no");
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["To install it by hand", "rustup-init"])?;
    machine.ensure_untouched()?;
    drop(machine);
    let machine = Machine::bare()?.with("FASTNESS_INSTALL", "yes");
    ensure_says(&expect(0, machine.answer("rust.sh", "n\n")?)?, &["ready: rustc"])?;
    drop(machine);
    let machine = Machine::bare()?.with("FASTNESS_INSTALL", "maybe");
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["FASTNESS_INSTALL is 'maybe', but must be yes, no or ask"])?;
    machine.ensure_untouched()
}

#[test]
fn an_installer_without_its_checksum_is_not_run() -> Result<()> {
    let machine = Machine::bare()?;
    machine.write("wrong", "")?;
    let text = expect(1, machine.run("rust.sh")?)?;
    ensure_says(&text, &["does not have the checksum 0000", "not installed"])?;
    ensure!(machine.calls(&["rustup-init"])?.is_empty());
    Ok(())
}

#[test]
fn a_mirror_is_used_if_it_is_safe() -> Result<()> {
    let machine = Machine::bare()?.with("RUSTUP_UPDATE_ROOT", "https://mirror.example/rustup");
    ensure_says(&expect(0, machine.run("rust.sh")?)?, &["https://mirror.example/rustup/dist/", "ready"])?;
    ensure!(machine.calls(&["curl"])?.iter().all(|call| call.contains("https://mirror.example/rustup/dist/")));
    drop(machine);
    let machine = Machine::bare()?.with("RUSTUP_UPDATE_ROOT", "http://mirror.example/rustup");
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["must start with https:// or file://"])?;
    machine.ensure_untouched()
}

#[test]
fn an_installer_that_cannot_be_fetched_or_fails_is_reported() -> Result<()> {
    let machine = Machine::bare()?;
    machine.program("curl", "exit 6")?;
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["could not be fetched from", "https_proxy"])?;
    drop(machine);
    let machine = Machine::bare()?;
    machine.write("rustup-init", &machine.script("rustup-init", "exit 1"))?;
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["installer failed", "RUSTUP_DIST_SERVER"])?;
    drop(machine);
    // It reports success, but there is no Rust.
    let machine = Machine::bare()?;
    machine.write("rustup-init", &machine.script("rustup-init", ""))?;
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["the one in PATH is none", "1.90 or newer is needed"])
}

/// The distribution's package, which a user installs with sudo.
#[test]
fn the_distributions_package_is_preferred() -> Result<()> {
    let machine = Machine::of_user(Some("[ \"$1\" = -n ] && shift; exec \"$@\""))?;
    machine.program("apt-cache", "printf 'rustup:\\n  Candidate: 1.27.1-3\\n'")?;
    let rust = machine.rust_lines("bin", NEW);
    let rustup = machine.home().join("packaged");
    machine.write("packaged", &machine.script("rustup", &format!("case $1 in toolchain) {rust};; esac")))?;
    machine.program("apt-get", &format!("cp '{}' '{}'", rustup.display(), machine.bin().join("rustup").display()))?;
    let text = expect(0, machine.run("rust.sh")?)?;
    ensure_says(&text, &["sudo apt-get install -y --no-install-recommends rustup", "ready: rustc 1.95.0"])?;
    let calls = machine.calls(&["apt-get", "rustup", "curl"])?;
    ensure!(calls.len() == 3 && calls[0].ends_with("rustup"), "{calls:?}");
    ensure!(calls[1].starts_with("rustup toolchain install stable --profile minimal"), "{calls:?}");
    ensure!(calls[2] == "rustup default stable", "{calls:?}");
    drop(machine);
    // Without sudo: rustup's installer, which needs no root.
    let machine = Machine::of_user(None)?;
    machine.program("apt-cache", "printf 'rustup:\\n  Candidate: 1.27.1-3\\n'")?;
    machine.program("apt-get", "")?;
    expect(0, machine.run("rust.sh")?)?;
    ensure!(machine.calls(&["apt-get", "rustup-init"])?.len() == 1);
    Ok(())
}

/// A machine with rustup, whose toolchain is too old, and is the one of this name.
fn with_rustup(active: &str) -> Result<Machine> {
    let machine = Machine::bare()?.with_rust(OLD)?;
    let rust = machine.rust_lines("bin", NEW);
    let lines =
        format!("case \"$1 $2\" in 'show active-toolchain') echo '{active}';; 'toolchain install') {rust};; esac");
    machine.program("rustup", &lines)?;
    Ok(machine)
}

#[test]
fn a_rustup_updates_and_the_choice_for_other_projects_stays() -> Result<()> {
    for (active, after) in [
        ("stable-x86_64-unknown-linux-gnu (default)", None),
        ("1.63-x86_64-unknown-linux-gnu (default)", Some("rustup override set stable --path ")),
        ("", Some("rustup default stable")),
    ] {
        let machine = with_rustup(active)?;
        let text = expect(0, machine.run("rust.sh")?)?;
        ensure_says(&text, &["rustc is 1.63.0", "ready: rustc 1.95.0"])?;
        let calls: Vec<_> = machine.calls(&["rustup"])?.into_iter().filter(|call| !call.contains(" show ")).collect();
        ensure!(calls[0].starts_with("rustup toolchain install stable --profile minimal"), "{calls:?}");
        ensure!(calls.len() == 1 + usize::from(after.is_some()), "{calls:?}");
        ensure!(after.is_none_or(|after| calls[1].starts_with(after)), "{calls:?}");
        ensure!(machine.calls(&["curl", "rustup-init"])?.is_empty());
    }
    let machine = with_rustup("1.63")?.with("RUSTUP_TOOLCHAIN", "1.63");
    ensure_says(&expect(1, machine.run("rust.sh")?)?, &["RUSTUP_TOOLCHAIN=1.63", "unset it"])?;
    machine.ensure_untouched()
}

#[test]
fn who_can_not_be_root_reads_what_to_do() -> Result<()> {
    let machine = Machine::of_user(None)?;
    machine.program("apt-get", "")?;
    std::fs::remove_file(machine.bin().join("curl"))?;
    let text = expect(1, machine.run("rust.sh")?)?;
    ensure_says(
        &text,
        &["root is needed", "sudo is not installed", "as root: apt-get update && apt-get install -y curl"],
    )?;
    let text = expect(1, machine.run("system.sh")?)?;
    ensure_says(&text, &["missing: ", "root is needed", "sudo is not installed", "as root: apt-get update"])?;
    machine.ensure_untouched()
}

#[test]
fn packages_are_installed_after_they_were_shown() -> Result<()> {
    let machine = Machine::of_user(Some("exec \"$@\""))?.with("LIBCLANG_PATH", "/nowhere");
    machine.program("apt-get", "")?;
    let text = expect(1, machine.answer("system.sh", "n\n")?)?;
    let install = "apt-get install -y --no-install-recommends gcc libc6-dev g++ make";
    ensure_says(&text, &["sudo apt-get update", install, "To install it by hand"])?;
    machine.ensure_untouched()?;
    // A password that cannot be typed.
    machine.program("sudo", "echo 'sudo: a password is required' >&2; exit 1")?;
    let text = expect(1, machine.run("system.sh")?)?;
    ensure_says(&text, &["a password is required", "To install it by hand", install])?;
    ensure!(machine.calls(&["apt-get"])?.is_empty());
    machine.program("sudo", "[ \"$1\" = -n ] && shift; exec \"$@\"")?;
    expect(0, machine.run("system.sh")?)?;
    let calls = machine.calls(&["apt-get"])?;
    ensure!(calls.len() == 2 && calls[0].starts_with("apt-get update"), "{calls:?}");
    ensure_says(&calls[1], &["install -y", "--no-install-recommends gcc libc6-dev g++ make"])
}

/// A stand-in for cargo, which prints as cargo does that is told to show its progress.
const CARGO: &str = r#"printf '   Compiling first v1.0.0\n' >&2
printf '    Building [>        ] 0/40: first\r' >&2
sleep 1
printf '   Compiling second v1.0.0\n    Building [====>    ] 20/40: second\r' >&2
sleep 1
printf 'warning: unused variable\n  --> src/main.rs:1\n    Building [========>] 39/40: last\r' >&2
printf 'error: could not compile\n' >&2
echo "on standard output"
exit 101"#;

#[test]
fn a_build_says_what_is_left_and_what_cargo_says() -> Result<()> {
    let machine = Machine::bare()?.with_rust(NEW)?.with("FASTNESS_PROGRESS_SECONDS", "1");
    machine.program("cargo", CARGO)?;
    let output = machine.command("cargo-build.sh").args(["--locked", "-p", "x"]).output()?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(101) && text == "on standard output\n", "{text}{errors}");
    ensure!(machine.calls(&["cargo"])?.contains(&"cargo build --locked -p x".to_owned()));
    let lines: Vec<&str> = errors.lines().filter(|line| !line.starts_with("build: ")).collect();
    let cargos = ["   Compiling first v1.0.0", "   Compiling second v1.0.0", "warning: unused variable"];
    ensure!(lines[..3] == cargos && lines[3..] == ["  --> src/main.rs:1", "error: could not compile"], "{errors}");
    ensure_says(&errors, &["build: compiled 20 of 40 crates, less than a minute left"])?;
    ensure!(!errors.contains("Building") && !errors.contains('\r'), "{errors}");

    let machine = machine.with("CARGO_TERM_PROGRESS_WHEN", "never");
    let (_, text) = shown(&machine.command("cargo-build.sh").output()?);
    ensure!(!text.contains("build: "), "{text}");
    Ok(())
}

#[test]
fn on_a_terminal_the_bar_stays_and_the_estimate_is_behind_it() -> Result<()> {
    let machine = Machine::bare()?.with_rust(NEW)?.with("FASTNESS_PROGRESS_SECONDS", "1");
    machine.program("cargo", CARGO)?;
    let (mut screen, terminal) = pty()?;
    let mut command = machine.command("cargo-build.sh");
    command.stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn()?;
    drop(command);
    let mut shown = Vec::new();
    let mut part = [0; 4096];
    // The terminal reports an error once the last program that has it open has ended.
    while let Ok(length @ 1..) = screen.read(&mut part) {
        shown.extend_from_slice(&part[..length]);
    }
    let text = String::from_utf8_lossy(&shown).into_owned();
    ensure!(child.wait()?.code() == Some(101), "{text}");
    ensure_says(&text, &["Building [====>    ] 20/40: second (less than a minute left)", "error: could not compile"])?;
    ensure!(!text.contains("build: compiled"), "{text}");
    Ok(())
}
