//! Data and nodes of the first version (17a32f9) work with this one.
//!
//! `golden/data-17a32f9.tar.gz` is the folder of a dev cluster that the first version wrote: strings, hashes, deadlines
//! of both, a snapshot of each replica followed by log, changes of the durability mode. Current nodes start on a copy
//! of it, and everything is read back.
//!
//! With `FASTNESS_OLD_BIN`, the path of a binary of that version, its nodes are replaced one by one in a running
//! cluster (`make test-upgrade OLD=…`), and `cargo test -p fastness-testkit --test upgrade -- --ignored` rewrites the
//! golden folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::{Connection, Endpoint};
use fastness_resp::value::Value;
use fastness_testkit::cluster::{ClusterFile, binary, wait_for_exit};
use fastness_testkit::observe::page;
use fastness_testkit::ports::Ports;
use fastness_testkit::wait::until_ok;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
/// The golden cluster's addresses are in its data.
const GOLDEN_PORT: u16 = 9_800;
/// 2100-01-01: no deadline passes while this test is in use.
const FAR_MS: &str = "4102444800000";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data-17a32f9.tar.gz")
}

/// Content of the golden data: commands that create it, in order, and questions with their answers. Part 0 is in the
/// snapshots, part 1 in the log after them.
fn commands(part: usize) -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let each = (0..40).map(|i| part * 40 + i).flat_map(|i| {
        [
            format!("SET string:{i} {}", "v".repeat(i)),
            format!("HSET hash:{i} a {i} b {}", i * i),
            format!("SET deadline:{i} {i} PXAT {FAR_MS}"),
            format!("HSET fields:{i} stays 1 goes {i}"),
            format!("HPEXPIREAT fields:{i} {FAR_MS} FIELDS 1 goes"),
            format!("SET gone:{i} x"),
            format!("DEL gone:{i}"),
            format!("INCRBY counter {i}"),
        ]
    });
    let large = (0..700).map(|i| format!("HSET large:{part} field:{i} value:{i}"));
    each.chain(large).chain([format!("MSET {{m}}a:{part} 1 {{m}}b:{part} 2")]).map(words).collect()
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.into())
}

/// Waits until a replica has applied what its leader had committed when it first answered.
async fn serves(client: &mut Connection) -> Result<()> {
    until_ok(PATIENCE, async || {
        let reply = client.call(&[b"EXISTS", b"string:0"]).await?;
        let is_loading = matches!(&reply, Value::Error(text) if text.starts_with(b"LOADING"));
        ensure!(!is_loading, "the replica is still loading: {reply:?}");
        Ok(())
    })
    .await
}

async fn check(client: &mut Connection, parts: usize) -> Result<()> {
    let mut checked = 0;
    let mut expect = async |command: String, expected: Value| -> Result<()> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let found = client.call(&words).await?;
        ensure!(found == expected, "{command}: {found:?}, expected {expected:?}");
        checked += 1;
        Ok(())
    };
    for i in 0..parts * 40 {
        expect(format!("GET string:{i}"), bulk(&"v".repeat(i))).await?;
        expect(format!("HMGET hash:{i} a b"), Value::Array(vec![bulk(&i.to_string()), bulk(&(i * i).to_string())]))
            .await?;
        expect(format!("GET deadline:{i}"), bulk(&i.to_string())).await?;
        expect(format!("PEXPIRETIME deadline:{i}"), Value::Integer(FAR_MS.parse()?)).await?;
        expect(format!("HGET fields:{i} goes"), bulk(&i.to_string())).await?;
        let deadlines = vec![Value::Integer(FAR_MS.parse()?), Value::Integer(-1)];
        expect(format!("HPEXPIRETIME fields:{i} FIELDS 2 goes stays"), Value::Array(deadlines)).await?;
        expect(format!("EXISTS gone:{i}"), Value::Integer(0)).await?;
    }
    for part in 0..parts {
        expect(format!("HLEN large:{part}"), Value::Integer(700)).await?;
        expect(format!("HGET large:{part} field:699"), bulk("value:699")).await?;
        expect(format!("MGET {{m}}a:{part} {{m}}b:{part}"), Value::Array(vec![bulk("1"), bulk("2")])).await?;
    }
    expect("GET counter".into(), bulk(&(0..parts * 40).sum::<usize>().to_string())).await?;
    eprintln!("{checked} questions were answered as expected");
    Ok(())
}

/// A dev cluster in a folder, run by one binary or another.
struct Folder {
    dir: tempfile::TempDir,
    /// Nodes that this test has started itself, by id.
    alone: Vec<(u64, Child)>,
    _ports: Ports,
}

impl Folder {
    fn at(ports: Ports) -> Result<Folder> {
        Ok(Folder {
            dir: tempfile::Builder::new().prefix("fastness-upgrade-").tempdir()?,
            alone: Vec::new(),
            _ports: ports,
        })
    }

    fn run(&self, binary: &Path, arguments: &[&str]) -> Result<String> {
        let output = Command::new(binary).args(arguments).arg("--dir").arg(self.dir.path()).output()?;
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            let logs = (1..=3).map(|node| self.log(node).unwrap_or_default()).collect::<Vec<_>>().join("\n---\n");
            bail!("{} {arguments:?}: {said}{wrong}\n{logs}", binary.display());
        }
        Ok(said.into_owned())
    }

    fn log(&self, node: u64) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join(format!("nodes/{node}/node.log")))?)
    }

    fn file(&self) -> Result<ClusterFile> {
        Ok(serde_json::from_slice(&std::fs::read(self.dir.path().join("cluster.json"))?)?)
    }

    async fn connect(&self, node: u64) -> Result<Connection> {
        let file = self.file()?;
        let node = file.nodes.iter().find(|n| n.id == node).context("no such node")?;
        let front_end = &node.resp[0];
        Ok(Connection::open(&Endpoint::new(front_end.host.clone(), front_end.port), None, TIMEOUT).await?)
    }

    /// The current primary, once it serves.
    async fn primary(&self) -> Result<(u64, Connection)> {
        let until = Instant::now() + PATIENCE;
        loop {
            for node in 1..=3 {
                let Ok(mut client) = self.connect(node).await else { continue };
                if matches!(client.call(&[b"SET", b"probe", b"1"]).await, Ok(Value::Simple(_))) {
                    return Ok((node, client));
                }
            }
            ensure!(Instant::now() < until, "no primary");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the old node cleanly, and starts this version on its data and its config file.
    fn upgrade(&mut self, node: u64) -> Result<()> {
        let pid = self.file()?.nodes.iter().find(|n| n.id == node).and_then(|n| n.pid).context("it does not run")?;
        let pid = Pid::from_raw(pid).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        wait_for_exit(pid)?;
        let folder = self.dir.path().join(format!("nodes/{node}"));
        let log = std::fs::File::options().append(true).open(folder.join("node.log"))?;
        let mut command = Command::new(binary()?);
        command.args(["server", "--config"]).arg(folder.join("fastness.conf")).current_dir(&folder);
        self.alone.push((node, command.stdout(Stdio::null()).stderr(log).spawn()?));
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for (_, child) in &mut self.alone {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Ok(binary) = binary() {
            let _ = Command::new(binary).args(["dev", "stop", "--dir"]).arg(self.dir.path()).output();
        }
    }
}

/// The old binary, if there is one.
fn old() -> Option<PathBuf> {
    std::env::var_os("FASTNESS_OLD_BIN").map(PathBuf::from)
}

async fn run_all(client: &mut Connection, commands: Vec<Vec<String>>) -> Result<()> {
    for command in commands {
        let words: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
        let reply = client.call(&words).await?;
        ensure!(!matches!(reply, Value::Error(_)), "{command:?}: {reply:?}");
    }
    Ok(())
}

/// Waits until all three replicas have the same digest at the same index.
async fn agree(folder: &Folder) -> Result<()> {
    until_ok(PATIENCE, async || {
        let mut digests = Vec::new();
        for node in folder.file()?.nodes {
            digests.push(page(&node.metrics, "/digest").await?);
        }
        let agree = digests.iter().all(|digest| *digest == digests[0] && !digest.contains(" - ") && !digest.is_empty());
        ensure!(agree, "the replicas differ: {digests:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_of_the_first_version_opens_and_holds_what_it_held() -> Result<()> {
    let ports = until_ok(PATIENCE, async || Ports::reserve_at(GOLDEN_PORT)).await?;
    let folder = Folder::at(ports)?;
    let unpacked = Command::new("tar").arg("-xzf").arg(golden()).arg("-C").arg(folder.dir.path()).output()?;
    ensure!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    let new = binary()?;
    // The kept data is complete before the first write.
    for node in 1..=3 {
        let config = folder.dir.path().join(format!("nodes/{node}/fastness.conf"));
        let text = std::fs::read_to_string(&config)?.replace("GOLDEN_DIR", &folder.dir.path().display().to_string());
        std::fs::write(&config, text)?;
        let output = Command::new(&new).args(["snapshot", "verify", "--config"]).arg(&config).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && said.contains(": intact; index "), "node {node}: {said}");
    }
    folder.run(&new, &["dev", "--detach"])?;
    let (primary, mut client) = folder.primary().await?;
    check(&mut client, 2).await?;
    let mode = client.call(&[b"INFO", b"durability"]).await?;
    let mode = String::from_utf8_lossy(mode.as_bytes().unwrap_or_default()).into_owned();
    ensure!(mode.contains("durability:sync\r\ndurability_desired:sync\r\n"), "{mode}");
    agree(&folder).await?;
    // A replica has restored the same; and new writes are read together with the old data by the next start.
    let mut replica = folder.connect(primary % 3 + 1).await?;
    replica.call(&[b"READONLY"]).await?;
    serves(&mut replica).await?;
    check(&mut replica, 2).await?;
    run_all(&mut client, commands(2)).await?;
    folder.run(&new, &["cluster", "snapshot"])?;
    folder.run(&new, &["dev", "stop"])?;
    folder.run(&new, &["dev", "--detach"])?;
    let (_, mut client) = folder.primary().await?;
    check(&mut client, 3).await?;
    agree(&folder).await
}

/// Node by node, while clients write: nothing that the first version cannot read is written before the last of its
/// nodes has stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_the_first_version_is_upgraded_node_by_node() -> Result<()> {
    let Some(old) = old() else {
        eprintln!("SKIPPED: FASTNESS_OLD_BIN names no binary of the first version (make test-upgrade OLD=PATH)");
        return Ok(());
    };
    let ports = Ports::reserve()?;
    let port = ports.first().to_string();
    let mut folder = Folder::at(ports)?;
    folder.run(&old, &["dev", "--detach", "--shards", "1", "--port", &port])?;
    let (_, mut client) = folder.primary().await?;
    run_all(&mut client, commands(0)).await?;
    let set = [&b"CONFIG"[..], b"SET", b"durability-max-lag", b"1500ms"];
    for (done, node) in (1..=3).enumerate() {
        folder.upgrade(node)?;
        let (_, mut client) = folder.primary().await?;
        let upgraded = until_ok(PATIENCE, async || {
            let mut client = folder.connect(node).await?;
            let reply = client.call(&[b"PING"]).await?;
            ensure!(matches!(reply, Value::Simple(_)), "{reply:?}");
            Ok(client)
        });
        let upgraded = upgraded.await;
        let log = folder.log(node)?;
        let mut upgraded = upgraded.with_context(|| format!("the upgraded node {node} does not serve: {log}"))?;
        // Old and new nodes commit together, with any leader.
        if done < 2 {
            check(&mut client, 1).await?;
            let refused = upgraded.call(&set).await?;
            let Value::Error(text) = &refused else { bail!("{refused:?}") };
            let text = String::from_utf8_lossy(text.as_ref());
            ensure!(text.contains("older version"), "{text}");
            let others: Vec<_> = (node + 1..=3).collect();
            for other in others {
                let log = folder.log(other)?;
                for refusal in ["run a newer one", "upgrade it to the version"] {
                    ensure!(!log.contains(refusal), "{log}");
                }
            }
        }
    }
    let (_, mut client) = folder.primary().await?;
    run_all(&mut client, commands(1)).await?;
    check(&mut client, 2).await?;
    // Now all nodes know the new format, and all use it.
    until_ok(PATIENCE, async || {
        let reply = client.call(&set).await?;
        ensure!(reply == Value::Simple("OK".into()), "{reply:?}");
        Ok(())
    })
    .await?;
    for node in 1..=3 {
        let mut client = folder.connect(node).await?;
        let told = client.call(&[b"CONFIG", b"GET", b"durability-max-lag"]).await?;
        ensure!(told == Value::Array(vec![bulk("durability-max-lag"), bulk("1500ms")]), "node {node}: {told:?}");
    }
    Ok(())
}

/// Writes the golden folder, with a binary of the first version.
#[ignore = "writes a file of the repository: only to create it again"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_folder_is_written() -> Result<()> {
    let old = old().context("FASTNESS_OLD_BIN names no binary of the first version")?;
    let folder = Folder::at(Ports::reserve_at(GOLDEN_PORT)?)?;
    folder.run(&old, &["dev", "--detach", "--shards", "1", "--port", &GOLDEN_PORT.to_string()])?;
    let (_, mut client) = folder.primary().await?;
    run_all(&mut client, commands(0)).await?;
    folder.run(&old, &["cluster", "set-durability", "async"])?;
    folder.run(&old, &["cluster", "snapshot"])?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    run_all(&mut client, commands(1)).await?;
    folder.run(&old, &["cluster", "set-durability", "sync"])?;
    check(&mut client, 2).await?;
    folder.run(&old, &["dev", "stop"])?;
    for node in 1..=3 {
        let own = folder.dir.path().join(format!("nodes/{node}"));
        // Files that are rewritten at each start, or contain the place of their creation.
        for name in ["node.log", "run.json", "data/log/LOG"] {
            std::fs::remove_file(own.join(name))?;
        }
        let config = own.join("fastness.conf");
        let text = std::fs::read_to_string(&config)?
            .replace(&folder.dir.path().canonicalize()?.display().to_string(), "GOLDEN_DIR");
        std::fs::write(&config, text)?;
    }
    for name in ["dev.log", "cluster.json"] {
        std::fs::remove_file(folder.dir.path().join(name))?;
    }
    std::fs::create_dir_all(golden().parent().context("a parent")?)?;
    let packed = Command::new("tar").arg("-czf").arg(golden()).arg("-C").arg(folder.dir.path()).arg(".").output()?;
    ensure!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    Ok(())
}
