//! Looks after one group: passes on what the owner reports, decides whether this node may campaign, and notices when the
//! Raft core has died.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::control::GroupControl;

/// How long an owner that leads may be not ready before leadership is handed over.
const UNREADY_MAX: Duration = Duration::from_secs(1);
/// For the owner to drain then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the group stops. `proposed` is notified whenever the owner may have proposed.
pub(crate) async fn run(control: GroupControl, proposed: Arc<Notify>) {
    let group = control.core().clone();
    let Some(raft) = group.raft().cloned() else { return };
    let metrics = raft.metrics();
    let mut look = tokio::time::interval(group.timers.heartbeat);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut unready_since: Option<Instant> = None;
    loop {
        tokio::select! {
            () = group.driver.changed() => {
                proposed.notify_one();
                group.owner.send_replace(());
            }
            _ = look.tick() => {}
            () = group.until_stopped() => return,
        }
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            group.stop(&fatal.to_string());
            return;
        }
        let ready = group.driver.ready();
        raft.runtime_config().elect(ready && !group.silent());
        if ready || group.leads().is_none() {
            unready_since = None;
            continue;
        }
        if unready_since.get_or_insert_with(Instant::now).elapsed() >= UNREADY_MAX {
            unready_since = None;
            let control = control.clone();
            tokio::spawn(async move {
                if let Err(error) = control.hand_over(None, PATIENCE).await {
                    tracing::warn!(group = %control.group(), %error, "leads without being ready, and cannot hand over");
                }
            });
        }
    }
}
