//! redis-rs's cluster client runs its basic flow, in plaintext and over TLS, and continues after the primary was
//! killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use fastness_testkit::cluster::{Cluster, ClusterOptions};
use redis::AsyncCommands;
use redis::TlsCertificates;
use redis::cluster::{ClusterClient, ClusterClientBuilder};

fn client(cluster: &Cluster, tls: bool) -> Result<ClusterClient> {
    let (listeners, scheme) = if tls { (cluster.tls_servers()?, "rediss") } else { (cluster.listeners()?, "redis") };
    let nodes: Vec<String> = listeners.iter().map(|front_end| format!("{scheme}://{front_end}")).collect();
    let mut builder = ClusterClientBuilder::new(nodes);
    if tls {
        let root_cert = Some(std::fs::read(cluster.file()?.ca)?);
        builder = builder.certs(TlsCertificates { client_tls: None, root_cert });
    }
    Ok(builder.build()?)
}

async fn basic_flow(client: &ClusterClient, prefix: &str) -> Result<()> {
    let mut connection = client.get_async_connection().await?;
    for i in 0..100 {
        let () = connection.set(format!("{prefix}{i}"), i).await?;
    }
    for i in 0..100 {
        let got: i32 = connection.get(format!("{prefix}{i}")).await?;
        ensure!(got == i, "{prefix}{i} holds {got}");
    }
    let raised: i64 = connection.incr(format!("{prefix}n"), 41).await?;
    ensure!(raised == 41);
    let mut pipe = redis::pipe();
    pipe.atomic().set(format!("{{{prefix}}}a"), 1).ignore().incr(format!("{{{prefix}}}a"), 1);
    let (raised,): (i64,) = pipe.query_async(&mut connection).await?;
    ensure!(raised == 2);
    let removed: i64 = connection.del(format!("{prefix}1")).await?;
    ensure!(removed == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn basic_flow_in_plaintext_over_tls_and_after_a_failover() -> Result<()> {
    // redis-rs uses the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::start(&ClusterOptions { shards: 3, ..ClusterOptions::default() })?;
    basic_flow(&client(&cluster, true)?, "tls:").await?;
    let client = client(&cluster, false)?;
    basic_flow(&client, "plain:").await?;

    let mut connection = client.get_async_connection().await?;
    let () = connection.set("{kept}", "before").await?;
    let primary = cluster.primary(1, Duration::from_secs(30)).await?;
    cluster.kill(primary)?;
    // The client follows the failover on its own; a write at that moment may fail, and is then repeated.
    let mut written = false;
    for _ in 0..100 {
        if connection.set::<_, _, ()>("after", "failover").await.is_ok() {
            written = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(written, "no write succeeded within 10 s of the primary's death");
    let kept: String = connection.get("{kept}").await?;
    ensure!(kept == "before");
    Ok(())
}
