//! DELIFEQ.

use super::look_up::text_of;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// DELIFEQ
pub const DELIFEQ: Command =
    Command::data("delifeq", "<key> <value>", "Deletes a key if its string value equals the given one.", delifeq);

fn delifeq(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let equal = match engine.look_up(&key, env) {
        Some(entry) => text_of(entry, &mut itoa::Buffer::new())? == args.get(2),
        None => false,
    };
    if equal {
        engine.unlink(&key, env);
        engine.notify(NotifyClasses::GENERIC, "del", &key);
    }
    env.reply.integer(i64::from(equal));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn deletes_what_is_equal() {
        check("DELIFEQ k v => :0 | SET k v => +OK | DELIFEQ k w => :0 | DELIFEQ k v => :1 | EXISTS k => :0");
        check("SET k 12 => +OK | DELIFEQ k 12 => :1");
    }
}
