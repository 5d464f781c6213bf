//! TOUCH: sets access times and changes nothing else.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// TOUCH key \[key ...]
pub const TOUCH: Command = Command::data(
    "touch",
    "<key> [<key> ...]",
    "Returns how many of the given keys exist, and updates their access time.",
    run,
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    // Also for a client in NO-TOUCH mode, because this is all that the command does.
    engine.leave_access_times(false);
    let mut found = 0;
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        found += i64::from(engine.read(&key, env).is_some());
    }
    env.reply.integer(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn is_an_access() {
        check("SET a 1 => +OK | wait 5000 | OBJECT IDLETIME a => :5 | TOUCH a b => :1 | OBJECT IDLETIME a => :0");
    }

    #[test]
    fn reads_can_keep_access_times() {
        let mut bench = Bench::new();
        bench.script("SET a 1 => +OK | wait 5000");
        bench.engine.leave_access_times(true);
        bench.script("GET a => $1 1 | OBJECT IDLETIME a => :5 | TOUCH a => :1 | OBJECT IDLETIME a => :0");
    }
}
