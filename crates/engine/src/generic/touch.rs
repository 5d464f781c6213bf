//! TOUCH: notes an access and nothing else.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// TOUCH key \[key ...]
pub const TOUCH: Command =
    Command::data("touch", "<key> [<key> ...]", "Counts how many of the keys are there, as an access to each.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    // Also for a client that said NO-TOUCH: it asks for nothing else.
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
    fn reads_can_leave_the_time_of_access_alone() {
        let mut bench = Bench::new();
        bench.script("SET a 1 => +OK | wait 5000");
        bench.engine.leave_access_times(true);
        bench.script("GET a => $1 1 | OBJECT IDLETIME a => :5 | TOUCH a => :1 | OBJECT IDLETIME a => :0");
    }
}
