//! `fastness cli` against a cluster of real processes: one command, lines, bulk input, and a prompt on a terminal.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::keys::key_in_shard;
use fastness_testkit::reply_text::call_text;
use fastness_testkit::terminal::OnTerminal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const SHARDS: u32 = 3;
/// Commands of the bulk input.
const BULK: usize = 20_000;
const TAB: &str = "\t";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("cli").args(arguments).env("FASTNESS_CLI_HISTORY", "").env_remove("FASTNESS_PASSWORD");
    Ok(command)
}

fn run(arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut command = command(arguments)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    // The client may end before it has read everything.
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = blocking(|| child.wait_with_output())?;
    let _ = feeding.join();
    Ok(output)
}

/// The standard output of a client that must succeed.
fn succeed(arguments: &[&str], input: &str) -> Result<String> {
    let output = run(arguments, input.as_bytes())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {}: {text}{error}", output.status);
    Ok(text)
}

/// Standard output and standard error of a client that must fail with status 1.
fn fail(arguments: &[&str], input: &str) -> Result<(String, String)> {
    let output = run(arguments, input.as_bytes())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.code() == Some(1), "{arguments:?}: {}: {}", output.status, text(&output.stdout));
    Ok((text(&output.stdout), text(&output.stderr)))
}

fn expect(got: &str, expected: &str) -> Result<()> {
    ensure!(got == expected, "{got:?} instead of {expected:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_used_from_the_command_line() -> Result<()> {
    let options = ClusterOptions { shards: SHARDS, ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&options)?;
    cluster.keep_files();
    for shard in 1..=SHARDS {
        cluster.primary(shard, PATIENCE).await?;
    }
    single_commands(&cluster)?;
    over_tls(&cluster)?;
    errors_and_forms(&cluster)?;
    lines(&cluster)?;
    at_a_prompt(&cluster)?;
    bulk_input(&cluster).await?;
    progress_on_a_terminal(&cluster)?;
    cluster.discard_files();
    Ok(())
}

/// One address leads to every shard, and the redirection is shown.
fn single_commands(cluster: &Cluster) -> Result<()> {
    let port = cluster.listeners()?.first().context("no listener")?.port.to_string();
    let mut redirected = 0;
    for shard in 1..=SHARDS {
        let key = key_in_shard(shard, SHARDS, "one:");
        expect(&succeed(&["-p", &port, "SET", &key, "paid\u{1b}[m"], "")?, "OK\n")?;
        expect(&succeed(&["-p", &port, "--raw", "GET", &key], "")?, "paid\u{1b}[m\n")?;
        let shown = succeed(&["-h", "127.0.0.1", "-p", &port, "-c", "--no-raw", "GET", &key], "")?;
        ensure!(shown.ends_with("\"paid\\x1b[m\"\n"), "{shown:?}");
        if shown.starts_with("-> Redirected to slot [") {
            redirected += 1;
            let (_, error) = fail(&["-p", &port, "--no-redirects", "GET", &key], "")?;
            ensure!(error.starts_with("MOVED "), "{error}");
        }
    }
    ensure!(redirected > 0, "one node serves all shards");
    let value = succeed(&["-p", &port, "-x", "SET", "one:input"], "from\0input")?;
    expect(&value, "OK\n")?;
    expect(&succeed(&["-p", &port, "STRLEN", "one:input"], "")?, "10\n")?;
    expect(&succeed(&["-p", &port, "-r", "3", "-i", "0.01", "INCR", "one:count"], "")?, "1\n2\n3\n")
}

fn over_tls(cluster: &Cluster) -> Result<()> {
    let dir = cluster.dir().display().to_string();
    let port = cluster.tls_servers()?.last().context("no listener")?.port.to_string();
    let ca = cluster.file()?.ca.display().to_string();
    for shard in 1..=SHARDS {
        let key = key_in_shard(shard, SHARDS, "tls:");
        expect(&succeed(&["--tls", "--cacert", &ca, "-p", &port, "SET", &key, "1"], "")?, "OK\n")?;
        expect(&succeed(&["--dir", &dir, "--tls", "GET", &key], "")?, "1\n")?;
    }
    let insecure = run(&["--tls", "--insecure", "-p", &port, "PING"], b"")?;
    ensure!(insecure.status.success(), "--insecure");
    ensure!(String::from_utf8_lossy(&insecure.stderr).contains("accepts any certificate"), "no warning");
    let (_, error) = fail(&["--tls", "--cacert", &ca, "--sni", "other.example", "-p", &port, "PING"], "")?;
    ensure!(error.contains("could not connect") && error.contains("certificate"), "{error}");
    let (_, error) = fail(&["-p", "1", "PING"], "")?;
    ensure!(error.starts_with("fastness: could not connect to 127.0.0.1:1: "), "{error}");
    Ok(())
}

fn errors_and_forms(cluster: &Cluster) -> Result<()> {
    let dir = cluster.dir().display().to_string();
    expect(&succeed(&["--dir", &dir, "HSET", "form:h", "a", "1", "b", "\u{fc}"], "")?, "2\n")?;
    let json: Value = serde_json::from_str(&succeed(&["--dir", &dir, "--json", "HGETALL", "form:h"], "")?)?;
    ensure!(json == json!({ "a": "1", "b": "\u{fc}" }), "{json}");
    let human = succeed(&["--dir", &dir, "--no-raw", "HGETALL", "form:h"], "")?;
    ensure!(human.ends_with("1# \"a\" => \"1\"\n2# \"b\" => \"\u{fc}\"\n"), "{human:?}");
    expect(&succeed(&["--dir", &dir, "HGETALL", "form:h"], "")?, "a\n1\nb\n\u{fc}\n")?;
    expect(&succeed(&["--dir", &dir, "--csv", "HMGET", "form:h", "a", "x"], "")?, "\"1\",NULL\n")?;
    let info = succeed(&["--dir", &dir, "--no-raw", "-2", "INFO", "server"], "")?;
    ensure!(info.starts_with("# Server\nredis_version:"), "{info:?}");
    let (out, error) = fail(&["--dir", &dir, "INCR", "form:h"], "")?;
    ensure!(out.is_empty() && error.starts_with("WRONGTYPE "), "{out:?} {error:?}");
    let (out, error) = fail(&["--dir", &dir, "--json", "INCR", "form:h"], "")?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["error"].as_str().is_some_and(|text| text.starts_with("WRONGTYPE")) && error.is_empty(), "{out}");
    Ok(())
}

/// Lines of standard input, a transaction on another node than the first among them.
fn lines(cluster: &Cluster) -> Result<()> {
    let dir = cluster.dir().display().to_string();
    let mut expected = String::new();
    let mut input = String::new();
    for shard in 1..=SHARDS {
        let key = key_in_shard(shard, SHARDS, "lines:");
        input += &format!("MULTI\nSET {key} \"a b\"\n\nSTRLEN '{key}'\nEXEC\n");
        expected += "OK\nQUEUED\nQUEUED\nOK\n3\n";
    }
    expect(&succeed(&["--dir", &dir], &input)?, &expected)?;
    let (out, _) = fail(&["--dir", &dir], "SET lines:x 1\nNOSUCH\nGET lines:x\n")?;
    ensure!(out.starts_with("OK\nERR unknown command 'NOSUCH'") && out.ends_with("\n1\n"), "{out:?}");
    let (out, error) = fail(&["--dir", &dir], "GET lines:x\nGET \"\nSET lines:x 2\n")?;
    ensure!(out == "1\n" && error.contains("line 2 of standard input: the quotes do not match"), "{out:?} {error}");
    Ok(())
}

async fn bulk_input(cluster: &Cluster) -> Result<()> {
    let dir = cluster.dir().display().to_string();
    let before = keys(cluster).await?;
    let input: String = (0..BULK).map(|key| format!("SET bulk:{key} {key}\n")).collect();
    let said = succeed(&["--dir", &dir, "--pipe"], &input)?;
    ensure!(said.starts_with(&format!("errors: 0, replies: {BULK}, seconds: ")), "{said}");
    let after = keys(cluster).await?;
    ensure!(after == before + BULK, "{before} keys, then {after}");
    expect(&succeed(&["--dir", &dir, "GET", "bulk:19999"], "")?, "19999\n")?;
    // As RESP, with errors; over TLS; the summary as JSON.
    let input =
        "*3\r\n$3\r\nSET\r\n$6\r\nbulk:x\r\n$4\r\na\r\nb\r\nINCR bulk:x\nMULTI\nSET bulk:x 1\nINCR bulk:x\nEXEC\n";
    let (out, error) = fail(&["--dir", &dir, "--tls", "--json", "--pipe"], input)?;
    let json: Value = serde_json::from_str(&out)?;
    ensure!(json["replies"] == json!(6) && json["errors"] == json!(1) && json["unknown"] == json!(0), "{out}");
    ensure!(error.starts_with("command 2 (INCR): ERR value is not an integer"), "{error}");
    expect(&succeed(&["--dir", &dir, "GET", "bulk:x"], "")?, "2\n")?;
    let (_, error) = fail(&["--dir", &dir, "--pipe"], "SET bulk:x 3\n*1\r\n+PING\r\n")?;
    ensure!(error.contains("standard input, byte 13: Protocol error"), "{error}");
    expect(&succeed(&["--dir", &dir, "GET", "bulk:x"], "")?, "3\n")
}

/// How far a file has been sent is drawn while it is sent, and removed at the end.
fn progress_on_a_terminal(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("commands");
    std::fs::write(&file, (0..BULK).map(|key| format!("SET bulk:{key} {key}\n")).collect::<String>())?;
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" cli --dir \"$1\" --pipe < \"$2\""]).arg(binary()?).arg(cluster.dir()).arg(file);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    blocking(|| {
        let mut bar = OnTerminal::start(&mut command, PATIENCE)?;
        let drawn = bar.wait_for_after(0, " answered")?;
        let text = bar.text();
        ensure!(text.contains(" % ") && text.contains("/s  ") && text.contains(" left"), "{text:?}");
        bar.wait_for_after(drawn, &format!("errors: 0, replies: {BULK}, seconds: "))?;
        ensure!(bar.ended()?.success(), "{}", bar.text());
        let text = bar.text();
        let summary = text.rsplit("errors: ").nth(1).unwrap_or_default();
        ensure!(summary.ends_with("\r\u{1b}[2K"), "the bar was not removed: {text:?}");
        Ok(())
    })
}

/// Keys of all shards.
async fn keys(cluster: &Cluster) -> Result<usize> {
    let mut keys = 0;
    for shard in 1..=SHARDS {
        let primary = cluster.primary(shard, PATIENCE).await?;
        let mut client = cluster.connect(primary, shard, PATIENCE).await?;
        keys += call_text(&mut client, &["DBSIZE"]).await?.parse::<usize>()?;
    }
    Ok(keys)
}

fn at_a_prompt(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let history = folder.path().join("history");
    let port = cluster.listeners()?.first().context("no listener")?.port;
    let mut command = command(&["-p", &port.to_string()])?;
    command.env("FASTNESS_CLI_HISTORY", &history).env("TERM", "xterm").env_remove("NO_COLOR");
    blocking(|| {
        let mut prompt = OnTerminal::start(&mut command, PATIENCE)?;
        prompt.wait_for(&format!("127.0.0.1:{port}> "))?;
        ensure!(prompt.has_other_modes()?, "no line editor");
        type_and_complete(&mut prompt)?;
        transactions_and_help(&mut prompt)?;
        ends_of_lines(&mut prompt)?;
        prompt.press(CTRL_D)?;
        ensure!(prompt.ended()?.success(), "{}", prompt.text());
        ensure!(!prompt.has_other_modes()?, "the modes of the terminal are not as they were");
        Ok(())
    })?;
    let text = std::fs::read_to_string(&history)?;
    ensure!(text.contains("getrange prompt:k 0 1\n") && !text.contains("secret"), "{text}");
    ensure!(std::fs::metadata(&history)?.permissions().mode() & 0o777 == 0o600, "others can read the history");
    Ok(())
}

/// Types keys, and waits for what they lead to.
fn type_for(prompt: &mut OnTerminal, keys: &str, expected: &str) -> Result<()> {
    let before = prompt.wait_for_after(0, "")?;
    prompt.press(keys)?;
    prompt.wait_for_after(before, expected).map(drop)
}

fn type_and_complete(prompt: &mut OnTerminal) -> Result<()> {
    type_for(prompt, "set prompt:k \"hello \\x1b\"\r", "OK")?;
    // Completed by Tab, with the rest of the arguments as a hint.
    type_for(prompt, &format!("getr{TAB}"), "key start end")?;
    type_for(prompt, "prompt:k ", "start end")?;
    type_for(prompt, "0 1\r", "\"he\"")?;
    type_for(prompt, "get prompt:k\r", "\"hello \\x1b\"")?;
    type_for(prompt, &format!("SET prompt:k v KEEP{TAB}\r"), "OK")?;
    type_for(prompt, "INCR prompt:k\r", "(error) ERR value is not an integer")
}

fn transactions_and_help(prompt: &mut OnTerminal) -> Result<()> {
    type_for(prompt, "MULTI\r", "(TX)> ")?;
    type_for(prompt, "SET prompt:k 1\r", "QUEUED")?;
    type_for(prompt, "EXEC\r", "1) OK")?;
    type_for(prompt, "HELP GETRANGE\r", "since 2.4.0, group string")?;
    type_for(prompt, "get \"x\r", "The quotes do not match.")?;
    type_for(prompt, "AUTH secret\r", "(error) ")
}

/// Ctrl-C drops a line, and leaves a command that does not return.
fn ends_of_lines(prompt: &mut OnTerminal) -> Result<()> {
    type_for(prompt, &format!("SET prompt:k 2{CTRL_C}"), "(QUIT or Ctrl-D leaves)")?;
    type_for(prompt, "GET prompt:k\r", "\"1\"")?;
    let pid = rustix::process::Pid::from_raw(prompt.child.id() as i32).context("no process")?;
    // Waits for more replicas than there are, for ever.
    let before = prompt.wait_for_after(0, "")?;
    prompt.press("WAIT 7 0\r")?;
    let until = std::time::Instant::now() + PATIENCE;
    // The key would be sent to the line editor while it still has the terminal.
    while prompt.has_other_modes()? {
        ensure!(std::time::Instant::now() < until, "the command does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    prompt.wait_for_after(before, "Interrupted: the connection was closed")?;
    type_for(prompt, "GET prompt:k\r", "\"1\"")
}
