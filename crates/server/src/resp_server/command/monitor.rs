//! MONITOR.

use super::call::{Call, ServerCommand};

pub(super) const MONITOR: ServerCommand = ServerCommand::reply(
    "monitor",
    "",
    "Shows the commands that this replica runs for its clients, on this connection.",
    monitor,
)
.changing_connection();

/// `MONITOR`. Inside of EXEC each command has one reply, so it is refused there.
fn monitor(call: Call<'_, '_>) {
    if !call.shard.may_block() {
        call.out.error("ERR MONITOR isn't allowed for DENY BLOCKING client");
    } else if call.replica.pubsub.monitors.enter(call.client) {
        call.out.ok();
    }
}
