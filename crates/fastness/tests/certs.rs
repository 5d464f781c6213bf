//! `fastness certs`: what it writes, what it shows, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLUSTER: &str = "0123456789abcdef0123456789abcdef";

/// Runs the command; returns its output, or what it says of its failure.
fn certs(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_fastness")).arg("certs").args(arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(error) }
}

fn succeed(arguments: &[&str]) -> String {
    certs(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn refused(arguments: &[&str], reason: &str) {
    let error = certs(arguments).expect_err(reason);
    assert!(error.contains(reason), "{arguments:?}: {error}");
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn with_ca(more: &[&str]) -> Files {
        let files = Files::new();
        succeed(&[&["ca", "--out", &files.text("ca")], more].concat());
        files
    }
}

/// How many days a certificate is still valid, as `certs show` says.
fn days_left(shown: &str) -> u64 {
    let (before, _) = shown.split_once(" days left)").unwrap_or_else(|| panic!("{shown}"));
    before.rsplit('(').next().unwrap().parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_cluster_gets_its_certificates() {
    let files = Files::new();
    let ca = files.text("ca");
    let made = succeed(&["ca", "--out", &ca]);
    let cluster = made.lines().find_map(|line| line.strip_prefix("cluster id")).unwrap().trim().to_owned();
    assert!(cluster.len() == 32 && cluster.bytes().all(|digit| digit.is_ascii_hexdigit()), "{made}");
    let hosts = ["--host", "db-1.example.com", "--host", "10.0.1.1"];
    succeed(&[&["node", "--ca", &ca, "--node-id", "1", "--out", &files.text("node 1")], &hosts[..]].concat());
    succeed(&["admin", "--ca", &ca, "--out", &files.text("admin")]);
    let name = ["--name", "app", "--uri", "spiffe://example.com/app"];
    succeed(&[&["client", "--ca", &ca, "--out", &files.text("client")], &name[..]].concat());
    let lab = ["--node-id", "2", "--host", "localhost", "--lab", "--days", "7"];
    succeed(&[&["node", "--ca", &ca, "--out", &files.text("lab")], &lab[..]].concat());

    let shown = |name: &str| succeed(&["show", &files.text(name)]);
    let expect = |file: &str, parts: &[&str]| {
        let text = shown(file);
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    };
    expect("ca/ca.crt", &[&format!("owner    CA of cluster {cluster}\n"), "usages   key cert sign"]);
    let node_uri = format!("name     URI fastness://{cluster}/node/1\n");
    let node = format!("owner    node 1 of cluster {cluster}\n");
    expect("node 1/node.crt", &[&node_uri, &node, "DNS db-1.example.com\n", "IP 10.0.1.1\n"]);
    expect("node 1/node.crt", &["usages   digital signature, TLS server, TLS client\n"]);
    expect("admin/admin.crt", &[&format!("administrator of cluster {cluster}\n"), "digital signature, TLS client\n"]);
    expect("client/client.crt", &["subject  CN=app\n", "owner    client\n", "name     URI spiffe://example.com/app\n"]);
    expect("lab/node.crt", &[&format!("node 2 of cluster {cluster}, may be a lab\n")]);
    // Less than a second may have passed since, or a bit more.
    for (file, days) in [("ca/ca.crt", 3_650), ("node 1/node.crt", 365), ("admin/admin.crt", 365), ("lab/node.crt", 7)]
    {
        assert!((days - 1..=days).contains(&days_left(&shown(file))), "{file}");
    }

    for key in ["ca/ca.key", "node 1/node.key", "admin/admin.key", "client/client.key"] {
        assert_eq!(mode(&files.path(key)), 0o600, "{key}");
        assert_eq!(shown(key), "private key, ECDSA P256 SHA256 (PKCS #8)\n");
    }
    assert_eq!(mode(&files.path("node 1/node.crt")), 0o644);
    assert_eq!(std::fs::read_dir(files.path("node 1")).unwrap().count(), 2, "no partial file is left");

    // A chain is shown whole.
    let chain = [files.path("node 1/node.crt"), files.path("ca/ca.crt")].map(|path| std::fs::read(path).unwrap());
    std::fs::write(files.path("chain"), chain.concat()).unwrap();
    assert_eq!(shown("chain").matches("certificate\n").count(), 2);
}

#[test]
fn existing_files_are_not_overwritten() {
    let files = Files::with_ca(&["--cluster", CLUSTER]);
    let ca = files.text("ca");
    let before = std::fs::read(files.path("ca/ca.crt")).unwrap();
    refused(&["ca", "--out", &ca], "ca.crt exists already, and is not overwritten");
    assert_eq!(std::fs::read(files.path("ca/ca.crt")).unwrap(), before);
    let out = files.text("out");
    std::fs::create_dir(files.path("out")).unwrap();
    std::fs::write(files.path("out/node.key"), "mine").unwrap();
    let node = ["node", "--ca", &ca, "--node-id", "1", "--host", "localhost", "--out", &out];
    refused(&node, "node.key exists already, and is not overwritten");
    assert_eq!(std::fs::read(files.path("out/node.key")).unwrap(), b"mine");
    assert!(!files.path("out/node.crt").exists(), "half a pair was written");
}

#[test]
fn mistakes_are_named() {
    let files = Files::with_ca(&["--cluster", CLUSTER]);
    let (ca, out) = (files.text("ca"), files.text("out"));
    let node = |id: &str, host: &str, reason: &str| {
        refused(&["node", "--ca", &ca, "--out", &out, "--node-id", id, "--host", host], reason);
    };
    node("0", "localhost", "invalid value '0' for '--node-id <N>'");
    node("9223372036854775808", "localhost", "invalid value '9223372036854775808' for '--node-id <N>'");
    node("1", "10.0.0.1:6379", "expected a host name or an IP address, without a port");
    node("1", "not a host", "expected a host name or an IP address, without a port");
    refused(&["node", "--ca", &ca, "--out", &out, "--node-id", "1"], "--host <NAME_OR_IP>");
    refused(&["admin", "--ca", &files.text("absent"), "--out", &out], "absent has no usable CA (`fastness certs ca`");
    let other = CLUSTER.replace('0', "f");
    refused(&["admin", "--ca", &ca, "--out", &out, "--cluster", &other], "this CA is the one of cluster 0123");
    refused(&["ca", "--out", &out, "--cluster", "12"], "expected 32 hexadecimal digits");
    refused(&["ca", "--out", &out, "--days", "0"], "invalid value '0' for '--days <DAYS>'");
    let client = |more: &[&str], reason: &str| {
        refused(&[&["client", "--ca", &ca, "--out", &out], more].concat(), reason);
    };
    client(&["--name", ""], "--name must have 1 to 64 characters");
    client(&["--name", "app", "--uri", "app"], "'app' is not a URI");
    client(&["--name", "app", "--uri", "a:b c"], "'a:b c' is not a URI");
    let admin = format!("fastness://{CLUSTER}/admin");
    client(&["--name", "app", "--uri", &admin], "are those of nodes and administrators");
    assert!(!files.path("out").exists(), "a refused command leaves nothing behind");

    // The CA of somebody else: its key does not fit.
    std::fs::copy(Files::with_ca(&[]).path("ca/ca.key"), files.path("ca/ca.key")).unwrap();
    refused(&["admin", "--ca", &ca, "--out", &out], "it does not belong to the CA's private key");
}

#[test]
fn a_certificate_does_not_outlive_its_ca() {
    let files = Files::with_ca(&["--days", "30"]);
    let said = succeed(&["admin", "--ca", &files.text("ca"), "--out", &files.text("out")]);
    assert!(said.contains("It is valid for less than 365 days, because the CA expires then."), "{said}");
    assert!((29..=30).contains(&days_left(&succeed(&["show", &files.text("out/admin.crt")]))));
}

#[test]
fn only_what_can_be_read_is_shown() {
    let files = Files::with_ca(&[]);
    refused(&["show", &files.text("absent")], "absent: No such file");
    std::fs::write(files.path("text"), "certificate").unwrap();
    refused(&["show", &files.text("text")], "it holds neither a certificate nor an unencrypted private key in PEM");
    let whole = std::fs::read_to_string(files.path("ca/ca.crt")).unwrap();
    std::fs::write(files.path("half"), &whole[..whole.len() / 2]).unwrap();
    assert!(certs(&["show", &files.text("half")]).is_err());
    let damaged = whole.replacen("MII", "AAA", 1);
    std::fs::write(files.path("damaged"), damaged).unwrap();
    refused(&["show", &files.text("damaged")], "its certificate is damaged");
    let key = std::fs::read_to_string(files.path("ca/ca.key")).unwrap();
    let (said, secret) = (succeed(&["show", &files.text("ca/ca.key")]), key.lines().nth(1).unwrap());
    assert!(!said.contains(secret), "the key was printed");
}
