//! DEL and UNLINK. They are the same here: both free large values in slices.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// DEL key \[key ...]
pub const DEL: Command = Command::data("del", "<key> [<key> ...]", "Deletes keys.", run);
/// UNLINK key \[key ...]
pub const UNLINK: Command =
    Command::data("unlink", "<key> [<key> ...]", "Deletes keys and frees their memory in the background.", run);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut removed = 0;
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        if engine.unlink(&key, env) {
            engine.notify(NotifyClasses::GENERIC, "del", &key);
            removed += 1;
        }
    }
    env.reply.integer(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn counts_what_it_removed() {
        check("SET a 1 => +OK | DEL a a b => :1 | GET a => $-1 | SET b 1 => +OK | UNLINK b => :1 | UNLINK b => :0");
    }

    #[test]
    fn an_expired_key_did_not_exist() {
        check("SET a 1 PX 100 => +OK | wait 101 | DEL a => :0");
    }
}
