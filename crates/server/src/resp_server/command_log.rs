//! The command log: the newest commands that were slow, had a large request or a large reply. Used only on the thread
//! of the shard loop.
//!
//! Each of the three logs has its own threshold and its own bound on entries, which options set. An entry keeps at most
//! `ARGS_MAX` arguments, at most `ARG_BYTES_MAX` bytes of each, and no secret. Of a transaction the commands that
//! EXEC runs are entered, each with its own figures, and EXEC is not.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use fastness_engine::command::CommandSpec;
use fastness_resp::Args;

use super::clients::Client;
use super::stats::wall_seconds;
use crate::config::{CommandLogBounds, Config};

/// Number of arguments that are kept of a command, and the bytes that are kept of each.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// The three logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Commands that took long.
    Slow,
    /// Commands with a long request.
    LargeRequest,
    /// Commands with a long reply.
    LargeReply,
}

impl LogKind {
    /// All of them.
    pub const ALL: [LogKind; 3] = [LogKind::Slow, LogKind::LargeRequest, LogKind::LargeReply];

    /// The name in COMMANDLOG.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LogKind::Slow => "slow",
            LogKind::LargeRequest => "large-request",
            LogKind::LargeReply => "large-reply",
        }
    }

    /// The log of this name, in any case.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<LogKind> {
        LogKind::ALL.into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}

/// What is measured of one command.
#[derive(Debug, Clone, Copy)]
pub struct CommandCost {
    /// How long it ran.
    pub took: Duration,
    /// Bytes of its request.
    pub request_bytes: usize,
    /// Bytes of its reply.
    pub reply_bytes: usize,
}

impl CommandCost {
    /// In the unit of a log: microseconds, or bytes.
    fn of(self, kind: LogKind) -> u64 {
        match kind {
            LogKind::Slow => self.took.as_micros() as u64,
            LogKind::LargeRequest => self.request_bytes as u64,
            LogKind::LargeReply => self.reply_bytes as u64,
        }
    }
}

/// An entry of a log.
#[derive(Debug, Clone)]
pub struct LoggedCommand {
    /// Unique in its log, and increasing.
    pub id: u64,
    /// When the command ran, in seconds since the Unix epoch.
    pub at: u64,
    /// Execution time in microseconds, or bytes.
    pub value: u64,
    /// The command.
    pub command: &'static str,
    /// How many arguments it had, its name included.
    pub arg_count: usize,
    /// The arguments, truncated.
    pub args: Vec<Vec<u8>>,
    /// Address of the client.
    pub client: String,
    /// The client's name.
    pub name: Vec<u8>,
}

#[derive(Default)]
struct CommandLog {
    /// The newest first.
    entries: RefCell<VecDeque<LoggedCommand>>,
    next_id: Cell<u64>,
}

/// The three logs of one replica; see the module.
#[derive(Default)]
pub struct CommandLogs([CommandLog; 3]);

impl CommandLogs {
    fn log(&self, kind: LogKind) -> &CommandLog {
        &self.0[kind as usize]
    }

    /// Enters a command in the logs whose thresholds it reaches.
    #[inline]
    pub fn note(&self, (spec, args): (&CommandSpec, Args<'_>), cost: CommandCost, client: &Client, config: &Config) {
        for kind in LogKind::ALL {
            let CommandLogBounds { threshold, len_max } = config.command_logs[kind as usize];
            let value = cost.of(kind);
            if u64::try_from(threshold).is_ok_and(|threshold| value >= threshold) && len_max > 0 {
                self.enter(kind, (spec, args), value, client, len_max as usize);
            }
        }
    }

    #[cold]
    fn enter(
        &self,
        kind: LogKind,
        (spec, args): (&CommandSpec, Args<'_>),
        value: u64,
        client: &Client,
        len_max: usize,
    ) {
        let log = self.log(kind);
        let id = log.next_id.get();
        log.next_id.set(id + 1);
        let mut entries = log.entries.borrow_mut();
        entries.push_front(LoggedCommand {
            id,
            at: wall_seconds(),
            value,
            command: spec.name,
            arg_count: args.len(),
            args: shown_args(spec, args),
            client: client.address.to_string(),
            name: client.name.borrow().clone(),
        });
        entries.truncate(len_max);
    }

    /// The newest entries of a log.
    #[must_use]
    pub fn newest(&self, kind: LogKind, count: usize) -> Vec<LoggedCommand> {
        self.log(kind).entries.borrow().iter().take(count).cloned().collect()
    }

    /// Number of entries of a log.
    #[must_use]
    pub fn len(&self, kind: LogKind) -> usize {
        self.log(kind).entries.borrow().len()
    }

    /// Clears a log.
    pub fn clear(&self, kind: LogKind) {
        self.log(kind).entries.borrow_mut().clear();
    }
}

/// Replaces a secret, as in Valkey.
pub(super) const REDACTED: &[u8] = b"(redacted)";

/// The arguments as the logs show them: truncated, and without secrets.
fn shown_args(spec: &CommandSpec, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut cut: Vec<Vec<u8>> = args.take(kept).iter().map(cut_arg).collect();
    spec.secrets(args, &mut |secret| {
        if let Some(shown) = cut.get_mut(secret) {
            *shown = REDACTED.to_vec();
        }
    });
    if args.len() > kept {
        cut.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    cut
}

fn cut_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut cut = arg[..ARG_BYTES_MAX].to_vec();
    cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, shown: &str) {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let args = Args::slices(&words);
        let spec = crate::resp_server::command::table().of_request(args).expect("Valkey knows it");
        let texts = shown_args(spec, args);
        let texts: Vec<String> = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        assert_eq!(texts.join(" "), shown);
    }

    #[test]
    fn secrets_are_not_shown() {
        check("AUTH s3", "AUTH (redacted)");
        check("auth user s3", "auth (redacted) (redacted)");
        check("AUTH user s3 more", "AUTH (redacted) (redacted) (redacted)");
        check("HELLO 3 AUTH user s3 SETNAME me", "HELLO 3 AUTH (redacted) (redacted) SETNAME me");
        check("hello 3 setname me auth user s3", "hello 3 setname me auth (redacted) (redacted)");
        check("HELLO 3 FOO AUTH user s3", "HELLO 3 FOO AUTH (redacted) (redacted)");
        check("CONFIG SET requirepass s3", "CONFIG SET requirepass (redacted)");
        check("config set timeout 1 MasterAuth s3", "config set timeout 1 MasterAuth (redacted)");
        check("CONFIG GET requirepass", "CONFIG GET requirepass");
        check("SET auth s3", "SET auth s3");
    }
}
