//! Which commands write data or run scripts that may: an idempotency key has an effect on these alone. A test of the
//! whole project compares the list with the server's table of commands.

use bytes::Bytes;

/// Names of the commands that write data, of subcommands `command|subcommand`, sorted.
pub const WRITE_COMMANDS: &[&str] = &[
    "append",
    "bitfield",
    "bitop",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "cluster|flushslot",
    "copy",
    "decr",
    "decrby",
    "del",
    "delifeq",
    "eval",
    "evalsha",
    "expire",
    "expireat",
    "fcall",
    "flushall",
    "flushdb",
    "function|delete",
    "function|flush",
    "function|load",
    "function|restore",
    "geoadd",
    "georadius",
    "georadiusbymember",
    "geosearchstore",
    "getdel",
    "getex",
    "getset",
    "hdel",
    "hexpire",
    "hexpireat",
    "hgetdel",
    "hgetex",
    "hincrby",
    "hincrbyfloat",
    "hmset",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hset",
    "hsetex",
    "hsetnx",
    "incr",
    "incrby",
    "incrbyfloat",
    "linsert",
    "lmove",
    "lmpop",
    "lpop",
    "lpush",
    "lpushx",
    "lrem",
    "lset",
    "ltrim",
    "migrate",
    "move",
    "mset",
    "msetex",
    "msetnx",
    "persist",
    "pexpire",
    "pexpireat",
    "pfadd",
    "pfdebug",
    "pfmerge",
    "psetex",
    "rename",
    "renamenx",
    "restore",
    "restore-asking",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "sadd",
    "sdiffstore",
    "set",
    "setbit",
    "setex",
    "setnx",
    "setrange",
    "sinterstore",
    "smove",
    "sort",
    "spop",
    "srem",
    "sunionstore",
    "swapdb",
    "unlink",
    "xack",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xgroup|create",
    "xgroup|createconsumer",
    "xgroup|delconsumer",
    "xgroup|destroy",
    "xgroup|setid",
    "xreadgroup",
    "xsetid",
    "xtrim",
    "zadd",
    "zdiffstore",
    "zincrby",
    "zinterstore",
    "zmpop",
    "zpopmax",
    "zpopmin",
    "zrangestore",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zunionstore",
];

/// Whether a command is known to write data.
pub(crate) fn writes_data(args: &[Bytes]) -> bool {
    let word = |at: usize| args.get(at).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    let Some(name) = word(0) else { return false };
    let is_known = |name: &str| WRITE_COMMANDS.binary_search(&name).is_ok();
    is_known(&name) || word(1).is_some_and(|subcommand| is_known(&format!("{name}|{subcommand}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_subcommands_are_known_in_any_case() {
        let args = |line: &str| line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect::<Vec<_>>();
        for line in ["SET a 1", "EVAL x 0", "incrby a 1", "XGROUP CREATE s g $", "Hset h f v"] {
            assert!(writes_data(&args(line)), "{line}");
        }
        for line in ["GET a", "PUBLISH c m", "CONFIG SET a b", "XINFO STREAM s", "EVAL_RO x 0", "nothing"] {
            assert!(!writes_data(&args(line)), "{line}");
        }
        assert!(!writes_data(&[]));
        assert!(WRITE_COMMANDS.is_sorted());
    }
}
