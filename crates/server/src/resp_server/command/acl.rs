//! ACL, as far as there is one: the user `default`, with everything allowed and maybe a password.

use fastness_control::Password;

use super::call::{Call, ServerCommand};

pub(super) const GETUSER: ServerCommand =
    ServerCommand::reply("acl|getuser", "<username>", "Returns the rules of a user.", getuser);
pub(super) const LIST: ServerCommand =
    ServerCommand::reply("acl|list", "", "Lists the users in the form of a configuration file.", list);
pub(super) const USERS: ServerCommand = ServerCommand::reply("acl|users", "", "Lists the names of the users.", users);
pub(super) const WHOAMI: ServerCommand =
    ServerCommand::reply("acl|whoami", "", "Returns the name of the user of this connection.", whoami);

fn password_hash(call: &Call<'_, '_>) -> Option<String> {
    match call.replica.node.password() {
        Password::None => None,
        Password::Sha256(hash) => Some(hash.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn whoami(call: Call<'_, '_>) {
    call.out.bulk("default");
}

fn users(call: Call<'_, '_>) {
    call.out.array(1);
    call.out.bulk("default");
}

fn list(call: Call<'_, '_>) {
    let password = password_hash(&call).map_or_else(|| "nopass".to_owned(), |hash| format!("#{hash}"));
    call.out.array(1);
    call.out.bulk(format!("user default on {password} ~* &* +@all"));
}

fn getuser(call: Call<'_, '_>) {
    if call.args.get(2) != b"default" {
        return call.out.null_array();
    }
    let password = password_hash(&call);
    let out = call.out;
    out.map(7);
    out.bulk("flags");
    out.set(if password.is_none() { 2 } else { 1 });
    out.bulk("on");
    if password.is_none() {
        out.bulk("nopass");
    }
    out.bulk("passwords");
    out.array(usize::from(password.is_some()));
    if let Some(hash) = password {
        out.bulk(hash);
    }
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*"), ("databases", "alldbs")] {
        out.bulk(name);
        out.bulk(value);
    }
    out.bulk("selectors");
    out.array(0);
}
