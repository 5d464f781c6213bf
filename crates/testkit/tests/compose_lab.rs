//! The lab in containers (`deploy/lab/`): its files fit together; and, where there is a Docker engine and
//! `make test-lab` asks for it, it is started, loaded, broken, stopped, started again and removed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::{Connection, Endpoint, Login, Topology};
use fastness_resp::value::Value;
use fastness_testkit::browser::{self, Browser};
use fastness_testkit::cluster::binary;
use fastness_testkit::lab_console::{LabConsole, ended, press};
use fastness_testkit::ports::Ports;
use fastness_types::{SLOTS, Slot, slot_of};

const TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
/// What the lab may use with its load running, bytes.
const MEMORY_MAX: u64 = 2 << 30;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program's output if it succeeds.
fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", text(&output));
    Ok(String::from_utf8(output.stdout)?)
}

fn docker(arguments: &[&str]) -> Result<String> {
    succeed(Command::new("docker").args(arguments))
}

/// A lab with a name, a folder and ports of its own. If it may be started, it is removed with everything that it has
/// made.
struct ComposeLab {
    name: String,
    dir: tempfile::TempDir,
    port: u16,
    /// `None`: it is not to be started.
    ports: Option<Ports>,
}

impl ComposeLab {
    fn new() -> Result<ComposeLab> {
        let ports = Ports::reserve()?;
        let (port, name) = (ports.first(), format!("fastness-lab-test-{}", std::process::id()));
        Ok(ComposeLab { name, dir: tempfile::tempdir()?, port, ports: Some(ports) })
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("lab")
    }

    fn script(&self, what: &str) -> Result<Command> {
        let mut command = Command::new(root().join("deploy/lab/lab.sh"));
        command.arg(what).env("FASTNESS_BIN", binary()?).env("FASTNESS_LAB_DIR", self.dir());
        command.env("FASTNESS_LAB_NAME", &self.name).env("FASTNESS_LAB_PORT", self.port.to_string());
        // What is tested is not what a registry serves today.
        command.env("FASTNESS_LAB_PULL", "no");
        Ok(command)
    }

    fn run(&self, what: &str) -> Result<String> {
        succeed(&mut self.script(what)?)
    }

    /// A verb of `fastness lab`.
    fn verb(&self, verb: &str) -> Result<String> {
        succeed(Command::new(binary()?).arg("lab").args(verb.split(' ')).arg("--dir").arg(self.dir()))
    }

    fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.dir().join("cluster.json"))?)?)
    }

    fn login(&self) -> Result<Login> {
        let password = self.json()?["password"].as_str().context("a password")?.to_owned();
        Ok(Login { password: Some(password), ..Login::default() })
    }

    /// As a client on the host finds it, through the first mapped port.
    async fn topology(&self) -> Result<Topology> {
        Ok(Topology::read(&[Endpoint::new("127.0.0.1", self.port)], &self.login()?, TIMEOUT).await?)
    }

    /// Runs a command on the primary of a key, as a client on the host.
    async fn call(&self, key: &str, command: &[&[u8]]) -> Result<Value> {
        let primary = self.topology().await?.primary(slot_of(key.as_bytes())).context("a primary")?.clone();
        let mut connection = Connection::open_as(&primary, &self.login()?, TIMEOUT).await?;
        Ok(connection.call(command).await?)
    }

    /// Runs a command as a client in another container, over TLS. It enters at node b and follows redirects.
    fn call_in_container(&self, command: &[&str]) -> Result<String> {
        let ca = format!("{}:/ca.crt:ro", self.dir().join("admin/ca.crt").display());
        let network = format!("{}_between", self.name);
        let tools = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "fastness-lab-tools"])?;
        let image = tools.lines().next().context("the image of the tools")?;
        let password = self.login()?.password.unwrap_or_default();
        let client = ["redis-cli", "-c", "--tls", "--cacert", "/ca.crt", "-h", "node-b", "--no-auth-warning", "-a"];
        let run = ["run", "--rm", "--network", &network, "--volume", &ca, image];
        docker(&[&run[..], &client, &[password.as_str()], command].concat())
    }

    /// The answer of Prometheus.
    fn prometheus(&self, path: &str) -> Result<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port + 15))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        ensure!(head.contains(" 200 "), "{path}: {answer}");
        Ok(serde_json::from_str(body)?)
    }

    fn query(&self, query: &str) -> Result<serde_json::Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Ok(self.prometheus(&format!("/api/v1/query?query={encoded}"))?["data"]["result"].clone())
    }
}

impl Drop for ComposeLab {
    fn drop(&mut self) {
        if self.ports.is_some() && self.dir().join("compose.env").exists() {
            let removed = self.run("clean");
            if let Err(error) = removed {
                eprintln!("the lab {} was not removed: {error}", self.name);
            }
        }
    }
}

/// The words of docker-compose, or of Docker's plugin.
fn compose() -> Option<&'static [&'static str]> {
    const WORDS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    WORDS.into_iter().find(|words| works(&[*words, &["version"][..]].concat()))
}

fn works(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success())
}

/// Why containers cannot be run here.
fn lacking() -> Option<&'static str> {
    if !works(&["docker", "version"]) {
        return Some("there is no Docker engine that this user may use");
    }
    if compose().is_none() {
        return Some("there is no docker-compose");
    }
    let images = Command::new("docker").args(["images", "--format", "{{.Repository}}"]).output().ok()?;
    if text(&images).lines().any(|name| name == "fastness-lab-base") {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root can make the base image");
    }
    if !Path::new("/usr/sbin/debootstrap").exists() {
        return Some("there is no debootstrap to make the base image with");
    }
    None
}

/// `${NAME:-default}` in the compose file.
fn variables(yaml: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for part in yaml.split("${").skip(1) {
        let inside = part.split('}').next().context("a closing brace")?;
        let (name, default) = inside.split_once(":-").with_context(|| format!("{inside} has no default"))?;
        let before = found.insert(name.to_owned(), default.to_owned());
        ensure!(before.is_none_or(|before| before == default), "{name} has two defaults");
    }
    Ok(found)
}

#[test]
fn the_compose_file_fits_what_the_scripts_write() -> Result<()> {
    let yaml = std::fs::read_to_string(root().join("deploy/lab/docker-compose.yml"))?;
    // The ports of the first lab that somebody starts; nothing listens on them here.
    let lab = ComposeLab { name: "fastness-lab".to_owned(), dir: tempfile::tempdir()?, port: 7500, ports: None };
    lab.run("files")?;
    let env = std::fs::read_to_string(lab.dir().join("compose.env"))?;
    let written: BTreeMap<&str, &str> = env.lines().filter_map(|line| line.split_once('=')).collect();
    for (name, default) in variables(&yaml)? {
        match written.get(name.as_str()) {
            Some(_) if name == "LAB_DIR" => {}
            Some(value) => ensure!(*value == default, "{name}: {value} in compose.env, {default} in the compose file"),
            None => ensure!(name.starts_with("LAB_NODE_"), "compose.env does not set {name}"),
        }
    }
    let json = lab.json()?;
    for (node, az) in json["nodes"].as_array().context("nodes")?.iter().zip(["a", "b", "c"]) {
        let id = node["id"].as_u64().context("an id")?;
        ensure!(node["az"] == az && node["container"] == format!("fastness-lab-node-{az}"), "{node}");
        let conf = std::fs::read_to_string(lab.dir().join(format!("nodes/{id}/fastness.conf")))?;
        let ports: Vec<u64> =
            node["resp"].as_array().context("ports")?.iter().filter_map(|one| one["port"].as_u64()).collect();
        let (first, last) = (ports.first().context("a port")?, ports.last().context("a port")?);
        ensure!(conf.contains(&format!("\nport {first}\n")), "{conf}");
        let upper = az.to_uppercase();
        ensure!(written.get(format!("LAB_PLAINTEXT_{upper}").as_str()) == Some(&format!("{first}-{last}").as_str()));
        for (key, name) in [("grpc", "LAB_GRPC"), ("metrics", "LAB_METRICS")] {
            let port = written.get(format!("{name}_{upper}").as_str()).context("a port")?;
            ensure!(node[key] == format!("127.0.0.1:{port}"), "{node}");
        }
    }
    compose_reads(&lab)
}

fn compose_reads(lab: &ComposeLab) -> Result<()> {
    let Some(compose) = compose() else {
        eprintln!("SKIPPED: docker-compose is not installed, so that the compose file was not read by it");
        return Ok(());
    };
    let (file, env) = (root().join("deploy/lab/docker-compose.yml"), lab.dir().join("compose.env"));
    let mut config = Command::new(compose[0]);
    config.args(&compose[1..]).arg("--env-file").arg(env).arg("-f").arg(file).arg("config");
    let shown = succeed(&mut config)?;
    for service in ["node-a", "node-b", "node-c", "prometheus"] {
        ensure!(shown.contains(&format!("  {service}:")), "{service}: {shown}");
    }
    Ok(())
}

/// Names of keys, one for each shard.
fn keys() -> Vec<String> {
    let shard = |key: &str| usize::from(slot_of(key.as_bytes()).0) * 3 / SLOTS;
    (0..3).filter_map(|wanted| (0..100).map(|i| format!("key{i}")).find(|key| shard(key) == wanted)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_is_started_broken_stopped_and_started_again() -> Result<()> {
    if std::env::var_os("FASTNESS_TEST_LAB").is_none() {
        eprintln!("SKIPPED: the lab in containers takes minutes and a Docker engine: `make test-lab`");
        return Ok(());
    }
    if let Some(reason) = lacking() {
        eprintln!("SKIPPED: {reason}");
        return Ok(());
    }
    let lab = ComposeLab::new()?;
    refuses_what_it_lacks(&lab)?;
    let began = Instant::now();
    let said = lab.run("up")?;
    println!("{said}\nstarted in {:.1} s, with the images", began.elapsed().as_secs_f64());

    every_shard_is_reached(&lab).await?;
    faults_under_load_lose_nothing(&lab)?;
    payments_are_made_once(&lab)?;
    buttons_drive_containers(&lab)?;
    every_panel_has_data(&lab)?;
    data_survives_new_addresses(&lab).await?;

    lab.run("clean")?;
    let left = docker(&["ps", "--all", "--quiet", "--filter", &format!("name={}", lab.name)])?
        + &docker(&["volume", "ls", "--quiet", "--filter", &format!("name={}", lab.name)])?
        + &docker(&["network", "ls", "--quiet", "--filter", &format!("name={}", lab.name)])?;
    ensure!(left.is_empty() && !lab.dir().exists(), "left behind: {left}");
    Ok(())
}

fn refuses_what_it_lacks(lab: &ComposeLab) -> Result<()> {
    let refused = |command: &mut Command, reason: &str| -> Result<()> {
        let output = command.output()?;
        let said = text(&output);
        ensure!(!output.status.success() && said.lines().count() == 1 && said.contains(reason), "{said}");
        Ok(())
    };
    let taken = TcpListener::bind(("127.0.0.1", lab.port + 9))?;
    refused(&mut lab.script("up")?, &format!("port {} is taken by another program", lab.port + 9))?;
    drop(taken);
    refused(lab.script("up")?.env("FASTNESS_LAB_MEMORY_MIB", "99999999"), "the lab needs 99999999 MiB of memory")?;
    ensure!(!lab.dir().exists(), "something was half-started");
    Ok(())
}

async fn every_shard_is_reached(lab: &ComposeLab) -> Result<()> {
    let topology = lab.topology().await?;
    for endpoint in topology.primaries().iter().chain(topology.replicas().iter().flatten()) {
        ensure!(endpoint.host == "127.0.0.1", "the host cannot reach {endpoint}");
    }
    for key in keys() {
        let reply = lab.call(&key, &[b"SET", key.as_bytes(), b"from the host"]).await?;
        ensure!(matches!(&reply, Value::Simple(_)), "{key}: {reply:?}");
        let seen = lab.call_in_container(&["GET", &key])?;
        ensure!(seen.trim() == "from the host", "{key}: {seen}");
        let set = lab.call_in_container(&["SET", &key, "from a container"])?;
        ensure!(set.trim() == "OK", "{key}: {set}");
        // A node that is not the primary names the one that is, by an address that the caller can reach.
        let elsewhere = topology.copies(slot_of(key.as_bytes())).pop().context("a replica")?;
        let mut connection = Connection::open_as(&elsewhere, &lab.login()?, TIMEOUT).await?;
        let Value::Error(moved) = connection.call(&[b"GET", key.as_bytes()]).await? else { bail!("no redirect") };
        ensure!(String::from_utf8_lossy(&moved).contains(" 127.0.0.1:"), "{moved:?}");
    }
    let mut stranger = Connection::open(&Endpoint::new("127.0.0.1", lab.port), None, TIMEOUT).await?;
    let reply = stranger.call(&[b"GET", b"key1"]).await?;
    ensure!(matches!(&reply, Value::Error(text) if text.starts_with(b"NOAUTH")), "without a password: {reply:?}");
    Ok(())
}

/// The row of a node in a verb's table.
fn row(table: &str, node: u64) -> Result<String> {
    let found = table.lines().find(|line| line.starts_with(&format!("{node}  ")));
    Ok(found.with_context(|| format!("no node {node}: {table}"))?.to_owned())
}

fn faults_under_load_lose_nothing(lab: &ComposeLab) -> Result<()> {
    lab.verb("load start --clients 6 --rate 300")?;
    std::thread::sleep(Duration::from_secs(2));
    let down = lab.verb("az down a")?;
    ensure!(row(&down, 1)?.contains("→ down"), "{down}");
    std::thread::sleep(Duration::from_secs(2));
    let up = lab.verb("az up a")?;
    ensure!(row(&up, 1)?.contains("down → running"), "{up}");
    let cut = lab.verb("az partition b")?;
    ensure!(row(&cut, 2)?.contains("link to node 1: cut; link to node 3: cut"), "{cut}");
    std::thread::sleep(Duration::from_secs(1));
    lab.verb("az heal b")?;
    let paused = lab.verb("node pause 3")?;
    ensure!(row(&paused, 3)?.contains("→ paused"), "{paused}");
    let resumed = lab.verb("node resume 3")?;
    ensure!(row(&resumed, 3)?.contains("→ running"), "{resumed}");
    let full = lab.verb("disk full --node 1")?;
    ensure!(row(&full, 1)?.contains("disk: writes fail for lack of space"), "{full}");
    lab.verb("disk heal --node 1")?;
    std::thread::sleep(Duration::from_secs(2));
    println!("{}", lab.verb("load status")?);
    let used = memory_used(lab)?;
    println!("the lab uses {} MiB of memory under its load", used >> 20);
    ensure!(used < MEMORY_MAX, "{used} bytes");
    let verdict = lab.verb("load stop")?;
    println!("{verdict}");
    ensure!(verdict.contains("verdict: every promise is kept"), "{verdict}");
    Ok(())
}

/// Memory of all containers, bytes, as their control groups count it.
fn memory_used(lab: &ComposeLab) -> Result<u64> {
    let filter = format!("label=com.docker.compose.project={}", lab.name);
    let ids = docker(&["ps", "--quiet", "--filter", &filter])?;
    let stats = ["stats", "--no-stream", "--format", "{{.MemUsage}}"];
    let shown = docker(&[&stats[..], &ids.lines().collect::<Vec<_>>()].concat())?;
    ensure!(shown.lines().count() >= 4, "{shown}");
    let bytes = |line: &str| -> Option<u64> {
        let used = line.split(" / ").next()?.trim();
        let digits = used.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: f64 = match &used[digits.len()..] {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        Some((digits.parse::<f64>().ok()? * unit) as u64)
    };
    shown.lines().map(|line| bytes(line).with_context(|| line.to_owned())).sum()
}

/// The Rust SDK on the host finds the nodes although they name each other as only containers can.
fn payments_are_made_once(lab: &ComposeLab) -> Result<()> {
    lab.verb("load start --clients 4 --rate 100 --mode payments")?;
    std::thread::sleep(Duration::from_secs(1));
    lab.verb("node kill 2")?;
    std::thread::sleep(Duration::from_secs(1));
    lab.verb("node start 2")?;
    let verdict = lab.verb("load stop")?;
    ensure!(verdict.contains("verdict: every promise is kept"), "{verdict}");
    Ok(())
}

/// The console on the host shows the nodes in containers, and its buttons kill one and start it again.
fn buttons_drive_containers(lab: &ComposeLab) -> Result<()> {
    if let Some(why) = browser::lacking() {
        eprintln!("SKIPPED: the console of the lab: {why}");
        return Ok(());
    }
    let console = LabConsole::start(&lab.dir())?;
    let mut browser = Browser::start()?;
    browser.open(console.url())?;
    let cells = "[...document.querySelectorAll('#shards tbody td')].map((cell) => cell.innerText.trim())";
    let count = |role: &str| format!("{cells}.filter((text) => text === '{role}').length");
    browser.wait_for(&format!("{} === 3 && {} === 6", count("PRIMARY"), count("replica")))?;
    press(&mut browser, "az-down", "c")?;
    let output = ended(&mut browser, "az down c")?;
    ensure!(output.contains("down"), "{output}");
    browser.wait_for(&format!("{} === 3 && {} === 3", count("PRIMARY"), count("DOWN")))?;
    let filter = format!("name={}-node-c", lab.name);
    ensure!(docker(&["ps", "--quiet", "--filter", &filter])?.is_empty(), "the container of node c runs");
    press(&mut browser, "az-up", "c")?;
    ended(&mut browser, "az up c")?;
    browser.wait_for(&format!("{} === 3 && {} === 6", count("PRIMARY"), count("replica")))?;
    ensure!(!docker(&["ps", "--quiet", "--filter", &filter])?.is_empty(), "the container of node c does not run");
    println!("the console's buttons have killed AZ c and started it again");
    Ok(())
}

fn every_panel_has_data(lab: &ComposeLab) -> Result<()> {
    let page = std::fs::read(root().join("deploy/lab/grafana/dashboards/fastness.json"))?;
    let page: serde_json::Value = serde_json::from_slice(&page)?;
    let panels = page["panels"].as_array().context("panels")?;
    ensure!(panels.len() > 10);
    for panel in panels {
        for target in panel["targets"].as_array().context("targets")? {
            let query = target["expr"].as_str().context("a query")?.replace("$__rate_interval", "1m");
            let until = Instant::now() + PATIENCE;
            while lab.query(&query)?.as_array().is_none_or(Vec::is_empty) {
                ensure!(Instant::now() < until, "{}: {query} returns nothing", panel["title"]);
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
    let up = lab.query("sum(up{job=\"fastness\"})")?;
    ensure!(up[0]["value"][1] == "3", "Prometheus reaches every node: {up}");
    let rules = lab.prometheus("/api/v1/rules")?;
    let groups = rules["data"]["groups"].as_array().context("groups of rules")?;
    ensure!(!groups.is_empty(), "no alert rules are loaded: {rules}");
    for group in groups {
        for rule in group["rules"].as_array().context("rules")? {
            ensure!(rule["health"] != "err", "{rule}");
        }
    }
    Ok(())
}

fn addresses(lab: &ComposeLab) -> Result<String> {
    let all = ["a", "b", "c"].map(|az| format!("{}-node-{az}", lab.name));
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    docker(&["inspect", "--format", format, &all[0], &all[1], &all[2]])
}

async fn data_survives_new_addresses(lab: &ComposeLab) -> Result<()> {
    let before = addresses(lab)?;
    lab.run("down")?;
    // The networks are created again with other addresses, because these take the ones of before.
    let squatters = [1, 2, 3, 4].map(|number| format!("{}-squatter-{number}", lab.name));
    for squatter in &squatters {
        docker(&["network", "create", squatter])?;
    }
    let began = Instant::now();
    let said = lab.run("up");
    for squatter in &squatters {
        docker(&["network", "rm", squatter])?;
    }
    said?;
    println!("started again in {:.1} s", began.elapsed().as_secs_f64());
    let after = addresses(lab)?;
    ensure!(before != after, "the addresses are those of before: {after}");
    for key in keys() {
        let value = lab.call(&key, &[b"GET", key.as_bytes()]).await?;
        ensure!(value == Value::Bulk("from a container".into()), "{key}: {value:?}");
    }
    ensure!(lab.topology().await?.primary(Slot(0)).is_some());
    Ok(())
}
