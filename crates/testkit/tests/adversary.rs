//! Hostile clients against real processes, for a short time and with sizes that once harmed a shard: every attack once,
//! then all checks of `make chaos PROFILE=adversary`. The long runs with the largest sizes are in the ledger.

use std::time::Duration;

use fastness_testkit::chaos::adversary::{self, AdversaryOptions, Attack, AttackSize};
use fastness_testkit::cluster::{self, Cluster};

/// `maxmemory` of each replica, bytes.
const MAXMEMORY: u64 = 512 << 20;
/// Descriptors of each node. The connections of a flood count at both ends.
const DESCRIPTORS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hostile_clients_send_harms_nobody() {
    let started = cluster::ClusterOptions { descriptors_max: Some(DESCRIPTORS), ..cluster::ClusterOptions::default() };
    let mut cluster = Cluster::start(&started).unwrap();
    cluster.keep_files();
    let options = AdversaryOptions {
        seed: 1,
        // Until every attack has run.
        seconds: 1,
        attacks: Attack::ALL.to_vec(),
        size: AttackSize::Small,
        maxmemory: MAXMEMORY,
        workers: 4,
        pause: Duration::from_millis(5),
        loses: false,
        max_loss: None,
    };
    let report = adversary::run(&cluster, &options, |attacked| println!("{attacked}")).await.unwrap();
    assert_eq!(report.violations(), Vec::<String>::new());
    assert_eq!(report.without_effect(), Vec::<&str>::new());
    assert!(report.verdict.summary.acknowledged > 100);
    cluster.discard_files();
}
