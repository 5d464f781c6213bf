//! Rates of new connections and TLS handshakes per source, on real sockets: one source that opens too many is refused,
//! with a reason that its clients can read, and all others are served meanwhile. On the three listeners for clients.
//!
//! The sources are addresses of this machine: each of 127.0.0.0/8 counts as its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastness_load::Connection;
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use fastness_testkit::observe::page;
use fastness_testkit::reply_text::{expect_reply, info_field};
use fastness_testkit::wait::until_ok;
use fastness_wire::v1;
use fastness_wire::v1::kv_service_client::KvServiceClient;
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
/// What one source may open at once, where it is bounded. The rate is one per second: what is given back during a flood
/// is less than that.
const BURST: usize = 30;
/// A burst that no test exceeds.
const AMPLE: usize = 10_000;
/// Connections of a flood. They are opened before anything is sent, so that tokens are taken as fast as the node
/// accepts.
const FLOOD: usize = 150;
const REFUSAL: &str =
    "-ERR too many new connections from this address in a short time (source-connections-per-second)\r\n";

fn source(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

async fn connect(from: IpAddr, to: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let to: SocketAddr = to.parse().with_context(|| to.to_owned())?;
    Ok(tokio::time::timeout(PATIENCE, socket.connect(to)).await??)
}

/// Opens the connections of a flood.
async fn open(from: IpAddr, to: &str) -> Result<Vec<TcpStream>> {
    let mut opened = Vec::new();
    for _ in 0..FLOOD {
        opened.push(connect(from, to).await?);
    }
    Ok(opened)
}

/// What the server says to a PING.
async fn ping(stream: &mut TcpStream) -> Result<String> {
    // A connection that is refused may be closed already.
    let _ = stream.write_all(b"PING\r\n").await;
    let mut received = [0; 256];
    let len = tokio::time::timeout(PATIENCE, stream.read(&mut received)).await??;
    Ok(String::from_utf8_lossy(&received[..len]).into_owned())
}

/// The node under test, and how its listeners are reached.
struct Target {
    cluster: Cluster,
    plain: String,
    tls: String,
    grpc: String,
    config: Arc<rustls::ClientConfig>,
    operator: Connection,
}

impl Target {
    /// Starts it with these bursts of connections and handshakes.
    async fn start(connections: usize, handshakes: usize) -> Result<Target> {
        let options =
            ClusterOptions { azs: vec!["a"], replicas: 0, durability: "disabled", ..ClusterOptions::default() };
        let cluster = Cluster::start(&options)?;
        let mut operator = cluster.connect(1, 1, PATIENCE).await?;
        for (name, value) in [
            ("source-connections-per-second", 1),
            ("source-connections-burst", connections),
            ("source-handshakes-per-second", 1),
            ("source-handshakes-burst", handshakes),
        ] {
            expect_reply(&mut operator, &["CONFIG", "SET", name, &value.to_string()], "OK").await?;
        }
        let node = cluster.node(1)?;
        let resp = node.resp.first().context("a replica")?;
        let (plain, tls) = (format!("127.0.0.1:{}", resp.port), format!("127.0.0.1:{}", resp.tls_port));
        let config = cluster.tls()?.0;
        Ok(Target { plain, tls, grpc: node.grpc, config, cluster, operator })
    }

    /// Whether a connection over TLS is admitted; otherwise the client has read why it is not.
    async fn is_admitted(&self, tcp: TcpStream) -> Result<bool> {
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        let connected = tokio::time::timeout(PATIENCE, connector.connect("127.0.0.1".try_into()?, tcp)).await?;
        let alert = connected.err().and_then(|error| error.into_inner()?.downcast::<rustls::Error>().ok());
        Ok(!matches!(alert.as_deref(), Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied))))
    }

    /// Opens many connections over TLS; returns how many were not refused.
    async fn flood_tls(&self, from: IpAddr, to: &str) -> Result<usize> {
        let opened = open(from, to).await?;
        let handshakes = opened.into_iter().map(|tcp| self.is_admitted(tcp));
        let admitted = futures::future::try_join_all(handshakes).await?;
        Ok(admitted.into_iter().filter(|admitted| *admitted).count())
    }

    /// A call over gRPC from this source.
    async fn call(&self, from: IpAddr) -> Result<()> {
        let ca = std::fs::read(self.cluster.dir().join("ca.crt"))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.grpc))?.local_address(Some(from));
        let channel: Channel = endpoint.tls_config(tls)?.connect().await?;
        KvServiceClient::new(channel).get(v1::GetRequest { key: "k".into(), ..Default::default() }).await?;
        Ok(())
    }

    /// Every listener serves a source that has done nothing.
    async fn serves(&self, from: IpAddr) -> Result<()> {
        ensure!(ping(&mut connect(from, &self.plain).await?).await? == "+PONG\r\n");
        let tcp = connect(from, &self.tls).await?;
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        connector.connect("127.0.0.1".try_into()?, tcp).await.context("RESP over TLS")?;
        self.call(from).await
    }

    async fn refused(&mut self, what: &str) -> Result<u64> {
        info_field(&mut self.operator, "stats", &format!("source_refused_{what}")).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_opens_too_many_connections_is_refused_and_others_are_served() -> Result<()> {
    let mut target = Target::start(BURST, AMPLE).await?;
    let flooder = source(2);
    let (mut kept, mut refused) = (Vec::new(), 0);
    for mut stream in open(flooder, &target.plain).await? {
        match &*ping(&mut stream).await? {
            "+PONG\r\n" => kept.push(stream),
            REFUSAL => refused += 1,
            other => bail!("{other:?}"),
        }
    }
    println!("{} connections are admitted, {refused} are refused", kept.len());
    ensure!(kept.len() >= BURST && refused > 0);
    target.serves(source(3)).await?;
    ensure!(ping(&mut kept[0]).await? == "+PONG\r\n", "an open connection of the source stays");
    ensure!(target.refused("connections").await? >= refused);
    ensure!(target.refused("handshakes").await? == 0);
    // It gets in again without any other source's doing, at its rate.
    drop(kept);
    until_ok(PATIENCE, async || {
        let said = ping(&mut connect(flooder, &target.plain).await?).await?;
        ensure!(said == "+PONG\r\n", "{said}");
        Ok(())
    })
    .await?;
    ensure!(target.cluster.node_log(1)?.contains("client refused: its address opens connections too fast"));
    let metrics = page(&target.cluster.node(1)?.metrics, "/metrics").await?;
    let line =
        metrics.lines().find(|line| line.starts_with("fastness_source_refusals_total{too_many=\"connections\"}"));
    ensure!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_one_source_are_bounded_on_both_front_ends_together() -> Result<()> {
    let mut target = Target::start(AMPLE, BURST).await?;
    for (flooder, first, second) in
        [(source(2), target.tls.clone(), target.grpc.clone()), (source(3), target.grpc.clone(), target.tls.clone())]
    {
        let before = target.refused("handshakes").await?;
        let admitted = target.flood_tls(flooder, &first).await?;
        ensure!((BURST..FLOOD).contains(&admitted), "{first}: {admitted} handshakes are admitted");
        // The other front end counts the same: no more than what the time since has given back.
        let more = target.flood_tls(flooder, &second).await?;
        println!("{admitted} handshakes are admitted at {first}, then {more} at {second}");
        ensure!(more < BURST, "{second}: {more} further handshakes");
        let refused = target.refused("handshakes").await? - before;
        ensure!(refused >= (2 * FLOOD - admitted - more) as u64, "{refused} are counted");
        target.serves(source(4)).await?;
        // A connection without a handshake is another matter.
        ensure!(ping(&mut connect(flooder, &target.plain).await?).await? == "+PONG\r\n");
    }
    ensure!(target.refused("connections").await? == 0);
    let metrics = page(&target.cluster.node(1)?.metrics, "/metrics").await?;
    let line = metrics.lines().find(|line| line.starts_with("fastness_source_refusals_total{too_many=\"handshakes\"}"));
    ensure!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    Ok(())
}
