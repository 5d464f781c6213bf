//! Why a request is refused, with Valkey's texts.

use fastness_engine::command::CommandSpec;
use fastness_resp::Args;

/// What a user lacks to run a request. Numbers are places among the request's arguments, the command's name is 0.
///
/// Ordered by relevance: of the reasons of several selectors, the greatest is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The database that this argument names; 0: the database of the connection.
    Database(usize),
    /// The command.
    Command,
    /// This key, or what the command does with it.
    Key(usize),
    /// This channel.
    Channel(usize),
}

impl Denied {
    /// The error reply to the request, error code first. It quotes the user's name, so it need not be UTF-8.
    #[must_use]
    pub fn reply(self, user: &[u8], spec: &CommandSpec) -> Vec<u8> {
        match self {
            Denied::Database(_) => b"NOPERM No permissions to access database".to_vec(),
            Denied::Command => [b"NOPERM ", &command_text(user, spec)[..]].concat(),
            Denied::Key(_) => b"NOPERM No permissions to access a key".to_vec(),
            Denied::Channel(_) => b"NOPERM No permissions to access a channel".to_vec(),
        }
    }

    /// The text of ACL DRYRUN, which names the argument: `User alice has no permissions to access the 'x' key`.
    #[must_use]
    pub fn dry_run(self, user: &[u8], spec: &CommandSpec, args: Args<'_>) -> Vec<u8> {
        let object = self.object(spec, args);
        match self {
            Denied::Database(_) => [b"User ", user, b" has no permissions to access database ", object].concat(),
            Denied::Command => command_text(user, spec),
            Denied::Key(_) => [b"User ", user, b" has no permissions to access the '", object, b"' key"].concat(),
            Denied::Channel(_) => {
                [b"User ", user, b" has no permissions to access the '", object, b"' channel"].concat()
            }
        }
    }

    /// The reason as ACL LOG names it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Denied::Database(_) => "database",
            Denied::Command => "command",
            Denied::Key(_) => "key",
            Denied::Channel(_) => "channel",
        }
    }

    /// The object as ACL LOG names it: the command, or the argument that was refused.
    #[must_use]
    pub fn object<'a>(self, spec: &CommandSpec, args: Args<'a>) -> &'a [u8] {
        match self {
            Denied::Command => spec.name.as_bytes(),
            Denied::Database(at) | Denied::Key(at) | Denied::Channel(at) => args.try_get(at).unwrap_or_default(),
        }
    }
}

fn command_text(user: &[u8], spec: &CommandSpec) -> Vec<u8> {
    [b"User ", user, b" has no permissions to run the '", spec.name.as_bytes(), b"' command"].concat()
}
