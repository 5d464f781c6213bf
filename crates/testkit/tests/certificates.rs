//! Certificates are exchanged while clients run: no connection is lost, and new ones see the new certificates.

#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions, binary};
use fastness_testkit::reply_text::{call_text, expect_reply, info_field};
use fastness_testkit::wait::until_ok;
use rustix::process::{Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs `fastness certs`.
fn certs(arguments: &[&str]) -> Result<()> {
    let output = Command::new(binary()?).arg("certs").args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Signs a new certificate of a node and puts it into the place of its present one. Returns the certificate.
fn exchange(cluster: &Cluster, ca: &Path, node: u64) -> Result<Vec<u8>> {
    let (id, made) = (node.to_string(), tempfile::tempdir_in(cluster.dir())?);
    let hosts = ["--host", "localhost", "--host", "127.0.0.1", "--host", "::1"];
    let of_node = ["node", "--lab", "--node-id", &id, "--ca", text(ca), "--out", text(made.path())];
    certs(&[&of_node[..], &hosts].concat())?;
    for name in ["node.key", "node.crt"] {
        std::fs::rename(made.path().join(name), cluster.dir().join(format!("nodes/{id}/{name}")))?;
    }
    certificate(cluster, node)
}

fn certificate(cluster: &Cluster, node: u64) -> Result<Vec<u8>> {
    let path = cluster.dir().join(format!("nodes/{node}/node.crt"));
    Ok(CertificateDer::from_pem_file(&path).with_context(|| path.display().to_string())?.to_vec())
}

/// The certificates that the listeners for clients and for gRPC show on a new connection.
fn shown(cluster: &Cluster, node: u64) -> Result<[Vec<u8>; 2]> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(cluster.dir().join("ca.crt"))? {
        roots.add(ca?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (config, node) = (Arc::new(config), cluster.node(node)?);
    let front_end = format!("{}:{}", node.resp[0].host, node.resp[0].tls_port);
    let show = |address: &str| -> Result<Vec<u8>> {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        let mut tls = ClientConnection::new(config.clone(), "localhost".try_into()?)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(tls.peer_certificates().context("no certificate")?[0].to_vec())
    };
    Ok([show(&front_end)?, show(&node.grpc)?])
}

fn until_shown(cluster: &Cluster, node: u64, wanted: &[u8]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !shown(cluster, node)?.iter().all(|shown| shown == wanted) {
        ensure!(Instant::now() < until, "node {node} does not show its new certificate");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Clients over TLS: one that keeps its connection to each node, and one that connects anew for each command.
struct Clients {
    stop: Arc<AtomicBool>,
    kept: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Clients {
    async fn start(cluster: &Arc<Cluster>, primary: u64) -> Result<Clients> {
        let (stop, kept, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let mut clients = Clients { stop, kept, opened, tasks: Vec::new() };
        for node in cluster.node_ids()? {
            let mut client = cluster.connect_tls(node, 1, TIMEOUT).await?;
            let (stop, kept) = (clients.stop.clone(), clients.kept.clone());
            clients.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = kept.fetch_add(1, Ordering::Relaxed).to_string();
                    if node == primary {
                        expect_reply(&mut client, &["SET", "k", &number], "OK").await.context("a kept connection")?;
                        expect_reply(&mut client, &["GET", "k"], &number).await.context("a kept connection")?;
                    } else {
                        expect_reply(&mut client, &["PING"], "PONG").await.context("a kept connection")?;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }));
            let (cluster, stop, opened) = (cluster.clone(), clients.stop.clone(), clients.opened.clone());
            clients.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = cluster.connect_tls(node, 1, TIMEOUT).await.context("a new connection")?;
                    expect_reply(&mut client, &["PING"], "PONG").await.context("a new connection")?;
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(clients)
    }

    /// Ends them; an error that one of them has seen is returned.
    async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        let (kept, opened) = (self.kept.load(Ordering::Relaxed), self.opened.load(Ordering::Relaxed));
        println!("{kept} rounds on kept connections, {opened} new connections, no error");
        ensure!(kept > 100 && opened > 20, "too few: {kept} {opened}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_exchanges_a_certificate_under_load_and_a_bad_one_changes_nothing() -> Result<()> {
    let node_options = vec![("tls-auto-reload-interval", "0".to_owned())];
    let alone = ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() };
    let cluster = Arc::new(Cluster::start(&ClusterOptions { node_options, ..alone })?);
    let clients = Clients::start(&cluster, 1).await?;
    let hangup = || -> Result<()> { Ok(kill_process(cluster.pid(1)?, Signal::HUP)?) };
    let mut client = cluster.connect(1, 1, TIMEOUT).await?;
    let mut certificate = certificate(&cluster, 1)?;
    for round in 1..=3 {
        let next = exchange(&cluster, cluster.dir(), 1)?;
        ensure!(next != certificate && shown(&cluster, 1)?[0] == certificate, "nobody has asked for it");
        hangup()?;
        until_shown(&cluster, 1, &next)?;
        certificate = next;

        let log = cluster.node_log(1)?.len();
        let other = tempfile::tempdir_in(cluster.dir())?;
        certs(&["admin", "--ca", text(cluster.dir()), "--out", text(&other.path().join("a"))])?;
        std::fs::rename(other.path().join("a/admin.key"), cluster.dir().join("nodes/1/node.key"))?;
        hangup()?;
        let until = Instant::now() + PATIENCE;
        while info_field(&mut client, "tls", "tls_reload_failures").await? < round {
            ensure!(Instant::now() < until, "the bad key is not reported");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = "the TLS files have changed and are not usable";
        cluster.wait_for_log(1, log, said, PATIENCE)?;
        ensure!(shown(&cluster, 1)?.iter().all(|shown| *shown == certificate), "the bad key has changed something");
        ensure!(info_field(&mut client, "tls", "tls_reloads").await? == round, "reloads");
    }
    clients.stop().await
}

/// First the nodes' certificates, one node after the other; then the CA.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_certificates_and_the_ca_of_a_cluster_are_exchanged_under_load() -> Result<()> {
    let node_options = vec![("tls-auto-reload-interval", "1".to_owned())];
    let cluster = Arc::new(Cluster::start(&ClusterOptions { node_options, ..ClusterOptions::default() })?);
    let primary = cluster.primary(1, PATIENCE).await?;
    let clients = Clients::start(&cluster, primary).await?;
    let exchange_all = |ca: &Path| -> Result<()> {
        (1..=3).try_for_each(|node| until_shown(&cluster, node, &exchange(&cluster, ca, node)?))
    };
    tokio::task::block_in_place(|| exchange_all(cluster.dir()))?;

    let dev: serde_json::Value = serde_json::from_slice(&std::fs::read(cluster.dir().join("dev.json"))?)?;
    let id = dev["cluster_id"].as_str().context("cluster_id")?;
    let new_ca = cluster.dir().join("new ca");
    certs(&["ca", "--out", text(&new_ca), "--cluster", id])?;
    let trust = |cas: &[PathBuf]| -> Result<()> {
        let pem = cas.iter().map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?.concat();
        std::fs::write(cluster.dir().join("ca.part"), pem)?;
        Ok(std::fs::rename(cluster.dir().join("ca.part"), cluster.dir().join("ca.crt"))?)
    };
    let old = cluster.dir().join("old.crt");
    std::fs::copy(cluster.dir().join("ca.crt"), &old)?;
    trust(&[old, new_ca.join("ca.crt")])?;
    until_reloaded(&cluster, 2).await?;
    tokio::task::block_in_place(|| exchange_all(&new_ca))?;
    trust(&[new_ca.join("ca.crt")])?;
    until_reloaded(&cluster, 4).await?;
    ensure!(cluster.primary(1, PATIENCE).await? == primary, "there was an election");
    clients.stop().await?;

    // The old administrator is refused; a node that restarts is let in and lets the others in.
    ensure!(cluster.describe().is_err(), "a certificate of the old CA is still accepted");
    let admin = cluster.dir().join("new admin");
    certs(&["admin", "--ca", text(&new_ca), "--out", text(&admin)])?;
    for name in ["admin.crt", "admin.key"] {
        std::fs::rename(admin.join(name), cluster.dir().join(name))?;
    }
    cluster.describe()?;
    let replica = cluster.others(primary)?[0];
    cluster.kill(replica)?;
    cluster.start_node(replica)?;
    until_ok(PATIENCE, async || {
        let mut client = cluster.connect_tls(replica, 1, TIMEOUT).await?;
        expect_reply(&mut client, &["READONLY"], "OK").await?;
        let value = call_text(&mut client, &["GET", "k"]).await?;
        ensure!(value.parse::<u64>().is_ok(), "the restarted node does not serve: {value}");
        Ok(())
    })
    .await
}

/// Waits until every node has exchanged its files this often.
async fn until_reloaded(cluster: &Cluster, times: u64) -> Result<()> {
    for node in cluster.node_ids()? {
        let mut client = cluster.connect(node, 1, TIMEOUT).await?;
        let until = Instant::now() + PATIENCE;
        while info_field(&mut client, "tls", "tls_reloads").await? < times {
            ensure!(Instant::now() < until, "node {node} does not use the new files");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(info_field(&mut client, "tls", "tls_reload_failures").await? == 0, "node {node} has refused files");
    }
    Ok(())
}
