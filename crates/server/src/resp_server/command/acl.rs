//! ACL: users and their rules, which belong to the cluster (`settings.rs`), and what was refused to clients.

use std::time::{SystemTime, UNIX_EPOCH};

use fastness_acl::Selector;
use fastness_control::{UserRules, Users};
use fastness_engine::CommandError;
use fastness_resp::{Args, ReplyBuf};
use fastness_shard::FrontEndOutcome;
use rand::RngCore as _;

use super::call::{Call, ServerCommand, integer, is};
use super::cluster_change::await_change;
use crate::access::LogEntry;
use crate::accounts::{self, Account, DEFAULT_USER, UsersError};
use crate::settings::{Answered, SettingsServer};
use crate::shared::NodeShared;

pub(super) const DELUSER: ServerCommand = ServerCommand::outcome(
    "acl|deluser",
    "<username> [<username> ...]",
    "Deletes users and closes their connections.",
    deluser,
);
pub(super) const DRYRUN: ServerCommand = ServerCommand::reply(
    "acl|dryrun",
    "<username> <command> [<arg> ...]",
    "Says whether a user may run a command, without running it.",
    dryrun,
);
pub(super) const GENPASS: ServerCommand =
    ServerCommand::reply("acl|genpass", "[<bits>]", "Makes a random password of this many bits.", genpass);
pub(super) const GETUSER: ServerCommand =
    ServerCommand::reply("acl|getuser", "<username>", "Returns the rules of a user.", getuser);
pub(super) const LIST: ServerCommand =
    ServerCommand::reply("acl|list", "", "Lists the users in the form of a configuration file.", list);
pub(super) const LOAD: ServerCommand =
    ServerCommand::outcome("acl|load", "", "Replaces all users by those in the ACL file.", load);
pub(super) const LOG: ServerCommand =
    ServerCommand::reply("acl|log", "[<count> | RESET]", "Shows or clears what was refused to clients.", log);
pub(super) const SAVE: ServerCommand =
    ServerCommand::outcome("acl|save", "", "Writes all users to the ACL file of this node.", save);
pub(super) const SETUSER: ServerCommand =
    ServerCommand::outcome("acl|setuser", "<username> <rule> [<rule> ...]", "Creates or changes a user.", setuser)
        .with_secrets(rules_secrets);
pub(super) const USERS: ServerCommand = ServerCommand::reply("acl|users", "", "Lists the names of the users.", users);
pub(super) const WHOAMI: ServerCommand =
    ServerCommand::reply("acl|whoami", "", "Returns the name of the user of this connection.", whoami);

const IN_TRANSACTION: &str = "ERR users belong to the cluster and cannot be changed inside of MULTI";
const NO_FILE: &str = "ERR This instance is not configured to use an ACL file: set the option aclfile, or use ACL \
                       SETUSER, which keeps users in the cluster";

/// Rules that add or remove a password, or its hash.
fn rules_secrets(args: Args<'_>, hide: &mut dyn FnMut(usize)) {
    let is_secret = |at: &usize| matches!(args.get(*at).first(), Some(b'>' | b'<' | b'#' | b'!'));
    (3..args.len()).filter(is_secret).for_each(hide);
}

fn whoami(call: Call<'_, '_>) {
    call.out.bulk(call.client.user_name());
}

fn users(call: Call<'_, '_>) {
    let accounts = call.replica.node.accounts.load();
    call.out.array(accounts.iter().len());
    accounts.iter().for_each(|account| call.out.bulk(&account.name));
}

fn list(call: Call<'_, '_>) {
    let accounts = call.replica.node.accounts.load();
    call.out.array(accounts.iter().len());
    accounts.iter().for_each(|account| call.out.bulk(line(account)));
}

/// A user as a line of an ACL file.
fn line(account: &Account) -> Vec<u8> {
    [b"user ", account.name.as_bytes(), b" ", &account.user.rules()].concat()
}

fn getuser(call: Call<'_, '_>) {
    let accounts = call.replica.node.accounts.load();
    let Some(account) = accounts.get(call.args.get(2)) else { return call.out.null_array() };
    let (user, out) = (&account.user, call.out);
    out.map(7);
    out.bulk("flags");
    out.set(1 + usize::from(user.is_nopass()));
    out.bulk(if user.is_on() { "on" } else { "off" });
    if user.is_nopass() {
        out.bulk("nopass");
    }
    out.bulk("passwords");
    out.array(user.passwords().count());
    for hash in user.passwords() {
        out.bulk(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
    write_selector(out, user.root());
    out.bulk("selectors");
    out.array(user.selectors().len());
    for selector in user.selectors() {
        out.map(4);
        write_selector(out, selector);
    }
}

fn write_selector(out: &mut ReplyBuf, selector: &Selector) {
    let parts = [
        ("commands", selector.commands()),
        ("keys", selector.keys()),
        ("channels", selector.channels()),
        ("databases", selector.databases()),
    ];
    for (name, value) in parts {
        out.bulk(name);
        out.bulk(value);
    }
}

/// `ACL GENPASS [bits]`.
fn genpass(call: Call<'_, '_>) {
    let bits = match call.args.try_get(2).map(integer) {
        None => 256,
        Some(Some(bits)) if (1..=4096).contains(&bits) => bits as usize,
        Some(Some(_)) => {
            return call.out.error(
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
                 4096",
            );
        }
        Some(None) => return call.out.error("ERR value is not an integer or out of range"),
    };
    let digits = bits.div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    rand::rng().fill_bytes(&mut random);
    let mut password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    call.out.bulk(password);
}

/// `ACL DRYRUN username command [arg …]`.
fn dryrun(call: Call<'_, '_>) {
    let accounts = call.replica.node.accounts.load();
    let Some(account) = accounts.get(call.args.get(2)) else {
        return call.out.error(CommandError::quoting("ERR User '", call.args.get(2), "' not found").line());
    };
    let request = call.args.skip(3);
    let Some(spec) = call.replica.node.accounts.table().of_request(request) else {
        return call.out.error(CommandError::quoting("ERR Command '", request.get(0), "' not found").line());
    };
    if !spec.takes(request.len()) {
        return call.out.error(format!("ERR wrong number of arguments for '{}' command", spec.name));
    }
    match account.user.check(spec, request) {
        Ok(()) => call.out.ok(),
        Err(denied) => call.out.bulk(denied.dry_run(account.name.as_bytes(), spec, request)),
    }
}

/// `ACL LOG [count | RESET]`.
fn log(call: Call<'_, '_>) {
    let log = &call.replica.node.access;
    let count = match call.args.try_get(2) {
        None => 10,
        Some(word) if is(word, "reset") => {
            log.reset();
            return call.out.ok();
        }
        Some(count) => match integer(count) {
            Some(count) => usize::try_from(count).unwrap_or(0),
            None => return call.out.error("ERR value is not an integer or out of range"),
        },
    };
    let entries = log.newest(count);
    call.out.array(entries.len());
    entries.iter().for_each(|entry| write_entry(entry, call.out));
}

fn write_entry(entry: &LogEntry, out: &mut ReplyBuf) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let refused = &entry.refused;
    out.map(10);
    out.bulk("count");
    out.integer(entry.count as i64);
    let texts = [
        ("reason", refused.lacking.name().as_bytes()),
        ("context", refused.context.as_bytes()),
        ("object", &refused.object),
        ("username", &refused.user),
    ];
    for (name, value) in texts {
        out.bulk(name);
        out.bulk(value);
    }
    out.bulk("age-seconds");
    out.double(now.saturating_sub(entry.created.0) as f64 / 1000.0);
    out.bulk("client-info");
    out.bulk(&refused.client);
    let numbers =
        [("entry-id", entry.id), ("timestamp-created", entry.created.0), ("timestamp-last-updated", entry.updated.0)];
    for (name, value) in numbers {
        out.bulk(name);
        out.integer(value as i64);
    }
}

/// The users that this node knows, in the form from which changes are computed.
fn users_now(node: &NodeShared) -> Users {
    node.users().as_ref().clone()
}

/// `ACL SETUSER username rule …`.
fn setuser(call: Call<'_, '_>) -> FrontEndOutcome {
    let name = call.args.get(2);
    if name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
        return refuse(call, "ERR Usernames can't contain spaces or null characters");
    }
    let Ok(name) = std::str::from_utf8(name) else {
        return refuse(call, "ERR the name of a user must be UTF-8 text");
    };
    let rules: Vec<Vec<u8>> = call.args.skip(3).iter().map(<[u8]>::to_vec).collect();
    let node = call.replica.node.clone();
    let compute = {
        let name = name.to_owned();
        move |users: &Users| set_rules(&node, users, &name, &rules)
    };
    // What is wrong by itself is refused here, with nothing proposed.
    let is_first = call.client.setting.borrow().is_none();
    if is_first && let Err(error) = compute(&users_now(&call.replica.node)) {
        return refuse(call, &format!("ERR {error}"));
    }
    change(call, move |server| server.change_users(compute), |_, call| call.out.ok())
}

/// The change that applies rules to a user.
fn set_rules(node: &NodeShared, users: &Users, name: &str, rules: &[Vec<u8>]) -> Result<UserRules, UsersError> {
    let user = accounts::stored_user(node.accounts.table(), users, &node.password(), name)?;
    let user = user.with_rules(rules.iter().map(Vec::as_slice)).map_err(UsersError::Rule)?;
    let change = [(name.to_owned(), Some(accounts::text(&user)?))].into();
    accounts::check_bounds(users, &change)?;
    Ok(change)
}

/// `ACL DELUSER username …`.
fn deluser(call: Call<'_, '_>) -> FrontEndOutcome {
    let names: Vec<String> =
        call.args.skip(2).iter().filter_map(|name| std::str::from_utf8(name).ok()).map(str::to_owned).collect();
    if names.iter().any(|name| name == DEFAULT_USER) {
        return refuse(call, "ERR The 'default' user cannot be removed");
    }
    let compute = move |users: &Users| {
        let known = names.iter().filter(|name| users.rules.contains_key(*name));
        Ok(known.map(|name| (name.clone(), None)).collect())
    };
    let answer = |count, call: Call<'_, '_>| call.out.integer(count as i64);
    change(call, move |server| server.change_users(compute), answer)
}

/// `ACL LOAD`.
fn load(call: Call<'_, '_>) -> FrontEndOutcome {
    let Some(path) = call.replica.node.config.load().aclfile.clone() else { return refuse(call, NO_FILE) };
    change(call, move |server| server.load_users(path), |_, call| call.out.ok())
}

/// `ACL SAVE`.
fn save(call: Call<'_, '_>) -> FrontEndOutcome {
    let Some(path) = call.replica.node.config.load().aclfile.clone() else { return refuse(call, NO_FILE) };
    let accounts = call.replica.node.accounts.load();
    let lines: Vec<u8> = accounts.iter().flat_map(|account| [line(account), b"\n".to_vec()].concat()).collect();
    change(call, move |server| server.save_users(path, lines), |_, call| call.out.ok())
}

fn refuse(call: Call<'_, '_>, error: &str) -> FrontEndOutcome {
    call.out.error(error);
    FrontEndOutcome::Reply
}

/// Makes a change and answers when it is in force; `answer` is called with the number of users that it changes.
fn change(
    call: Call<'_, '_>,
    start: impl FnOnce(&SettingsServer) -> Answered,
    answer: impl FnOnce(usize, Call<'_, '_>),
) -> FrontEndOutcome {
    if !call.shard.may_block() {
        return refuse(call, IN_TRANSACTION);
    }
    let Some(server) = &call.replica.settings_server else {
        return refuse(call, "ERR this node has no control plane, which keeps the users");
    };
    match await_change(&call, server, start) {
        Err(wait) => return wait,
        Ok(Ok(count)) => answer(count, call),
        Ok(Err(error)) => call.out.error(format!("ERR {error}")),
    }
    FrontEndOutcome::Reply
}
