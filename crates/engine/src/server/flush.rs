//! FLUSHALL and FLUSHDB: the same, since there is one database. Memory is given back a little at a time either way.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// FLUSHALL \[ASYNC|SYNC]
pub const FLUSHALL: Command = Command::data("flushall", "[ASYNC|SYNC]", "Removes every key of this shard.", run);
/// FLUSHDB \[ASYNC|SYNC]
pub const FLUSHDB: Command = Command::data("flushdb", "[ASYNC|SYNC]", "Removes every key of this shard.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if args.len() > 2 || !args.skip(1).iter().all(is_mode) {
        return Err(CommandError::Syntax);
    }
    engine.flush_all(env);
    env.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn nothing_is_left() {
        check("SET a 1 => +OK | FLUSHALL => +OK | DBSIZE => :0 | SET a 1 => +OK | FLUSHDB async => +OK | GET a => $-1");
        check("FLUSHALL FOO => -ERR syntax error | FLUSHALL ASYNC SYNC => -ERR syntax error");
    }
}
