//! `fastness dev` from start to finish, on real processes: start, write, kill -9, restart, stop, refusals.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fastness_testkit::ports::Ports;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Time limit of every step; nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

fn fastness(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fastness")).args(arguments).arg("--dir").arg(dir).output().unwrap()
}

fn succeed(arguments: &[&str], dir: &Path) -> String {
    let output = fastness(arguments, dir);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str], dir: &Path, reason: &str) {
    let output = fastness(arguments, dir);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains(reason), "{arguments:?}: {error}");
}

/// Stops the cluster however the test ends.
struct Cluster {
    dir: PathBuf,
    _ports: Ports,
    _folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        fastness(&["dev", "stop"], &self.dir);
    }
}

impl Cluster {
    fn start(more: &[&str]) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::reserve().unwrap();
        let port = ports.first().to_string();
        let cluster = Cluster { dir: folder.path().join("a cluster"), _ports: ports, _folder: folder };
        let arguments = [&["dev", "--detach", "--port", &port], more].concat();
        let text = succeed(&arguments, &cluster.dir);
        assert!(text.contains("durability sync"), "{text}");
        cluster
    }

    fn file(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.dir.join("cluster.json")).unwrap()).unwrap()
    }

    fn pid(&self, node: usize) -> Option<i64> {
        self.file()["nodes"][node - 1]["pid"].as_i64()
    }

    fn port(&self, node: usize) -> u16 {
        self.file()["nodes"][node - 1]["resp"][0]["port"].as_u64().unwrap() as u16
    }

    fn primary(&self) -> Option<usize> {
        let status = fastness(&["dev", "status", "--json"], &self.dir);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["primaries"]["1"].as_u64().map(|node| node as usize)
    }
}

/// Repeats `check` until it returns something.
fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first line of the reply to an inline command, or for a bulk reply the line after its length; `None` without an
/// answer.
fn call(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let bulk = first.starts_with('$') && first != "$-1";
    if bulk { lines.next()?.ok() } else { Some(first) }
}

fn end(pid: i64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn an_acknowledged_write_survives_its_primary_and_the_whole_cluster() {
    let cluster = Cluster::start(&["--shards", "1"]);
    let primary = cluster.primary().expect("a cluster that takes writes has a primary");
    assert_eq!(call(cluster.port(primary), "SET token:42 paid").as_deref(), Some("+OK"));

    end(cluster.pid(primary).unwrap());
    until("cluster.json still names a dead process", || cluster.pid(primary).is_none().then_some(()));
    let next = until("no other primary", || cluster.primary().filter(|node| *node != primary));
    until("the write is lost", || (call(cluster.port(next), "GET token:42")? == "paid").then_some(()));
    assert_eq!(cluster.pid(primary), None, "a killed node stays down");
    let log = std::fs::read_to_string(cluster.dir.join(format!("nodes/{next}/node.log"))).unwrap();
    assert!(log.contains("a peer cannot be reached"), "{log}");
    let repeated = log.lines().filter(|line| line.contains("openraft::") && line.contains("WARN")).count();
    assert!(repeated < 10, "{repeated} warnings of openraft about one dead peer: {log}");

    succeed(&["dev", "node", "start", &primary.to_string()], &cluster.dir);
    assert!(cluster.pid(primary).is_some());
    // The node serves and follows, but if the leader has not connected to it again yet, it is refused as a target.
    let to = primary.to_string();
    let hand_over = ["cluster", "hand-over", "--shard", "1", "--to", &to];
    let moved = until("it is not accepted as the target of a hand-over", || {
        let output = fastness(&hand_over, &cluster.dir);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    assert!(moved.contains(&format!("led by node {primary}")), "{moved}");

    for node in 1..=3 {
        end(cluster.pid(node).unwrap());
    }
    until("cluster.json still names dead processes", || (1..=3).all(|n| cluster.pid(n).is_none()).then_some(()));
    succeed(&["dev", "--detach"], &cluster.dir);
    let primary = until("no primary", || cluster.primary());
    assert_eq!(call(cluster.port(primary), "GET token:42").as_deref(), Some("paid"));

    refused(&["dev", "--shards", "2", "--detach"], &cluster.dir, "it has 1");
    refused(&["dev", "node", "start", "4"], &cluster.dir, "nodes are 1 to 3");
    let pids: Vec<_> = (1..=3).map(|node| cluster.pid(node).unwrap()).collect();
    succeed(&["dev", "stop"], &cluster.dir);
    for (node, pid) in (1..=3).zip(pids) {
        assert_eq!(cluster.pid(node), None);
        // The process has exited, or is a zombie that nobody has waited for.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}

/// A command that starts the cluster waits until the kernel has removed the killed processes.
#[test]
fn a_start_right_after_kill_9_of_all_nodes_waits_for_the_dying_processes() {
    let cluster = Cluster::start(&["--shards", "1"]);
    let primary = cluster.primary().unwrap();
    assert_eq!(call(cluster.port(primary), "SET token:42 paid").as_deref(), Some("+OK"));
    for _ in 0..4 {
        let pids: Vec<_> = (1..=3).map(|node| cluster.pid(node).unwrap()).collect();
        pids.iter().for_each(|pid| end(*pid));
        succeed(&["dev", "--detach"], &cluster.dir);
        for (node, pid) in (1..=3).zip(pids) {
            let now = cluster.pid(node).unwrap();
            assert_ne!(now, pid, "the killed process of node {node} counts as running");
        }
    }
    let primary = until("no primary", || cluster.primary());
    assert_eq!(call(cluster.port(primary), "GET token:42").as_deref(), Some("paid"));
    // The same for one node, with the command for one node.
    end(cluster.pid(2).unwrap());
    succeed(&["dev", "node", "start", "2"], &cluster.dir);
}

/// The node that could count the vote of a wiped disk was itself restarted, and remembers the old disk.
#[test]
fn a_node_whose_data_folder_was_wiped_is_refused_and_the_others_lose_nothing() {
    let cluster = Cluster::start(&["--shards", "1"]);
    let kill = |node: usize| {
        end(cluster.pid(node).unwrap());
        until("cluster.json still names a dead process", || cluster.pid(node).is_none().then_some(()));
    };
    let primary = cluster.primary().unwrap();
    let (wiped, other) = (primary % 3 + 1, (primary + 1) % 3 + 1);
    assert_eq!(call(cluster.port(primary), "SET token:42 paid").as_deref(), Some("+OK"));
    kill(wiped);
    kill(other);
    succeed(&["dev", "node", "start", &other.to_string()], &cluster.dir);
    let data = cluster.dir.join(format!("nodes/{wiped}/data"));
    std::fs::remove_dir_all(&data).unwrap();
    let start = ["dev", "node", "start", &wiped.to_string()];
    refused(&start, &cluster.dir, "is not this node's disk");
    let log = std::fs::read_to_string(cluster.dir.join(format!("nodes/{wiped}/node.log"))).unwrap();
    for part in [data.to_str().unwrap(), "wiped", "replace-replica"] {
        assert!(log.contains(part), "{part:?} is not in its log: {log}");
    }
    let primary = until("no primary", || cluster.primary());
    assert_eq!(call(cluster.port(primary), "GET token:42").as_deref(), Some("paid"));
    assert_eq!(call(cluster.port(primary), "SET token:43 paid").as_deref(), Some("+OK"));

    // With the wiped node's vote, the remaining node would have a quorum.
    let left = if primary == other { (1..=3).find(|node| ![wiped, other].contains(node)).unwrap() } else { other };
    kill(primary);
    refused(&start, &cluster.dir, "is not this node's disk");
    let answer = call(cluster.port(left), "GET token:43");
    assert!(answer.as_ref().is_none_or(|answer| answer.starts_with('-')), "{answer:?}");
    succeed(&["dev", "node", "start", &primary.to_string()], &cluster.dir);
    let primary = until("no primary", || cluster.primary());
    for token in ["GET token:42", "GET token:43"] {
        assert_eq!(call(cluster.port(primary), token).as_deref(), Some("paid"));
    }
}

/// `disabled` promises no durability, so copies may share an AZ; a warning says so.
#[test]
fn a_cluster_without_durability_may_be_in_one_az() {
    let folder = tempfile::tempdir().unwrap();
    let ports = Ports::reserve().unwrap();
    let port = ports.first().to_string();
    let cluster = Cluster { dir: folder.path().join("c"), _ports: ports, _folder: folder };
    let start = ["dev", "--detach", "--port", &port, "--azs", "a,a,a", "--durability", "disabled", "--shards", "2"];
    let text = succeed(&start, &cluster.dir);
    assert!(text.contains("warning: a majority of a shard's copies lies within one AZ"), "{text}");
    let primary = cluster.primary().unwrap();
    assert_eq!(call(cluster.port(primary), "SET {b}k v").as_deref(), Some("+OK"));
    end(cluster.pid(primary).unwrap());
    until("no other node took over", || cluster.primary().filter(|node| *node != primary));
}

#[test]
fn a_node_stops_gracefully_and_reports_it_with_its_status() {
    let cluster = Cluster::start(&["--shards", "1", "--azs", "a,b,c,a"]);
    assert_eq!(cluster.file()["nodes"].as_array().unwrap().len(), 4);
    let primary = cluster.primary().unwrap();
    assert_eq!(call(cluster.port(primary), "SET k v").as_deref(), Some("+OK"));
    succeed(&["dev", "node", "stop", &primary.to_string()], &cluster.dir);
    let log = std::fs::read_to_string(cluster.dir.join(format!("nodes/{primary}/node.log"))).unwrap();
    assert!(log.contains("node stopped"), "{log}");
    let next = until("no other node took over", || cluster.primary());
    assert_eq!(call(cluster.port(next), "GET k").as_deref(), Some("v"));
}

#[test]
fn a_cluster_that_cannot_be_created_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("c");
    refused(&["dev", "--detach", "--azs", "a,a,a"], &dir, "at least 2 AZs");
    refused(&["dev", "--detach", "--replicas", "0"], &dir, "at least one replica");
    refused(&["dev", "--detach", "--shards", "40"], &dir, "ports");
    assert!(!dir.exists());
    refused(&["dev", "stop"], &dir, "there is no folder");
    std::fs::create_dir(&dir).unwrap();
    refused(&["dev", "status"], &dir, "no dev cluster");

    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().min(65_436);
    if port == taken.local_addr().unwrap().port() {
        refused(&["dev", "--detach", "--port", &port.to_string()], &dir, "is not free");
    }
    std::fs::write(dir.join("thesis.tex"), b"").unwrap();
    refused(&["dev", "--detach"], &dir, "thesis.tex");
}
