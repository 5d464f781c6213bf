//! The way of a command to the connections that monitor.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fastness_connection::ReplyMode;
use fastness_engine::command::CommandSpec;
use fastness_resp::Args;

use super::monitors;
use crate::resp_server::ReplicaServer;
use crate::resp_server::clients::Client;

impl ReplicaServer {
    /// Shows a command that has run to the connections that monitor. One that does not read is closed at
    /// `client-output-buffer-limit normal`, or at `maxmemory-clients` if that is 0.
    #[cold]
    pub(crate) fn show_command(&self, client: &Client, spec: &CommandSpec, args: Args<'_>) {
        if monitors::is_shown(spec) {
            self.show_line(&client.address, spec, args);
        }
    }

    /// Shows a command that runs, of the client of this name, whatever it is.
    #[cold]
    pub(crate) fn show_line(&self, client: &dyn std::fmt::Display, spec: &CommandSpec, args: Args<'_>) {
        let bytes_max = match self.node.config.load().client_output_buffer_limit.normal.hard_bytes {
            0 => self.eviction.bound.get(),
            hard => hard,
        };
        let monitors = &self.pubsub.monitors;
        let bytes_min = monitors::line_bytes_min(args);
        if bytes_min as u64 > bytes_max {
            // No monitor may have a line of this length, so it is not made.
            return monitors.each(|monitor| self.close_unread(monitor));
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Arc::new(monitors::line(spec, args, client, at));
        monitors.each(|monitor| {
            if monitor.reply_mode.get() != ReplyMode::Off {
                self.push_to(monitor, &line, bytes_max);
            }
        });
    }
}
