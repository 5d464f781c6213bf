//! COMMAND and those of its subcommands that tell facts: INFO, COUNT, LIST, GETKEYS, GETKEYSANDFLAGS; and ACL CAT,
//! which reads the same table. All of them know only what is there.

use super::spec::{Begin, Categories, Command, CommandSpec, Find, Flags, KeyFlags, KeySpec, category, flag, key_flag};
use super::table;
use crate::codec::glob;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

type Done = Result<(), CommandError>;

pub(super) const COMMAND: Command =
    Command::data("command", "", "Tells the facts of every command that is there.", |_, _, env| {
        info_of_all(env.reply);
        Ok(())
    });
pub(super) const COUNT: Command =
    Command::data("command|count", "", "Tells how many commands are there.", |_, _, env| {
        env.reply.integer(top_level().count() as i64);
        Ok(())
    });
pub(super) const INFO: Command =
    Command::data("command|info", "[<command-name> ...]", "Tells the facts of these commands, or of all.", info);
pub(super) const LIST: Command = Command::data(
    "command|list",
    "[FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "Names the commands that are there, or those that the filter lets through.",
    list,
);
pub(super) const GETKEYS: Command =
    Command::data("command|getkeys", "<full-command>", "Tells which arguments of a command are keys.", getkeys);
pub(super) const GETKEYSANDFLAGS: Command = Command::data(
    "command|getkeysandflags",
    "<full-command>",
    "Tells which arguments of a command are keys, and what it does with each.",
    getkeysandflags,
);
pub(super) const ACL_CAT: Command =
    Command::data("acl|cat", "[<category>]", "Names the ACL categories, or the commands of one.", acl_cat);

fn top_level() -> impl Iterator<Item = &'static CommandSpec> {
    table::present().filter(|spec| !spec.name.contains('|'))
}

fn there(name: &[u8]) -> Option<&'static CommandSpec> {
    table::named(name).filter(|spec| spec.is_there)
}

fn info_of_all(reply: &mut ReplyBuf) {
    reply.array(top_level().count());
    top_level().for_each(|spec| write_info(spec, reply));
}

fn info(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Done {
    if args.len() == 2 {
        info_of_all(env.reply);
        return Ok(());
    }
    env.reply.array(args.len() - 2);
    for name in args.skip(2).iter() {
        match there(name) {
            Some(spec) => write_info(spec, env.reply),
            None => env.reply.null_array(),
        }
    }
    Ok(())
}

/// A command's facts as COMMAND INFO tells them.
pub fn write_info(spec: &CommandSpec, reply: &mut ReplyBuf) {
    reply.array(10);
    reply.bulk(spec.name);
    reply.integer(spec.arity.into());
    write_names(spec.flags.names(), "", reply);
    reply.integer(spec.positions.first.into());
    reply.integer(spec.positions.last.into());
    reply.integer(spec.positions.step.into());
    write_names(spec.categories.names(), "@", reply);
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip));
    reply.set(spec.key_specs.len());
    spec.key_specs.iter().for_each(|keys| write_key_spec(keys, reply));
    let subcommands = || table::all()[spec.subcommands.clone()].iter().filter(|sub| sub.is_there);
    reply.array(subcommands().count());
    subcommands().for_each(|sub| write_info(sub, reply));
}

fn write_names(names: impl Iterator<Item = &'static str>, sign: &str, reply: &mut ReplyBuf) {
    let names: Vec<_> = names.collect();
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(format!("{sign}{name}")));
}

fn write_key_spec(spec: &KeySpec, reply: &mut ReplyBuf) {
    reply.map(3);
    reply.bulk("flags");
    write_names(spec.flags.names(), "", reply);
    reply.bulk("begin_search");
    match spec.begin {
        Begin::At(at) => write_search("index", &[("index", at.into())], reply),
        Begin::After(word, from) => {
            write_search_head("keyword", 2, reply);
            reply.bulk("keyword");
            reply.bulk(word);
            write_number("startfrom", from.into(), reply);
        }
        Begin::Unknown => write_search("unknown", &[], reply),
    }
    reply.bulk("find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            let numbers = [("lastkey", last.into()), ("keystep", step.into()), ("limit", limit.into())];
            write_search("range", &numbers, reply);
        }
        Find::Counted { number_at, first, step } => {
            let numbers = [("keynumidx", number_at.into()), ("firstkey", first.into()), ("keystep", step.into())];
            write_search("keynum", &numbers, reply);
        }
        Find::Unknown => write_search("unknown", &[], reply),
    }
}

fn write_search(kind: &str, numbers: &[(&str, i64)], reply: &mut ReplyBuf) {
    write_search_head(kind, numbers.len(), reply);
    numbers.iter().for_each(|(name, number)| write_number(name, *number, reply));
}

fn write_search_head(kind: &str, fields: usize, reply: &mut ReplyBuf) {
    reply.map(2);
    reply.bulk("type");
    reply.bulk(kind);
    reply.bulk("spec");
    reply.map(fields);
}

fn write_number(name: &str, number: i64, reply: &mut ReplyBuf) {
    reply.bulk(name);
    reply.integer(number);
}

fn list(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Done {
    if args.len() == 2 {
        return write_list(table::present(), env.reply);
    }
    if args.len() != 5 || !args.get(2).eq_ignore_ascii_case(b"filterby") {
        return Err(CommandError::Syntax);
    }
    let wanted = args.get(4);
    let kind = args.get(3).to_ascii_lowercase();
    match kind.as_slice() {
        // There are no modules.
        b"module" => write_list(std::iter::empty(), env.reply),
        b"aclcat" => {
            let bits = Categories::named(wanted);
            write_list(table::present().filter(|spec| bits.is_some_and(|bits| spec.categories.has(bits))), env.reply)
        }
        b"pattern" => {
            write_list(table::present().filter(|spec| glob::matches_any_case(wanted, spec.name.as_bytes())), env.reply)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn write_list(specs: impl Iterator<Item = &'static CommandSpec>, reply: &mut ReplyBuf) -> Done {
    let names: Vec<_> = specs.map(|spec| spec.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// The command inside GETKEYS's arguments, with the keys' places.
fn keys_of(args: Args<'_>) -> Result<(Args<'_>, Vec<(usize, KeyFlags)>), CommandError> {
    let inner = args.skip(2);
    let spec = match table::top_level(inner.get(0)) {
        Some(container) if container.is_container() && inner.len() > 1 => table::subcommand(container, inner.get(1)),
        spec => spec,
    };
    let spec = spec.filter(|spec| spec.is_there).ok_or(CommandError::Fixed("ERR Invalid command specified"))?;
    if !spec.has_keys() {
        return Err(CommandError::Fixed("ERR The command has no key arguments"));
    }
    if !spec.takes(inner.len()) {
        return Err(CommandError::Fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = spec.keys(inner);
    let mut places: Vec<_> = std::iter::from_fn(|| keys.next_place()).collect();
    if places.is_empty() && !spec.flags.has(Flags(flag::NO_MANDATORY_KEYS)) {
        return Err(CommandError::Fixed("ERR Invalid arguments specified for command"));
    }
    places.iter_mut().for_each(|(_, flags)| *flags = resolved(spec, inner, *flags));
    Ok((inner, places))
}

/// What a command does with its key once its options are known.
fn resolved(spec: &CommandSpec, args: Args<'_>, flags: KeyFlags) -> KeyFlags {
    if !flags.has(KeyFlags(key_flag::VARIABLE_FLAGS)) {
        return flags;
    }
    let has = |word: &[u8]| args.skip(3).iter().any(|arg| arg.eq_ignore_ascii_case(word));
    match spec.name {
        "set" if !has(b"get") => KeyFlags(key_flag::OW | key_flag::UPDATE),
        "set" => KeyFlags(key_flag::RW | key_flag::ACCESS | key_flag::UPDATE),
        _ => KeyFlags(flags.0 & !key_flag::VARIABLE_FLAGS),
    }
}

fn getkeys(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Done {
    let (inner, keys) = keys_of(args)?;
    env.reply.array(keys.len());
    keys.iter().for_each(|(place, _)| env.reply.bulk(inner.get(*place)));
    Ok(())
}

fn getkeysandflags(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Done {
    let (inner, keys) = keys_of(args)?;
    env.reply.array(keys.len());
    for (place, flags) in keys {
        env.reply.array(2);
        env.reply.bulk(inner.get(place));
        write_names(flags.names(), "", env.reply);
    }
    Ok(())
}

fn acl_cat(_: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Done {
    if args.len() > 3 {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(CommandError::quoting(before, args.get(1), "'. Try ACL HELP."));
    }
    let Some(name) = args.try_get(2) else {
        env.reply.array(category::NAMES.len());
        category::NAMES.iter().for_each(|name| env.reply.bulk(name));
        return Ok(());
    };
    let bits = Categories::named(name).ok_or_else(|| CommandError::quoting("ERR Unknown category '", name, "'"))?;
    let names: Vec<_> = table::present().filter(|spec| spec.categories.has(bits)).map(|spec| spec.name).collect();
    env.reply.array(names.len());
    names.iter().for_each(|name| env.reply.bulk(name));
    Ok(())
}

#[cfg(test)]
#[path = "introspect_tests.rs"]
mod tests;
