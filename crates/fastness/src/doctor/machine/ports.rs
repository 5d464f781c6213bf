//! Whether the listeners of the config can be opened, or are those of its node already.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use fastness_server::config::Config;

use super::super::finding::{CheckResult, Finding};
use super::host::Machine;

const CHECK: &str = "ports";

pub fn check(host: &Machine) -> Vec<Finding> {
    let (Some(config), Some(file)) = (host.given(), &host.file) else { return Vec::new() };
    let holder = node_of(&file.path);
    let opened = wanted(config).into_iter().map(|(option, address)| {
        let outcome = TcpListener::bind(address).map(drop).map_err(|error| Closed::of(&error));
        judge(option, address, outcome, holder)
    });
    opened.collect()
}

/// The listeners of a node with one shard; further shards have the ports after these.
fn wanted(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let (plaintext, all) = (config.plaintext_addresses(), config.addresses());
    let ports = [
        ("port", config.port, &plaintext),
        ("tls-port", config.tls_port, &all),
        ("peer-port", config.peer_port, &all),
        ("grpc-port", config.grpc_port, &all),
        ("metrics-port", config.metrics_port, &all),
    ];
    let open = ports.into_iter().filter(|(_, port, _)| *port != 0);
    open.flat_map(|(option, port, addresses)| addresses.iter().map(move |at| (option, SocketAddr::new(*at, port))))
        .collect()
}

/// The process that runs the node of this config file.
fn node_of(config: &Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let named = named_config(&words).map(|path| Path::new(&format!("/proc/{pid}/cwd")).join(path));
        named.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == config)
    })
}

/// The config file that a command line `fastness server --config FILE` names.
fn named_config(words: &[String]) -> Option<String> {
    let after = words.iter().position(|word| word == "server").and_then(|at| words.get(at + 1..))?;
    let joined = after.iter().find_map(|word| word.strip_prefix("--config=")).map(str::to_owned);
    joined.or_else(|| after.iter().position(|word| word == "--config").and_then(|at| after.get(at + 1)).cloned())
}

/// Why a listener cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Closed {
    InUse,
    NoSuchAddress,
    NotAllowed,
    Otherwise(String),
}

impl Closed {
    fn of(error: &Error) -> Closed {
        match error.kind() {
            ErrorKind::AddrInUse => Closed::InUse,
            ErrorKind::AddrNotAvailable => Closed::NoSuchAddress,
            ErrorKind::PermissionDenied => Closed::NotAllowed,
            _ => Closed::Otherwise(error.to_string()),
        }
    }
}

fn judge(option: &str, address: SocketAddr, outcome: Result<(), Closed>, holder: Option<u32>) -> Finding {
    let (subject, port) = (format!("{option} {address}"), address.port());
    let problem = |observed: &str, next: String| {
        let why = "the node does not start without all its listeners";
        Finding::ok(CHECK, subject.clone(), observed).but(CheckResult::Problem, why).then_system(next)
    };
    match (outcome, holder) {
        (Ok(()), _) => Finding::ok(CHECK, subject, "free"),
        (Err(Closed::InUse), Some(pid)) => {
            Finding::ok(CHECK, subject, format!("in use, and the node of this config runs as process {pid}"))
        }
        (Err(Closed::InUse), None) => {
            problem("in use, and no process that can be seen runs this config", format!("ss -ltnp 'sport = :{port}'"))
        }
        (Err(Closed::NoSuchAddress), _) => problem("no interface of this machine has the address", "ip address".into()),
        (Err(Closed::NotAllowed), _) => {
            let next = format!("sysctl -w net.ipv4.ip_unprivileged_port_start={port}");
            problem("this user may not listen on the port", next)
        }
        (Err(Closed::Otherwise(reason)), _) => problem(&reason, "ip address".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::testing::result;
    use super::*;

    #[test]
    fn a_port_is_free_or_held_by_the_node_itself() {
        let of = |outcome, holder| result(&judge("tls-port", "10.0.0.1:6379".parse().unwrap(), outcome, holder));
        assert_eq!([of(Ok(()), None), of(Err(Closed::InUse), Some(7))], [CheckResult::Ok; 2]);
        assert_eq!(of(Err(Closed::InUse), None), CheckResult::Problem);
        for closed in [Closed::NoSuchAddress, Closed::NotAllowed, Closed::Otherwise("no".into())] {
            assert_eq!(of(Err(closed), Some(7)), CheckResult::Problem);
        }
    }

    #[test]
    fn a_port_that_somebody_has_is_noticed() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = TcpListener::bind(other.local_addr().unwrap()).unwrap_err();
        assert_eq!(Closed::of(&refused), Closed::InUse);
        assert_eq!(node_of(Path::new("/absent/fastness.conf")), None);
    }

    #[test]
    fn the_listeners_are_those_of_the_config() {
        let config = Config::parse("bind 10.0.0.1 127.0.0.1\nport 6380\ntls-port 6379\nmetrics-port 0").unwrap();
        let wanted: Vec<_> = wanted(&config).into_iter().map(|(option, at)| format!("{option} {at}")).collect();
        assert!(
            wanted.contains(&"port 127.0.0.1:6380".to_owned()) && wanted.contains(&"tls-port 10.0.0.1:6379".to_owned())
        );
        assert!(!wanted.iter().any(|at| at.starts_with("metrics-port") || at == "port 10.0.0.1:6380"), "{wanted:?}");
    }

    #[test]
    fn the_config_of_a_process_is_found() {
        let named = |line: &str| named_config(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(named("/bin/fastness server --config a.conf").as_deref(), Some("a.conf"));
        assert_eq!(named("fastness server --config=a.conf").as_deref(), Some("a.conf"));
        assert_eq!((named("fastness doctor --config a.conf"), named("fastness server")), (None, None));
    }
}
