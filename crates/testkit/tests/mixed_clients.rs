//! Clients that speak RESP, gRPC and with the SDK, on the same keys, while nodes are killed, paused and cut off: their
//! histories are linearizable together, counters are exact, and watches show each increment once. `FASTNESS_SEED`
//! replays the clients' choices; `make chaos` does the same with every fault and for longer.

use anyhow::{Context, Result, ensure};
use fastness_testkit::chaos::{self, ChaosFault, ChaosReport};
use fastness_testkit::clients::ClientKind;
use fastness_testkit::cluster::ClusterOptions;

/// Checks that all clients took part in everything.
fn all_took_part(report: &ChaosReport) -> Result<()> {
    let by_client = &report.verdict.by_client;
    for kind in [ClientKind::Resp, ClientKind::Grpc, ClientKind::Sdk] {
        let counts = by_client.get(&kind).with_context(|| format!("no {kind:?}"))?;
        eprintln!("{kind:?}: {counts:?}");
        ensure!(counts.acknowledged > 500 && counts.reads > 500, "{kind:?}: {counts:?}");
    }
    let counters = report.verdict.counters.as_ref().context("nobody has counted")?;
    eprintln!(
        "{} counted, {} events, {} purges: {:#?}",
        counters.counted, counters.events, counters.purged, counters.by_name
    );
    let histories = report.verdict.histories.as_ref().context("no histories")?;
    ensure!(histories.ops_checked > 3_000, "{} operations in histories", histories.ops_checked);
    ensure!(histories.by_client.len() == 3, "{:?}", histories.by_client);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_all_kinds_keep_one_history_through_faults() -> Result<()> {
    let options = ClusterOptions {
        shards: 2,
        snapshot_log_bytes: Some(200_000),
        watch_log_bytes: 64 << 20,
        ..ClusterOptions::default()
    };
    let faults = [ChaosFault::KillPrimary, ChaosFault::PausePrimary, ChaosFault::CutLinks, ChaosFault::KillAll];
    let (mut cluster, report) = chaos::run_with_all_clients(&options, &faults).await?;
    all_took_part(&report)?;
    let counters = report.verdict.counters.context("nobody has counted")?;
    ensure!(counters.purged == 0 && counters.events >= 2 * counters.counted, "{counters:#?}");
    cluster.discard_files();
    Ok(())
}
