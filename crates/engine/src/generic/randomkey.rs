//! RANDOMKEY.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// RANDOMKEY
pub const RANDOMKEY: Command = Command::data("randomkey", "", "Returns a random key.", run);

/// Draws of expired keys before the first live key in order is taken.
const TRIES: usize = 100;

fn run(engine: &mut Engine, _: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let keyspace = engine.keyspace();
    let now = env.now;
    let drawn = (0..TRIES)
        .map_while(|_| keyspace.random(env.random))
        .find(|entry| !entry.is_expired(now))
        .or_else(|| keyspace.iter().find(|entry| !entry.is_expired(now)));
    match drawn {
        Some(entry) => env.reply.bulk(entry.key()),
        None => env.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn never_returns_an_expired_key() {
        check(
            "RANDOMKEY => $-1 | SET a 1 PX 1 => +OK | wait 2 | RANDOMKEY => $-1 | SET b 1 => +OK | RANDOMKEY => $1 b",
        );
    }
}
