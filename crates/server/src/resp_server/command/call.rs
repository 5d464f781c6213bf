//! A command of the front end, and what it is called with.

use std::rc::Rc;

use fastness_engine::command::Command;
use fastness_engine::command::own::OwnFacts;
use fastness_engine::command::table::SecretsOf;
use fastness_resp::{Args, ReplyBuf};
use fastness_shard::{FrontEndOutcome, Session, ShardView};

use crate::resp_server::ReplicaServer;
use crate::resp_server::clients::Client;

/// One call of a front end's command.
pub(crate) struct Call<'a, 's> {
    pub(super) replica: &'a ReplicaServer,
    pub(super) client: &'a Rc<Client>,
    pub(super) args: Args<'a>,
    pub(super) session: &'a mut Session,
    pub(super) shard: &'a mut ShardView<'s>,
    pub(super) out: &'a mut ReplyBuf,
}

/// A command of the front end: its half of the row in the command table, and the function that runs it.
pub(crate) struct ServerCommand {
    pub(super) command: Command,
    pub(super) run: RunServer,
}

#[derive(Clone, Copy)]
pub(super) enum RunServer {
    /// Replies, with nothing of the keyspace in its reply (or counts alone, as INFO).
    Reply(fn(Call<'_, '_>)),
    /// The same, and says what happens next.
    Outcome(fn(Call<'_, '_>) -> FrontEndOutcome),
}

impl ServerCommand {
    pub(super) const fn reply(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        run: fn(Call<'_, '_>),
    ) -> ServerCommand {
        ServerCommand { command: Command::front_end(name, syntax, summary), run: RunServer::Reply(run) }
    }

    pub(super) const fn outcome(
        name: &'static str,
        syntax: &'static str,
        summary: &'static str,
        run: fn(Call<'_, '_>) -> FrontEndOutcome,
    ) -> ServerCommand {
        ServerCommand { command: Command::front_end(name, syntax, summary), run: RunServer::Outcome(run) }
    }

    pub(super) const fn running_while_queueing(self) -> ServerCommand {
        ServerCommand { command: self.command.running_while_queueing(), ..self }
    }

    pub(super) const fn changing_connection(self) -> ServerCommand {
        ServerCommand { command: self.command.changing_connection(), ..self }
    }

    pub(super) const fn with_facts(self, facts: &'static OwnFacts) -> ServerCommand {
        ServerCommand { command: self.command.with_facts(facts), ..self }
    }

    pub(super) const fn with_secrets(self, of: SecretsOf) -> ServerCommand {
        ServerCommand { command: self.command.with_secrets(of), ..self }
    }
}

/// Whether an argument is this word, in any case.
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A whole number as Valkey's commands take it.
pub(super) fn integer(arg: &[u8]) -> Option<i64> {
    fastness_resp::number::parse_int(arg)
}

/// Replies with an error.
pub(super) fn refuse(out: &mut ReplyBuf, text: impl AsRef<[u8]>) -> FrontEndOutcome {
    out.error(text);
    FrontEndOutcome::Reply
}

/// Valkey's error for arguments that no command form matches.
pub(super) const SYNTAX: &str = "ERR syntax error";
