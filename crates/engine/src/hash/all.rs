//! HGETALL, HKEYS, HVALS: a whole hash in one reply.

use super::Hash;
use super::look_up::read;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

/// HGETALL key
pub const HGETALL: Command =
    Command::data("hgetall", "<key>", "Returns all fields of a hash with their values.", |engine, args, env| {
        let write = |reply: &mut ReplyBuf, (field, value): (&[u8], &[u8])| {
            reply.bulk(field);
            reply.bulk(value);
        };
        let head = |reply: &mut ReplyBuf, hash: Option<Hash<'_>>| {
            // One allocation: growing costs a copy, and memory touched for the first time, at every doubling.
            reply.reserve(hash.map_or(0, Hash::heap_bytes));
            reply.map(hash.map_or(0, Hash::len));
        };
        run(engine, args, env, head, write)
    });
/// HKEYS key
pub const HKEYS: Command = Command::data("hkeys", "<key>", "Returns all fields of a hash.", |engine, args, env| {
    run(engine, args, env, array, |reply, (field, _)| reply.bulk(field))
});
/// HVALS key
pub const HVALS: Command = Command::data("hvals", "<key>", "Returns all values of a hash.", |engine, args, env| {
    run(engine, args, env, array, |reply, (_, value)| reply.bulk(value))
});

fn array(reply: &mut ReplyBuf, hash: Option<Hash<'_>>) {
    reply.array(hash.map_or(0, Hash::len));
}

fn run(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    head: impl Fn(&mut ReplyBuf, Option<Hash<'_>>),
    write: impl Fn(&mut ReplyBuf, (&[u8], &[u8])),
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    head(env.reply, hash);
    hash.into_iter().flat_map(|hash| hash.iter()).for_each(|pair| write(env.reply, pair));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    #[test]
    fn everything_in_the_order_of_setting() {
        check("HGETALL h => *0 | HSET h b 1 a 2 => :2 | HGETALL h => *4 $1 b $1 1 $1 a $1 2");
        check("HKEYS h => *0 | HSET h b 1 a 2 => :2 | HSET h b 3 => :0 | HKEYS h => *2 $1 b $1 a");
        check("HVALS h => *0 | HSET h b 1 a 2 => :2 | HVALS h => *2 $1 1 $1 2");
    }

    #[test]
    fn a_map_in_resp3() {
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("HGETALL h => %0 | HSET h a 1 => :1 | HGETALL h => %1 $1 a $1 1 | HKEYS h => *1 $1 a");
    }
}
