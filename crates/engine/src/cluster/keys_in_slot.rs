//! CLUSTER COUNTKEYSINSLOT and CLUSTER GETKEYSINSLOT: the keys of a slot on this replica.

use super::slot::slot_of_number;
use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// CLUSTER COUNTKEYSINSLOT slot
pub const COUNT: Command = Command::data(
    "cluster|countkeysinslot",
    "<slot>",
    "Returns the number of keys in a hash slot on this node.",
    count,
)
.showing_data();
/// CLUSTER GETKEYSINSLOT slot count
pub const GET: Command =
    Command::data("cluster|getkeysinslot", "<slot> <count>", "Returns keys of a hash slot on this node.", get)
        .showing_data();

fn count(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let slot = slot_of_number(parse::integer(args.get(2))?).ok_or(CommandError::Fixed("ERR Invalid slot"))?;
    env.reply.integer(engine.count_keys_in_slot(slot) as i64);
    Ok(())
}

fn get(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (number, count) = (parse::integer(args.get(2))?, parse::integer(args.get(3))?);
    let (Some(slot), Ok(count)) = (slot_of_number(number), usize::try_from(count)) else {
        return Err(CommandError::Fixed("ERR Invalid slot or number of keys"));
    };
    let keys = engine.keys_in_slot(slot, count);
    env.reply.array(keys.len());
    keys.iter().for_each(|key| env.reply.bulk(key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn keys_of_one_slot() {
        check("SET foo 1 => +OK | SET {foo}2 1 => +OK | SET bar 1 => +OK | CLUSTER COUNTKEYSINSLOT 12182 => :2");
        check("SET foo 1 => +OK | CLUSTER GETKEYSINSLOT 12182 9 => *1 $3 foo | CLUSTER GETKEYSINSLOT 12182 0 => *0");
    }

    #[test]
    fn refusals() {
        check("CLUSTER COUNTKEYSINSLOT 16384 => -ERR Invalid slot | CLUSTER COUNTKEYSINSLOT -1 => -ERR Invalid slot");
        check("CLUSTER GETKEYSINSLOT 1 -1 => -ERR Invalid slot or number of keys");
        check("CLUSTER GETKEYSINSLOT 1 x => -ERR value is not an integer or out of range");
    }
}
