//! Commands that change what belongs to the cluster: the connection waits until all reachable nodes have confirmed.

use std::time::Duration;

use fastness_shard::FrontEndOutcome;
use tokio::sync::oneshot::error::TryRecvError;

use super::call::Call;
use crate::settings::{Answered, SettingsError, SettingsServer};

/// How often it is checked whether a change has come into force.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// Starts a change, or goes on waiting for it: until it is answered the command runs again and again. `start` is called
/// once.
///
/// # Errors
/// What the command is to return, because it has to wait.
pub(super) fn await_change(
    call: &Call<'_, '_>,
    server: &SettingsServer,
    start: impl FnOnce(&SettingsServer) -> Answered,
) -> Result<Result<usize, SettingsError>, FrontEndOutcome> {
    let mut waits = call.client.setting.borrow_mut();
    let outcome = match waits.get_or_insert_with(|| start(server)).try_recv() {
        Ok(outcome) => outcome,
        Err(TryRecvError::Empty) => return Err(FrontEndOutcome::Again(call.shard.boot_now().plus(CHECK_EVERY))),
        Err(TryRecvError::Closed) => Err(SettingsError::Unknown("the node is stopping".to_owned())),
    };
    *waits = None;
    Ok(outcome)
}
