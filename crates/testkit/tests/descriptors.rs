//! Nodes with few descriptors: clients get those that the node does not need, and no node stops because its log cannot
//! open a file.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fastness_testkit::cluster::{Cluster, ClusterOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The default of a process on Debian.
const DESCRIPTORS: u64 = 1_024;
/// Connections per node.
const CONNECTIONS: usize = 1_010;

fn call(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(command.as_bytes()).unwrap();
    let mut received = vec![0; 64 * 1024];
    let len = stream.read(&mut received).unwrap();
    String::from_utf8_lossy(&received[..len]).into_owned()
}

/// Found: 1,010 idle connections per node, then writes, and two of three nodes ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_end_a_node_that_may_have_few_descriptors() -> anyhow::Result<()> {
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum })?;
    let wanted = 3 * CONNECTIONS as u64 + 100;
    if getrlimit(Resource::Nofile).current.is_some_and(|max| max < wanted) {
        eprintln!("skipped: this process may not have {wanted} descriptors");
        return Ok(());
    }
    let cluster = Cluster::start(&ClusterOptions { descriptors_max: Some(DESCRIPTORS), ..ClusterOptions::default() })?;
    let primary = cluster.primary(1, Duration::from_secs(60)).await?;
    let mut first = TcpStream::connect(("127.0.0.1", cluster.node(primary)?.resp[0].port))?;
    first.set_read_timeout(Some(Duration::from_secs(20)))?;
    let shown = call(&mut first, "CONFIG GET maxclients\r\n");
    let max: usize = shown.lines().nth(4).unwrap().parse()?;
    assert!((300..CONNECTIONS).contains(&max), "{shown}");
    let mut idle = Vec::new();
    for node in 1..=3 {
        let port = cluster.node(node)?.resp[0].port;
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(("127.0.0.1", port))?);
        }
    }
    // 64 KiB at a time: enough for the log to open several files.
    let value = "x".repeat(64 * 1024);
    for i in 0..600 {
        let reply = call(&mut first, &format!("*3\r\n$3\r\nSET\r\n$4\r\n{i:04}\r\n$65536\r\n{value}\r\n"));
        assert!(
            reply.starts_with("+OK") || reply.starts_with("-CLUSTERDOWN") || reply.starts_with("-MOVED"),
            "{reply}"
        );
    }
    for node in 1..=3 {
        let log = cluster.node_log(node)?;
        assert!(log.contains("maxclients is lowered"), "{log}");
        assert!(log.contains("client refused: maxclients reached"), "{log}");
        assert!(!log.contains("Too many open files") && !log.contains("the node must stop"), "{log}");
        assert!(cluster.node(node)?.pid.is_some());
    }
    assert!(call(&mut first, "INFO stats\r\n").contains("rejected_connections:"));
    drop(idle);
    Ok(())
}
