//! The TLS front end, the admin front end and the peer front end: who gets in, who does not.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::{Password, Users};
use fastness_resp::Value;
use fastness_server::config::{ClientCertificates, Config};
use fastness_server::descriptors::Bounds;
use fastness_server::grpc_accept::{GrpcStream, Guard};
use fastness_server::node::Node;
use fastness_server::tls::Material;
use fastness_testkit::ports::Ports;
use fastness_types::{ClusterId, Durability, limits};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{DescribeClusterRequest, HandOverRequest, ListEventsRequest, ShowFiguresRequest};
use fastness_wire::lab::v1::lab_service_client::LabServiceClient;
use fastness_wire::lab::v1::{
    DiskFault, DiskFaultKind, LinkFault, SetDiskFaultRequest, SetLinkFaultRequest, ShowFaultsRequest,
};
use fastness_wire::peer::v1::peer_service_client::PeerServiceClient;
use harness::certificates::Ca;
use harness::{Client, FrontEnd, Options, PATIENCE, bulk, eventually, simple};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

fn tls_server(ca: &Ca, certificates: ClientCertificates) -> FrontEnd {
    ca.sign("node", &format!("fastness://{}/node/1", ClusterId([1; 16])));
    let material = Material::load(&Config::parse(&ca.options("node")).unwrap()).unwrap();
    let tls = Some(material.for_clients(certificates).unwrap());
    FrontEnd::open(Options { tls, durability: Durability::Async, ..Options::default() })
}

fn client_tls(ca: &Ca, certificate: Option<&str>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.path("ca.crt")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(ca.path(&format!("{name}.crt"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(ca.path(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

fn connect(server: &FrontEnd, ca: &Ca, certificate: Option<&str>) -> Client {
    let tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(StreamOwned::new(client_tls(ca, certificate), tcp))
}

/// A connection of which both halves are at hand.
fn handshaken(server: &FrontEnd, ca: &Ca) -> (ClientConnection, TcpStream) {
    let mut tcp = TcpStream::connect(server.address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = client_tls(ca, None);
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    (tls, tcp)
}

#[test]
fn commands_over_tls() {
    let ca = Ca::new();
    let server = tls_server(&ca, ClientCertificates::No);
    let mut client = connect(&server, &ca, None);
    eventually("the replica serves", || client.call(&["SET", "k", "v"]) == simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk("v"));
    // More than a record, than a read and than what may wait as ciphertext.
    let value = "y".repeat(3 << 20);
    assert_eq!(client.call(&["SET", "k", &value]), simple("OK"));
    assert_eq!(client.call(&["GET", "k"]), bulk(&value));
    for i in 0..2_000 {
        client.send(&["SET", &format!("k{i}"), &i.to_string()]);
    }
    for _ in 0..2_000 {
        assert_eq!(client.receive(), simple("OK"));
    }
    assert_eq!(client.call(&["QUIT"]), simple("OK"));
    assert_eq!(client.try_receive(), None);
}

#[test]
fn a_certificate_is_required() {
    let ca = Ca::new();
    let server = tls_server(&ca, ClientCertificates::Required);
    ca.sign("client", "fastness://client");
    let mut client = connect(&server, &ca, Some("client"));
    eventually("the replica serves", || client.call(&["GET", "k"]) == Value::Null);
    let other = Ca::new();
    other.sign("client", "fastness://client");
    std::fs::copy(other.path("client.crt"), ca.path("foreign.crt")).unwrap();
    std::fs::copy(other.path("client.key"), ca.path("foreign.key")).unwrap();
    for certificate in [None, Some("foreign")] {
        let mut client = connect(&server, &ca, certificate);
        let answered = client.stream.write_all(b"PING\r\n").and_then(|()| client.stream.read(&mut [0; 64]));
        assert!(answered.is_err(), "{certificate:?} got in: {answered:?}");
    }
    // Rubbish instead of a handshake ends that connection and nothing else.
    let mut rubbish = server.connect_raw();
    rubbish.send_raw(b"PING\r\n");
    while rubbish.stream.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
    assert_eq!(client.call(&["PING"]), simple("PONG"));
}

/// `tls-auth-clients-user`: a certificate that names a user is as good as its password; all others are `default`.
#[test]
fn a_certificate_names_its_user() {
    let ca = Ca::new();
    for (by, user) in [("CN", "alice"), ("URI", "spiffe://acme/alice"), ("off", "default")] {
        ca.sign("node", &format!("fastness://{}/node/1", ClusterId([1; 16])));
        let material = Material::load(&Config::parse(&ca.options("node")).unwrap()).unwrap();
        let tls = Some(material.for_clients(ClientCertificates::Optional).unwrap());
        let config = format!("tls-auth-clients-user {by}\n");
        let server = FrontEnd::open(Options { tls, durability: Durability::Async, config });
        let follow = |rules: &[(&str, &str)]| {
            let rules = rules.iter().map(|(name, rules)| ((*name).to_owned(), (*rules).to_owned())).collect();
            server.node.accounts.follow(&Users { version: 1, rules }, &Password::None);
        };
        let locked = ("default", "on #0000000000000000000000000000000000000000000000000000000000000000 ~* &* +@all");
        follow(&[("alice", "on ~* +@all"), ("spiffe://acme/alice", "on ~* +@all"), ("bob", "off ~* +@all")]);
        for (name, uri) in [("alice", "spiffe://acme/alice"), ("bob", "spiffe://acme/bob")] {
            ca.sign(name, uri);
        }
        let mut client = connect(&server, &ca, Some("alice"));
        assert_eq!(client.call(&["ACL", "WHOAMI"]), bulk(user));
        assert_eq!(connect(&server, &ca, Some("bob")).call(&["ACL", "WHOAMI"]), bulk("default"), "bob is off");
        assert_eq!(connect(&server, &ca, None).call(&["ACL", "WHOAMI"]), bulk("default"));
        // Without its own user a certificate is worth as much as none.
        follow(&[("alice", "on ~* +@all"), ("spiffe://acme/alice", "on ~* +@all"), locked]);
        let refused = "-NOAUTH Authentication required.";
        assert_eq!(connect(&server, &ca, None).call_text(&["PING"]), refused);
        assert_eq!(connect(&server, &ca, Some("bob")).call_text(&["PING"]), refused);
        let expected = if by == "off" { refused } else { "PONG" };
        assert_eq!(connect(&server, &ca, Some("alice")).call_text(&["PING"]).trim_start_matches('+'), expected);
        if by != "off" {
            // Its user's end is its own.
            follow(&[locked]);
            let mut ping = || client.stream.write_all(b"PING\r\n").and_then(|()| client.stream.read(&mut [0; 64]));
            eventually("the session ends", || ping().map_or(true, |len| len == 0));
        }
    }
}

fn node_config(ca: &Ca, ports: &Ports) -> Config {
    let cluster = ClusterId([1; 16]);
    ca.sign("node", &format!("fastness://{cluster}/node/1"));
    let key = ca.path("master.key");
    std::fs::write(&key, [7; 32]).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "{}master-key-file {}\navailability-zone a\ndir {}\ntls-port {}\npeer-port 0\ngrpc-port 0\nmetrics-port {}\n",
        ca.options("node"),
        key.display(),
        ca.folder.path().display(),
        ports.at(0),
        ports.at(1),
    );
    Config::parse(&text).unwrap()
}

async fn channel(ca: &Ca, address: &str, certificate: &str) -> Channel {
    let read = |name: String| std::fs::read(ca.path(&name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt".into())))
        .identity(Identity::from_pem(read(format!("{certificate}.crt")), read(format!("{certificate}.key"))));
    let endpoint = Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.unwrap()
}

async fn http(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_lets_its_own_in() {
    let ca = Ca::new();
    let cluster = ClusterId([1; 16]);
    let ports = Ports::reserve().unwrap();
    let config = node_config(&ca, &ports);
    let metrics_port = config.metrics_port;
    ca.sign("admin", &format!("fastness://{cluster}/admin"));
    ca.sign("client", &format!("fastness://{cluster}/client"));
    ca.sign("stranger", &format!("fastness://{}/admin", ClusterId([9; 16])));
    ca.sign("twin", &format!("fastness://{cluster}/node/1"));
    let node = Node::start(config.clone()).await.unwrap();
    let (grpc, peer) = (node.own().grpc_address.clone(), node.own().peer_address.clone());

    let mut admin = AdminServiceClient::new(channel(&ca, &grpc, "admin").await);
    let described = admin.describe_cluster(DescribeClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((described.map_version, described.node_id), (0, 1));
    assert_eq!(described.nodes[0].peer_address, peer);
    // A node may look, and change nothing.
    let mut own = AdminServiceClient::new(channel(&ca, &grpc, "node").await);
    own.describe_cluster(DescribeClusterRequest {}).await.unwrap();
    let refused = own.hand_over(HandOverRequest { shard: 1, target_node: 0 }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    // Its console shows events and figures of all nodes.
    own.list_events(ListEventsRequest::default()).await.unwrap();
    own.show_figures(ShowFiguresRequest::default()).await.unwrap();
    let figures = admin.show_figures(ShowFiguresRequest::default()).await.unwrap().into_inner();
    assert!(figures.node_id == 1 && figures.resident_bytes > 0 && figures.replicas.is_empty(), "{figures:?}");
    let events = admin.list_events(ListEventsRequest::default()).await.unwrap().into_inner();
    assert!(events.node_id == 1 && events.events.iter().any(|event| event.kind == "node_started"), "{events:?}");
    for wrong in ["client", "stranger"] {
        let mut client = AdminServiceClient::new(channel(&ca, &grpc, wrong).await);
        let refused = client.describe_cluster(DescribeClusterRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{wrong}: {refused}");
        let refused = client.list_events(ListEventsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{wrong}: {refused}");
    }
    for wrong in ["client", "admin", "twin"] {
        let mut client = PeerServiceClient::new(channel(&ca, &peer, wrong).await);
        let refused = client.append(tokio_stream::empty()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{wrong}: {refused}");
    }
    assert!(http(metrics_port, "/healthz").await.starts_with("HTTP/1.1 200 OK"));
    let ready = http(metrics_port, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("the cluster is not created yet\n"), "{ready}");
    assert!(http(metrics_port, "/metrics").await.contains("\nredis_up 1\n"));
    let mut lab = LabServiceClient::new(channel(&ca, &grpc, "admin").await);
    let refused = lab.show_faults(ShowFaultsRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    assert!(
        refused.message().contains("faults cannot be injected into node 1") && refused.message().contains("/lab"),
        "{refused}"
    );
    node.shutdown().await;

    // The disk is this node's: another one is told so.
    ca.sign("node", &format!("fastness://{cluster}/node/2"));
    let refused = Node::start(config).await.err().unwrap().to_string();
    assert!(refused.starts_with("the transaction log: "), "{refused}");
}

/// The certificate that a listener of a node shows on a new connection of an administrator.
fn shown(ca: &Ca, address: &str) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = client_tls(ca, Some("admin"));
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    tls.peer_certificates().unwrap()[0].to_vec()
}

fn own_certificate(ca: &Ca) -> Vec<u8> {
    CertificateDer::from_pem_file(ca.path("node.crt")).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tls_files_are_used_for_new_connections_and_bad_ones_never() {
    let ca = Ca::new();
    let cluster = ClusterId([1; 16]);
    let ports = Ports::reserve().unwrap();
    let mut config = node_config(&ca, &ports);
    config.tls_auto_reload_interval = Duration::ZERO;
    ca.sign("admin", &format!("fastness://{cluster}/admin"));
    let metrics_port = config.metrics_port;
    let node = Node::start(config).await.unwrap();
    let (grpc, peer) = (node.own().grpc_address.clone(), node.own().peer_address.clone());
    let status = &node.shared().certificates;
    let all_show = |wanted: &[u8]| [&grpc, &peer].into_iter().all(|address| shown(&ca, address) == wanted);
    let mut admin = AdminServiceClient::new(channel(&ca, &grpc, "admin").await);
    let first = own_certificate(&ca);
    assert!(all_show(&first));

    let own = format!("fastness://{cluster}/node/1");
    ca.sign("node", &own);
    let second = own_certificate(&ca);
    assert!(first != second && all_show(&first), "nobody has asked for it");
    node.reload_certificates();
    eventually("the new certificate is in use", || all_show(&second));
    admin.describe_cluster(DescribeClusterRequest {}).await.expect("a connection goes on");
    assert_eq!((status.reloads(), status.failures()), (1, 0));
    let text = http(metrics_port, "/metrics").await;
    let expires = text.lines().find_map(|line| line.strip_prefix("fastness_tls_certificate_expires_seconds "));
    assert!(expires.unwrap().parse::<f64>().unwrap() > 1e9, "{expires:?}");

    let stranger = Ca::new();
    stranger.sign("node", &own);
    let foreign = |name: &str| std::fs::copy(stranger.path(name), ca.path(name)).map(drop).unwrap();
    let bad: [(&str, &dyn Fn()); 7] = [
        ("a key of another certificate", &|| foreign("node.key")),
        ("another CA", &|| ["node.crt", "node.key"].into_iter().for_each(foreign)),
        ("expired", &|| ca.sign_until("node", &[&own], 2020)),
        ("another node", &|| ca.sign("node", &format!("fastness://{cluster}/node/2"))),
        ("another cluster", &|| ca.sign("node", &format!("fastness://{}/node/1", ClusterId([2; 16])))),
        ("rubbish", &|| std::fs::write(ca.path("node.key"), "rubbish").unwrap()),
        ("no file", &|| std::fs::remove_file(ca.path("node.crt")).unwrap()),
    ];
    for (failures, (what, spoil)) in (1..).zip(bad) {
        spoil();
        node.reload_certificates();
        eventually(what, || status.failures() == failures);
        assert!(all_show(&second), "{what}");
    }
    assert_eq!(status.reloads(), 1);
    assert!(http(metrics_port, "/metrics").await.contains("\nfastness_tls_reload_failures_total 7\n"));

    // By itself, too; what stays bad counts once.
    let mut config = node.shared().config.load().as_ref().clone();
    config.tls_auto_reload_interval = Duration::from_secs(1);
    node.shared().config.store(Arc::new(config));
    ca.sign("node", &format!("fastness://{cluster}/node/3"));
    eventually("it is noticed", || status.failures() == 8);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(status.failures(), 8);
    ca.sign("node", &own);
    eventually("the newest certificate is in use", || all_show(&own_certificate(&ca)));
    assert_eq!((status.reloads(), status.failures()), (2, 8));
    node.shutdown().await;
}

/// A CA is exchanged in three steps: trust both, exchange the certificates, trust the new one.
#[test]
fn a_folder_of_cas_is_trusted_as_a_whole() {
    let (ca, other) = (Ca::new(), Ca::new());
    ca.sign("node", &format!("fastness://{}/node/1", ClusterId([1; 16])));
    other.sign("client", "fastness://client");
    let trusted = ca.path("trusted");
    std::fs::create_dir(&trusted).unwrap();
    for (name, from) in [("one.crt", &ca), ("two.crt", &other)] {
        std::fs::copy(from.path("ca.crt"), trusted.join(name)).unwrap();
    }
    std::fs::write(trusted.join(".hidden"), "-----BEGIN CERTIFICATE-----\nrubbish").unwrap();
    let lines = ca.options("node").replace("tls-ca-cert-file", "# ");
    let config = Config::parse(&format!("{lines}tls-ca-cert-dir {}\n", trusted.display())).unwrap();
    let material = Material::load(&config).unwrap();
    material.check_own().unwrap();
    let tls = Some(material.for_clients(ClientCertificates::Required).unwrap());
    let server = FrontEnd::open(Options { tls, durability: Durability::Async, ..Options::default() });
    for name in ["client.crt", "client.key"] {
        std::fs::copy(other.path(name), ca.path(name)).unwrap();
    }
    let mut client = connect(&server, &ca, Some("client"));
    eventually("the replica serves", || client.call(&["GET", "k"]) == Value::Null);
}

#[test]
fn only_protocols_and_suites_that_are_named_are_accepted() {
    let ca = Ca::new();
    ca.sign("node", &format!("fastness://{}/node/1", ClusterId([1; 16])));
    let config = |lines: &str| Config::parse(&format!("{}{lines}\n", ca.options("node"))).unwrap();
    let lines = "tls-protocols TLSv1.2\ntls-ciphers ECDHE-ECDSA-CHACHA20-POLY1305";
    let material = Material::load(&config(lines)).unwrap();
    let tls = Some(material.for_clients(ClientCertificates::No).unwrap());
    let server = FrontEnd::open(Options { tls, durability: Durability::Async, ..Options::default() });
    let (tls, _tcp) = handshaken(&server, &ca);
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let suite = tls.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let refused = Material::load(&config("tls-protocols \"TLSv1.1 TLSv1.2\"")).err().unwrap().to_string();
    assert_eq!(refused, "tls-protocols: 'TLSv1.1' is not one of TLSv1.2, TLSv1.3");
    let refused = Material::load(&config("tls-ciphersuites TLS_AES_128_CCM_SHA256")).err().unwrap().to_string();
    assert!(refused.starts_with("tls-ciphersuites: 'TLS_AES_128_CCM_SHA256' is not one of TLS_AES_256_"), "{refused}");
}

#[tokio::test]
async fn a_wrong_id_or_certificate_is_named() {
    let ca = Ca::new();
    let ports = Ports::reserve().unwrap();
    let mut config = node_config(&ca, &ports);
    config.node_id = 5;
    let refused = Node::start(config.clone()).await.err().unwrap().to_string();
    assert_eq!(refused, "node-id is 5, but the certificate of tls-cert-file names node 1");
    ca.sign("node", "https://example");
    let refused = Node::start(config.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("has no subject alternative name fastness://"), "{refused}");
    std::fs::write(ca.path("node.key"), "no key").unwrap();
    let refused = Node::start(config).await.err().unwrap().to_string();
    assert!(refused.starts_with("tls-key-file "), "{refused}");
}

/// A line in the config alone puts nobody's data at risk, and a certificate alone neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_commanded_where_config_and_certificate_say_so() {
    let ca = Ca::new();
    let cluster = ClusterId([1; 16]);
    let ports = Ports::reserve().unwrap();
    let mut config = node_config(&ca, &ports);
    ca.sign("admin", &format!("fastness://{cluster}/admin"));
    config.lab = true;
    let refused = Node::start(config.clone()).await.err().unwrap().to_string();
    assert!(refused.contains(&format!("does not name fastness://{cluster}/lab")), "{refused}");
    let other = ClusterId([9; 16]);
    for stranger in [format!("fastness://{other}/lab"), format!("fastness://{cluster}/laboratory")] {
        ca.sign_all("node", &[&format!("fastness://{cluster}/node/1"), &stranger]);
        assert!(Node::start(config.clone()).await.is_err(), "{stranger}");
    }
    ca.sign_all("node", &[&format!("fastness://{cluster}/node/1"), &format!("fastness://{cluster}/lab")]);
    let node = Node::start(config).await.unwrap();
    let grpc = node.own().grpc_address.clone();
    let mut own = LabServiceClient::new(channel(&ca, &grpc, "node").await);
    assert_eq!(own.show_faults(ShowFaultsRequest {}).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    let mut admin = LabServiceClient::new(channel(&ca, &grpc, "admin").await);
    let fault = Some(DiskFault { kind: DiskFaultKind::Slow.into(), slow_ms: 3, met: 0 });
    admin.set_disk_fault(SetDiskFaultRequest { fault }).await.unwrap();
    let shown = admin.show_faults(ShowFaultsRequest {}).await.unwrap().into_inner();
    assert_eq!((shown.node_id, shown.disk.map(|disk| disk.slow_ms), shown.links.len()), (1, Some(3), 0));
    let link = Some(LinkFault { to_node: 7, cut: Some(true), ..LinkFault::default() });
    let refused = admin.set_link_fault(SetLinkFaultRequest { fault: link, heal: false }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    let mut described = AdminServiceClient::new(channel(&ca, &grpc, "admin").await);
    let described = described.describe_cluster(DescribeClusterRequest {}).await.unwrap().into_inner();
    assert_eq!(described.lab_faults, ["disk: slow 3 ms"]);
    let fault = Some(DiskFault { kind: DiskFaultKind::Slow.into(), slow_ms: 3_600_000, met: 0 });
    assert!(admin.set_disk_fault(SetDiskFaultRequest { fault }).await.is_err());
    node.shutdown().await;
}

/// Anybody who reaches these ports can begin a handshake: none is waited for for long, and not many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_to_the_ports_of_nodes_and_administrators_are_bounded_and_closed() {
    use tokio::io::AsyncReadExt as _;
    let ca = Ca::new();
    let cluster = ClusterId([1; 16]);
    let ports = Ports::reserve().unwrap();
    ca.sign("admin", &format!("fastness://{cluster}/admin"));
    let node = Node::start(node_config(&ca, &ports)).await.unwrap();
    let (grpc, peer) = (node.own().grpc_address.clone(), node.own().peer_address.clone());
    for address in [&peer, &grpc] {
        let mut silent = tokio::task::JoinSet::new();
        for _ in 0..2 * limits::PEER_HANDSHAKES_MAX {
            let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            silent.spawn(async move {
                let began = std::time::Instant::now();
                let read = tokio::time::timeout(PATIENCE, tcp.read(&mut [0; 64])).await;
                assert!(matches!(read, Ok(Ok(0) | Err(_))), "it stays open: {read:?}");
                began.elapsed()
            });
        }
        let waited = silent.join_all().await;
        let refused = waited.iter().filter(|waited| **waited < limits::PEER_HANDSHAKE_TIME_MAX / 2).count();
        assert!(refused > 0, "one too many was not refused: {waited:?}");
        // Whoever has something to say gets in.
        channel(&ca, address, "admin").await;
    }
    let mut admin = AdminServiceClient::new(channel(&ca, &grpc, "admin").await);
    admin.describe_cluster(DescribeClusterRequest {}).await.unwrap();
    node.shutdown().await;
}

/// Handshakes are not the business of the thread that serves: here nobody takes the connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_needs_nobody_who_serves() {
    let ca = Ca::new();
    ca.sign("node", &format!("fastness://{}/node/1", ClusterId([1; 16])));
    let material = Material::load(&Config::parse(&ca.options("node")).unwrap()).unwrap();
    let guard = Guard::new(
        "peer-port",
        material.for_grpc(ClientCertificates::Required).unwrap(),
        Bounds { connections_max: 2, ..Bounds::default() },
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut finished = guard.accept(listener);
    let connect = || async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(material.for_peers().unwrap());
        tls.connect("localhost".try_into().unwrap(), tcp).await
    };
    let streams = [connect().await.unwrap(), connect().await.unwrap()];
    assert!(connect().await.is_err(), "one too many");
    assert_eq!(guard.refused(), 1);
    for _ in 0..2 {
        let served = GrpcStream::adopt(finished.recv().await.unwrap().unwrap()).unwrap();
        assert!(served.get_ref().1.peer_certificates().is_some());
        drop(served);
    }
    drop(streams);
    connect().await.expect("there is room again");
}

/// However many clients there are, administrators get in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_grpc_leave_room_for_administrators() {
    let ca = Ca::new();
    let cluster = ClusterId([1; 16]);
    for (name, identity) in [("node", "node/1"), ("admin", "admin"), ("client", "client")] {
        ca.sign(name, &format!("fastness://{cluster}/{identity}"));
    }
    let material = |name: &str| Material::load(&Config::parse(&ca.options(name)).unwrap()).unwrap();
    let tls = material("node").for_grpc(ClientCertificates::Optional).unwrap();
    let guard = Guard::new("grpc-port", tls, Bounds { connections_max: 4, ..Bounds::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut finished = guard.accept(listener);
    let connect = async |name: &str| {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(material(name).for_peers().unwrap());
        tls.connect("localhost".try_into().unwrap(), tcp).await
    };
    let mut served = Vec::new();
    for name in ["client", "client", "client", "admin"] {
        let stream = connect(name).await.unwrap();
        served.push((stream, finished.recv().await.unwrap().unwrap()));
    }
    served.pop();
    // The fourth client is closed after its handshake; the administrator's place is free.
    let fourth = connect("client").await;
    while guard.refused() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drop(fourth);
    let mut admin = connect("admin").await;
    while admin.is_err() {
        admin = connect("admin").await;
    }
    finished.recv().await.unwrap().unwrap();
}

/// Found: a client that only said over TLS that it sends nothing more was never closed.
#[test]
fn a_tls_client_that_says_that_nothing_follows_gets_every_reply_then_the_end() {
    let ca = Ca::new();
    let server = tls_server(&ca, ClientCertificates::No);
    let mut first = connect(&server, &ca, None);
    eventually("the replica serves", || first.call(&["SET", "k", "v"]) == simple("OK"));
    let (mut tls, mut tcp) = handshaken(&server, &ca);
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(&b"GET k\r\n".repeat(5_000)).unwrap();
    // The connection itself stays open on this side.
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == b"$1\r\nv\r\n".repeat(5_000), "{}", received.len());
    eventually("it is closed", || first.call_text(&["CLIENT", "LIST"]).lines().count() == 1);
}

/// Found: a TLS client over `maxclients` saw the connection end without a word.
#[test]
fn a_tls_client_over_the_maximum_is_told() {
    let ca = Ca::new();
    let server = tls_server(&ca, ClientCertificates::No);
    let mut first = connect(&server, &ca, None);
    eventually("the replica serves", || first.call(&["CONFIG", "SET", "maxclients", "1"]) == simple("OK"));
    let mut refused = connect(&server, &ca, None);
    refused.send(&["PING"]);
    assert_eq!(refused.receive(), Value::Error(b"ERR max number of clients reached".to_vec()));
    assert_eq!(refused.try_receive(), None);
    // Those who do not even shake hands keep nobody out.
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    eventually("they are counted", || first.call_text(&["INFO", "stats"]).contains("rejected_connections:101\r\n"));
    drop(silent);
    assert_eq!(first.call(&["CONFIG", "SET", "maxclients", "2"]), simple("OK"));
    assert_eq!(connect(&server, &ca, None).call(&["PING"]), simple("PONG"));
}
