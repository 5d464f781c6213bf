#![allow(clippy::unwrap_used)]

use super::*;

fn refused(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn the_file_is_read_as_valkey_reads_it() {
    let config = Config::parse(
        "# a comment\n\n  PORT 7000\nbind 127.0.0.1 ::1\nmaxmemory 1gb\nrequirepass \"a b\\\"c\"\ntimeout 30\n\
         durability async\ndurability-max-lag 1500ms\nclient-output-buffer-limit normal 1mb 0 0\n\
         client-output-buffer-limit pubsub 32mb 8mb 60\nsave \"\"\nappendonly no\n",
    )
    .unwrap();
    assert_eq!(config.port, 7000);
    assert_eq!(config.bind, ["127.0.0.1", "::1"]);
    assert_eq!(config.maxmemory, 1 << 30);
    assert_eq!(config.requirepass, "a b\"c");
    assert_eq!(config.timeout, Duration::from_secs(30));
    assert_eq!(config.durability, Durability::Async);
    assert_eq!(config.durability_max_lag, Duration::from_millis(1500));
    assert_eq!(config.client_output_buffer_limit.normal.hard_bytes, 1 << 20);
    assert_eq!(config.client_output_buffer_limit.pubsub.soft_bytes, 8 << 20);
}

#[test]
fn errors_name_line_option_and_range() {
    assert_eq!(refused("port 1\nport x"), "line 2: port: expected a port from 0 to 65535, 0: none, not 'x'");
    assert_eq!(refused("durability maybe"), "line 1: durability: expected sync, async or disabled, not 'maybe'");
    assert_eq!(
        refused("durability-max-lag 2h"),
        "line 1: durability-max-lag: expected a span from 100ms to 10m, not '2h'"
    );
    assert_eq!(refused("maxclients 0"), "line 1: maxclients: expected a number from 1 to 1000000, not '0'");
    assert_eq!(refused("maxmemory 1tb"), "line 1: maxmemory: expected bytes, 0: no limit, not '1tb'");
    assert_eq!(refused("io-threads 4"), "line 1: io-threads: is always '1' here");
    assert_eq!(refused("tls-auth-clients"), "line 1: tls-auth-clients: expected yes, optional or no, not ''");
    assert_eq!(refused("no-such-option 1"), "line 1: unknown option 'no-such-option'");
    assert_eq!(refused("requirepass \"a"), "line 1: unbalanced quotes");
}

#[test]
fn every_option_is_documented_and_gives_its_default_back() {
    let config = Config::default();
    for option in Config::documented() {
        assert!(!option.summary.is_empty() && !option.range.is_empty(), "{}", option.name);
        let text = option.get(&config);
        let mut again = Config::default();
        option.set(&mut again, &[text.as_str()]).unwrap_or_else(|e| panic!("{}: {e}", option.name));
        assert_eq!(again, config, "{}", option.name);
        assert_eq!(find(&option.name.to_uppercase()).unwrap().name, option.name);
    }
    let names: std::collections::BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
    assert_eq!(names.len(), OPTIONS.len(), "a name exists twice");
}

const TLS: &str = "tls-cert-file a\ntls-key-file b\ntls-ca-cert-file c\n";

#[test]
fn a_durable_node_names_what_it_lacks() {
    let unmet = |text: &str| Config::parse(text).unwrap().check().unwrap_err().to_string();
    assert_eq!(unmet(""), "durability sync needs TLS for every client and every peer: set tls-cert-file");
    assert_eq!(
        unmet("durability async\ntls-cert-file a"),
        "durability async needs TLS for every client and every peer: set tls-key-file"
    );
    assert_eq!(unmet(TLS), "durability sync needs encryption at rest: set master-key-file");
    assert_eq!(
        unmet(&format!("{TLS}master-key-file k")),
        "durability sync needs to know this node's zone: set availability-zone"
    );
    let whole = format!("{TLS}master-key-file k\navailability-zone a\n");
    assert_eq!(Config::parse(&whole).unwrap().check(), Ok(()));
    assert_eq!(unmet(&format!("{whole}tls-port 0")), "no door for clients: set tls-port or port");
    assert_eq!(unmet(&format!("{whole}peer-port 6379")), "tls-port and peer-port are both 6379");
    assert_eq!(unmet(&format!("{whole}bind localhost")), "bind: 'localhost' is not an address");
    assert_eq!(unmet(&format!("{whole}bind-source-addr me")), "bind-source-addr: 'me' is not an address");
    let peers = "nodes speak mutual TLS with each other and with administrators in every mode: set tls-cert-file";
    assert_eq!(unmet("durability disabled"), peers);
    let disk = "what is on disk is encrypted in every mode: set master-key-file";
    assert_eq!(unmet(&format!("{TLS}durability disabled")), disk);
    assert_eq!(Config::parse(&format!("{TLS}durability disabled\nmaster-key-file k")).unwrap().check(), Ok(()));
}

#[test]
fn plaintext_stays_on_loopback_unless_configured() {
    let addresses = |text: &str| Config::parse(text).unwrap().plaintext_addresses();
    let loopback = vec![IpAddr::from([127, 0, 0, 1])];
    assert_eq!(addresses("bind 10.0.0.1"), loopback);
    assert_eq!(addresses("bind 127.0.0.1 10.0.0.1"), loopback);
    assert_eq!(addresses("bind 10.0.0.1\nplaintext-beyond-loopback yes"), vec![IpAddr::from([10, 0, 0, 1])]);
}
