//! KEYS: all matching keys of this shard in one reply. As in Valkey, no other command runs until it has finished.

use crate::codec::glob;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// KEYS pattern
pub const KEYS: Command = Command::data("keys", "<pattern>", "Returns all keys that match a pattern.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let pattern = args.get(1);
    let every = pattern == b"*";
    let place = env.reply.defer();
    let mut count = 0;
    for entry in engine.keyspace().iter().filter(|entry| !entry.is_expired(env.now)) {
        if every || glob::matches(pattern, entry.key()) {
            env.reply.bulk(entry.key());
            count += 1;
        }
    }
    env.reply.finish_array(place, count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn only_live_keys_that_match() {
        check("SET ab 1 => +OK | SET b 1 => +OK | SET ac 1 PX 1 => +OK | wait 2 | KEYS a* => *1 $2 ab | KEYS x => *0");
    }
}
