//! The metrics port of a real node: the console on it, over HTTP and HTTPS, and who is shown it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastness_load::{Outcome, outcome::classify};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::wait::until_ok;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "let-me-see";

/// What a proxy adds: the request counts as one from elsewhere.
const PASSED_ON: &str = "X-Forwarded-For: 192.0.2.1";

/// Sends a request with these further lines, and returns everything until the node closes the connection.
fn exchange(mut stream: impl Read + Write, path: &str, lines: &[&str]) -> Result<String> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8(answer)?)
}

fn tcp(address: &str) -> Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

fn tls(cluster: &Cluster, address: &str) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.dir().join("ca.crt"))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    Ok(StreamOwned::new(connection, tcp(address)?))
}

fn starts(answer: &str, status: &str) -> Result<()> {
    ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")), "not {status}: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_is_shown_to_this_machine_and_to_users_with_a_password() -> Result<()> {
    let mut cluster = Cluster::start(&ClusterOptions::default())?;
    cluster.keep_files();
    let primary = cluster.primary(1, PATIENCE).await?;
    let address = cluster.node(primary)?.metrics;
    let page = exchange(tcp(&address)?, "/console", &[])?;
    starts(&page, "200")?;
    ensure!(page.contains("content-security-policy: default-src 'none'") && page.contains("PRIMARY"), "{page}");
    for path in ["/metrics", "/healthz", "/readyz"] {
        starts(&exchange(tls(&cluster, &address)?, path, &[PASSED_ON])?, "200")?;
    }
    starts(&exchange(tcp(&address)?, "/nothing", &[])?, "404")?;
    let anybody = exchange(tls(&cluster, &address)?, "/console", &[PASSED_ON])?;
    starts(&anybody, "401")?;
    ensure!(!anybody.contains("PRIMARY"), "{anybody}");
    // The user default needs no password yet, so that any one would do.
    let given = format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("default:{PASSWORD}")));
    starts(&exchange(tls(&cluster, &address)?, "/console", &[PASSED_ON, &given])?, "403")?;

    let mut client = cluster.connect(primary, 1, PATIENCE).await?;
    let set: [&[u8]; 4] = [b"CONFIG", b"SET", b"requirepass", PASSWORD.as_bytes()];
    ensure!(classify(&client.call(&set).await?) == Outcome::Acknowledged, "CONFIG SET");
    until_ok(PATIENCE, async || {
        let seen = exchange(tls(&cluster, &address)?, "/console", &[PASSED_ON, &given])?;
        starts(&seen, "200")?;
        ensure!(seen.contains("PRIMARY"), "{seen}");
        Ok(())
    })
    .await?;
    let wrong = format!("Authorization: Basic {}", BASE64_STANDARD.encode("default:wrong"));
    starts(&exchange(tls(&cluster, &address)?, "/console", &[PASSED_ON, &wrong])?, "401")?;
    starts(&exchange(tcp(&address)?, "/console", &[])?, "200")?;
    stream(&address)?;
    cluster.discard_files();
    Ok(())
}

/// The stream sends the parts of the page at once, and goes on.
fn stream(address: &str) -> Result<()> {
    let mut tcp = tcp(address)?;
    write!(tcp, "GET /console/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    // The time of the page changes every second.
    while seen.matches("\"id\":\"state\"").count() < 3 || !seen.contains("\"id\":\"slow\"") {
        let read = tcp.read(&mut bytes)?;
        ensure!(read > 0, "the stream has ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let (head, _) = seen.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.contains("content-type: text/event-stream"), "{head}");
    Ok(())
}
