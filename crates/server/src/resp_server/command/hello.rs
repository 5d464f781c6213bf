//! HELLO and AUTH.

use fastness_resp::{Args, Protocol};

use super::call::{Call, ServerCommand, integer, is};
use crate::access::{Lacking, Refused};
use crate::auth::{self, AuthRefusal};
use crate::resp_server::replication;
use crate::shared::VALKEY_VERSION;

pub(super) const AUTH: ServerCommand =
    ServerCommand::reply("auth", "[<username>] <password>", "Authenticates this connection.", run_auth)
        .with_secrets(auth_secrets)
        .changing_connection();
pub(super) const HELLO: ServerCommand = ServerCommand::reply(
    "hello",
    "[<protover> [AUTH <username> <password>] [SETNAME <clientname>]]",
    "Negotiates the protocol version and describes the server.",
    hello,
)
.with_secrets(hello_secrets)
.changing_connection();

/// Everything after AUTH, however many arguments a mistaken client sends.
fn auth_secrets(args: Args<'_>, hide: &mut dyn FnMut(usize)) {
    (1..args.len()).for_each(hide);
}

/// The two arguments after each AUTH.
fn hello_secrets(args: Args<'_>, hide: &mut dyn FnMut(usize)) {
    for at in (1..args.len()).filter(|at| is(args.get(*at), "auth")) {
        hide(at + 1);
        hide(at + 2);
    }
}

/// `AUTH [username] password`.
fn run_auth(call: Call<'_, '_>) {
    let (user, password) = match call.args.len() {
        2 => (&b"default"[..], call.args.get(1)),
        3 => (call.args.get(1), call.args.get(2)),
        _ => return call.out.error(super::call::SYNTAX),
    };
    if call.args.len() == 2 && call.replica.node.accounts.default_user().user.is_nopass() {
        return call.out.error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
    }
    match authenticate(&call, "auth", (user, password)) {
        Ok(()) => call.out.ok(),
        Err(refusal) => call.out.error(refusal.to_string()),
    }
}

/// Checks the pair; notes it on the connection if it is right.
fn authenticate(call: &Call<'_, '_>, command: &str, pair: (&[u8], &[u8])) -> Result<(), AuthRefusal> {
    let node = &call.replica.node;
    let checked = auth::check(node, call.shard.boot_now(), call.client.address.ip(), pair);
    if let Err(AuthRefusal::Wrong | AuthRefusal::TooMany) = checked {
        let (lacking, object, user) = (Lacking::Auth, command.as_bytes().to_vec(), pair.0.to_vec());
        let context = if call.shard.may_block() { "toplevel" } else { "multi" };
        let refused = Refused { lacking, context, object, user, client: call.client.line() };
        node.note_refused(refused);
    }
    checked.map(|account| call.client.authenticate(account))
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Everything is read before anything is done; of an
/// option that is given twice the last one counts.
fn hello(mut call: Call<'_, '_>) {
    let call = &mut call;
    let mut protocol = None;
    if let Some(version) = call.args.try_get(1) {
        protocol = match integer(version) {
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return call.out.error("NOPROTO unsupported protocol version"),
            None => return call.out.error("ERR Protocol version is not an integer or out of range"),
        };
    }
    let (mut pair, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = call.args.try_get(at) {
        let left = call.args.len() - at - 1;
        if is(option, "AUTH") && left >= 2 {
            pair = Some((call.args.get(at + 1), call.args.get(at + 2)));
            at += 3;
        } else if is(option, "SETNAME") && left >= 1 {
            let desired = call.args.get(at + 1);
            if !super::client::is_plain(desired) {
                return call.out.error(super::client::BAD_NAME);
            }
            name = Some(desired);
            at += 2;
        } else {
            // Valkey prints it as a C string.
            let option = option.split(|byte| *byte == 0).next().unwrap_or_default();
            return call.out.error([b"ERR Syntax error in HELLO option '", option, b"'"].concat());
        }
    }
    if let Some((user, password)) = pair
        && let Err(refusal) = authenticate(call, "hello", (user, password))
    {
        return call.out.error(refusal.to_string());
    }
    if !call.client.is_authenticated() && call.replica.let_in(call.client).is_err() {
        return call.out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = name {
        *call.client.name.borrow_mut() = name.to_vec();
    }
    if let Some(protocol) = protocol {
        call.client.protocol.set(protocol);
        call.out.protocol = protocol;
    }
    write(call);
}

fn write(call: &mut Call<'_, '_>) {
    let zone = call.replica.node.az.clone();
    let primary = replication::is_primary(&call.shard.info());
    let out = &mut *call.out;
    out.map(if zone.0.is_empty() { 7 } else { 8 });
    out.bulk("server");
    out.bulk("valkey");
    out.bulk("version");
    out.bulk(VALKEY_VERSION);
    out.bulk("proto");
    out.integer(i64::from(out.protocol.number()));
    out.bulk("id");
    out.integer(call.client.id as i64);
    out.bulk("mode");
    out.bulk("cluster");
    out.bulk("role");
    out.bulk(if primary { "master" } else { "replica" });
    out.bulk("modules");
    out.array(0);
    if !zone.0.is_empty() {
        out.bulk("availability_zone");
        out.bulk(zone.0.as_bytes());
    }
}
