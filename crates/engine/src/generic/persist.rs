//! PERSIST.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// PERSIST key
pub const PERSIST: Command = Command::data("persist", "<key>", "Removes the expiration time of a key.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let expires = engine.look_up(&key, env).is_some_and(|entry| entry.deadline().is_some());
    if expires {
        engine.persist(&key, env);
        engine.notify(NotifyClasses::GENERIC, "persist", &key);
    }
    env.reply.integer(expires.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn drops_the_deadline() {
        check("PERSIST a => :0 | SET a 1 EX 1 => +OK | PERSIST a => :1 | PERSIST a => :0 | wait 2000 | GET a => $1 1");
    }
}
