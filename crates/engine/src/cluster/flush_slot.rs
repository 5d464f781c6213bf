//! CLUSTER FLUSHSLOT: removes the keys of one slot. Memory is given back a little at a time either way.

use super::slot::slot_of_number;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, number};

/// CLUSTER FLUSHSLOT slot \[ASYNC|SYNC]
pub const FLUSHSLOT: Command =
    Command::data("cluster|flushslot", "<slot> [ASYNC|SYNC]", "Removes every key of a hash slot.", run);

/// Each key is an effect of its own, so what replicas remove does not depend on which keys they have: the unit is as
/// long as the names together.
fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::Fixed(
            "ERR unknown subcommand or wrong number of arguments for 'FLUSHSLOT'. Try CLUSTER HELP.",
        ));
    }
    let slot = number::parse_int(args.get(2)).and_then(slot_of_number);
    let slot = slot.ok_or(CommandError::Fixed("ERR Invalid or out of range slot"))?;
    let is_mode = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if !args.skip(3).iter().all(is_mode) {
        return Err(CommandError::Syntax);
    }
    for name in engine.keys_in_slot(slot, usize::MAX) {
        let key = engine.key(&name);
        engine.unlink(&key, env);
    }
    env.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn only_the_keys_of_the_slot_are_removed() {
        let mut bench = Bench::new();
        bench.script(
            "SET foo 1 => +OK | HSET {foo}h a 1 => :1 | SET {foo}x 1 PX 50 => +OK | SET bar 1 => +OK | wait 60",
        );
        bench.script("CLUSTER FLUSHSLOT 12182 => +OK | CLUSTER COUNTKEYSINSLOT 12182 => :0 | EXISTS foo {foo}h => :0");
        bench.script("GET bar => $1 1 | CLUSTER FLUSHSLOT 12182 ASYNC => +OK | CLUSTER FLUSHSLOT 12182 sync => +OK");
        let mut replica = Bench::new();
        replica.engine.apply(bench.now, &bench.effects.encoded().to_vec()).unwrap();
        assert_eq!(replica.engine.digest(), bench.engine.digest());
    }

    /// As a Valkey 9.1 server answers.
    #[test]
    fn refusals() {
        let slot = "-ERR Invalid or out of range slot";
        check(&format!(
            "CLUSTER FLUSHSLOT x => {slot} | CLUSTER FLUSHSLOT 16384 => {slot} | CLUSTER FLUSHSLOT -1 => {slot}"
        ));
        check(&format!("CLUSTER FLUSHSLOT 1 x => -ERR syntax error | CLUSTER FLUSHSLOT x x => {slot}"));
        check("CLUSTER FLUSHSLOT => -ERR wrong number of arguments for 'cluster|flushslot' command");
        check(
            "CLUSTER FLUSHSLOT 1 SYNC x => -ERR unknown subcommand or wrong number of arguments for 'FLUSHSLOT'. Try CLUSTER HELP.",
        );
    }
}
