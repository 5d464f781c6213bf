//! COMMAND and its subcommands INFO, COUNT, LIST, GETKEYS and GETKEYSANDFLAGS; and ACL CAT, which reads the same
//! table. They describe implemented commands only.

use super::spec::{Begin, Categories, Find, Flags, KeyFlags, KeySpec, category, flag, key_flag};
use super::table::{Command, CommandSpec, CommandTable};
use crate::codec::glob;
use crate::error::CommandError;
use fastness_resp::{Args, ReplyBuf};

type Done = Result<(), CommandError>;

pub(super) const COMMAND: Command =
    Command::table("command", "", "Returns details about all commands.", |table, _, reply| {
        info_of_all(table, reply);
        Ok(())
    });
pub(super) const COUNT: Command =
    Command::table("command|count", "", "Returns the number of commands.", |table, _, reply| {
        reply.integer(top_level(table).count() as i64);
        Ok(())
    });
pub(super) const INFO: Command = Command::table(
    "command|info",
    "[<command-name> ...]",
    "Returns details about the named commands, or about all.",
    info,
);
pub(super) const LIST: Command = Command::table(
    "command|list",
    "[FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "Returns the names of all commands, or of those that match the filter.",
    list,
);
pub(super) const GETKEYS: Command =
    Command::table("command|getkeys", "<full-command>", "Returns the keys among the arguments of a command.", getkeys);
pub(super) const GETKEYSANDFLAGS: Command = Command::table(
    "command|getkeysandflags",
    "<full-command>",
    "Returns the keys among the arguments of a command, with the access flags of each.",
    getkeysandflags,
);
pub(super) const ACL_CAT: Command =
    Command::table("acl|cat", "[<category>]", "Lists the ACL categories, or the commands of one category.", acl_cat);

fn top_level(table: &CommandTable) -> impl Iterator<Item = &CommandSpec> {
    table.implemented().filter(|spec| !spec.name.contains('|'))
}

fn info_of_all(table: &CommandTable, reply: &mut ReplyBuf) {
    reply.array(top_level(table).count());
    top_level(table).for_each(|spec| table.write_info(spec, reply));
}

fn info(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Done {
    if args.len() == 2 {
        info_of_all(table, reply);
        return Ok(());
    }
    reply.array(args.len() - 2);
    for name in args.skip(2).iter() {
        match table.named(name).filter(|spec| spec.is_implemented) {
            Some(spec) => table.write_info(spec, reply),
            None => reply.null_array(),
        }
    }
    Ok(())
}

impl CommandTable {
    /// Appends a command's facts in the form of COMMAND INFO, with its implemented subcommands.
    pub fn write_info(&self, spec: &CommandSpec, reply: &mut ReplyBuf) {
        write_facts(spec, reply);
        let subcommands = || self.subcommands_of(spec).iter().filter(|sub| sub.is_implemented);
        reply.array(subcommands().count());
        subcommands().for_each(|sub| self.write_info(sub, reply));
    }
}

fn write_facts(spec: &CommandSpec, reply: &mut ReplyBuf) {
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

fn list(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Done {
    if args.len() == 2 {
        return write_list(table.implemented(), reply);
    }
    if args.len() != 5 || !args.get(2).eq_ignore_ascii_case(b"filterby") {
        return Err(CommandError::Syntax);
    }
    let wanted = args.get(4);
    let kind = args.get(3).to_ascii_lowercase();
    match kind.as_slice() {
        // There are no modules.
        b"module" => write_list(std::iter::empty(), reply),
        b"aclcat" => {
            let bits = Categories::named(wanted);
            write_list(table.implemented().filter(|spec| bits.is_some_and(|bits| spec.categories.has(bits))), reply)
        }
        b"pattern" => {
            write_list(table.implemented().filter(|spec| glob::matches_any_case(wanted, spec.name.as_bytes())), reply)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn write_list<'a>(specs: impl Iterator<Item = &'a CommandSpec>, reply: &mut ReplyBuf) -> Done {
    let names: Vec<_> = specs.map(|spec| spec.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

/// The command inside GETKEYS's arguments, with the keys' places.
fn keys_of<'a>(table: &CommandTable, args: Args<'a>) -> Result<(Args<'a>, Vec<(usize, KeyFlags)>), CommandError> {
    let inner = args.skip(2);
    let spec = match table.top_level(inner.get(0)) {
        Some(container) if container.is_container() && inner.len() > 1 => table.subcommand(container, inner.get(1)),
        spec => spec,
    };
    let spec = spec.filter(|spec| spec.is_implemented).ok_or(CommandError::Fixed("ERR Invalid command specified"))?;
    if !spec.has_keys() {
        return Err(CommandError::Fixed("ERR The command has no key arguments"));
    }
    if !spec.takes(inner.len()) {
        return Err(CommandError::Fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = spec.keys(inner);
    let mut places: Vec<_> = std::iter::from_fn(|| keys.next_place()).collect();
    let is_short = places.is_empty() || spec.lacks_listed_keys(inner);
    if is_short && !spec.flags.has(Flags(flag::NO_MANDATORY_KEYS)) {
        return Err(CommandError::Fixed("ERR Invalid arguments specified for command"));
    }
    places.iter_mut().for_each(|(place, flags)| *flags = resolved(spec, inner, *place, *flags));
    Ok((inner, places))
}

/// What a command does with the key at this place once its options are known.
fn resolved(spec: &CommandSpec, args: Args<'_>, place: usize, flags: KeyFlags) -> KeyFlags {
    if !flags.has(KeyFlags(key_flag::VARIABLE_FLAGS)) {
        return flags;
    }
    let known = spec.keys_to_check(args).find(|(at, _)| *at == place).map_or(flags, |(_, known)| known);
    KeyFlags(known.0 & !key_flag::VARIABLE_FLAGS)
}

fn getkeys(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Done {
    let (inner, keys) = keys_of(table, args)?;
    reply.array(keys.len());
    keys.iter().for_each(|(place, _)| reply.bulk(inner.get(*place)));
    Ok(())
}

fn getkeysandflags(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Done {
    let (inner, keys) = keys_of(table, args)?;
    reply.array(keys.len());
    for (place, flags) in keys {
        reply.array(2);
        reply.bulk(inner.get(place));
        write_names(flags.names(), "", reply);
    }
    Ok(())
}

fn acl_cat(table: &CommandTable, args: Args<'_>, reply: &mut ReplyBuf) -> Done {
    if args.len() > 3 {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        return Err(CommandError::quoting(before, args.get(1), "'. Try ACL HELP."));
    }
    let Some(name) = args.try_get(2) else {
        reply.array(category::NAMES.len());
        category::NAMES.iter().for_each(|name| reply.bulk(name));
        return Ok(());
    };
    let bits = Categories::named(name).ok_or_else(|| CommandError::quoting("ERR Unknown category '", name, "'"))?;
    let names: Vec<_> = table.implemented().filter(|spec| spec.categories.has(bits)).map(|spec| spec.name).collect();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

#[cfg(test)]
#[path = "introspect_tests.rs"]
mod tests;
