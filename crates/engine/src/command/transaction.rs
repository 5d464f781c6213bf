//! The commands that the shard runs on a connection's transaction and on its last write.

use super::table::{Command, SessionCommand};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    Command::session("multi", "", "Starts a transaction.", SessionCommand::Multi).running_while_queueing(),
    Command::session("exec", "", "Runs the queued commands as one atomic unit.", SessionCommand::Exec).running_while_queueing(),
    Command::session("discard", "", "Discards the queued commands of a transaction.", SessionCommand::Discard).running_while_queueing(),
    Command::session("watch", "<key> [<key> ...]", "Watches keys: the next EXEC runs only if none of them has changed.", SessionCommand::Watch).running_while_queueing(),
    Command::session("unwatch", "", "Stops watching all keys.", SessionCommand::Unwatch),
    Command::session("wait", "<numreplicas> <timeout>", "Waits until replicas hold this connection's writes on stable storage.", SessionCommand::Wait),
    Command::session("waitaof", "<numlocal> <numreplicas> <timeout>", "Waits until this node and replicas hold this connection's writes on stable storage.", SessionCommand::Waitaof),
];
